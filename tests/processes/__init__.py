"""Media in processes of its own."""
