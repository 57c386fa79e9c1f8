"""What becomes of real calls when relays, addresses or Redis fail: python -m bench cluster NAME."""
