"""The Work-list panel."""
