"""The Compare masks panel."""
