"""What the operator decides, from the command line and files to one checked value."""
