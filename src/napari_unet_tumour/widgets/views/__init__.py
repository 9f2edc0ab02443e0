"""Linked axial, coronal and sagittal views."""
