"""Values in a mask, and names of masks, that every package knows."""

import re

UNSURE = 255
"""A pixel that nobody has decided on: ignored in training and scores."""

MASK_NAMES = re.compile(r"(?:^|[^a-z])(?:masks?|seg|segmentation|labels?|truth)(?:[^a-z]|$)", re.IGNORECASE)
"""Finds the word in a file's name that says that it holds a mask."""
