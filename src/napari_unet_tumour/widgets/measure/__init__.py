"""The Lesion report panel."""
