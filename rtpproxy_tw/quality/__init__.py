"""What a stream's packets tell about it."""
