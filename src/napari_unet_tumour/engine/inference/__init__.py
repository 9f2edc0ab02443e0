"""Planes to probability."""
