"""One relay goes on where another one leaves off: who hands over, and who takes over."""
