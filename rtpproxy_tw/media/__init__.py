"""How packets move."""
