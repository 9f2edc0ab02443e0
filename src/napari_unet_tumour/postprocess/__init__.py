"""From a probability to a mask, and cleaning up a mask."""
