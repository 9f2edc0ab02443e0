"""The click network and its training."""
