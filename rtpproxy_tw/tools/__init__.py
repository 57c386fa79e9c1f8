"""Programs started by people."""
