"""The ends of the world, during live calls: what is lost is counted. ``python -m bench.ends``."""
