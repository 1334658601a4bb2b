"""ARs that see some of the input."""
