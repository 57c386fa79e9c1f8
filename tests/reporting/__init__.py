"""Tests of what the relay tells others of its own accord."""
