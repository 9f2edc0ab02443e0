"""Scores of a mask against a reference."""
