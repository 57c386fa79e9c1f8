"""How fast the relay is, measured beside its peers in the same run: ``python -m bench``."""
