"""Proves with packets what a relay needs of the network."""
