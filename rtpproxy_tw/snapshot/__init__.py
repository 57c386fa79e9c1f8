"""Sessions written down, so that another process can go on with them: pure and versioned."""
