"""The View panel."""
