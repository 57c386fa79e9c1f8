"""The relay over HTTP: JSON for programs, metrics for collectors, a page for people."""
