"""Many relays as one service: who owns which media address, where its calls are written down."""
