"""The Correct panel."""
