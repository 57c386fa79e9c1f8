"""The kernel path by itself: what it costs, what it carries, and that nothing is lost on the way.

``python -m bench.kernel`` measures everything that docs/fastpath.rst claims, in network namespaces
of its own, and prints each figure with what was wanted of it.
"""
