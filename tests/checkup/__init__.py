"""Looks at settings and hosts before a relay starts."""
