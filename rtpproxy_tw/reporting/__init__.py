"""What the relay tells others of its own accord."""
