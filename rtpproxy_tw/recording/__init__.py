"""Calls kept in files."""
