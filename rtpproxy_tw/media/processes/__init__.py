"""Media in processes of its own: settled streams are relayed beside the reactor."""
