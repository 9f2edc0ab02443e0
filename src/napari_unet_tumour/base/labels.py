"""Mask values with a fixed meaning."""

UNSURE = 255
"""A pixel that nobody has decided on: ignored in training and scores."""
