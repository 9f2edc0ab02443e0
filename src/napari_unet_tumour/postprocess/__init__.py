"""Probability to mask, and cleaning up a mask."""
