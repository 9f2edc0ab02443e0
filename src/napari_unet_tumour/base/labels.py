"""Values in a mask that every package knows."""

UNSURE = 255
"""A pixel that nobody has decided on: ignored in training and scores."""
