"""Linked axial, coronal and sagittal views, and surfaces of masks."""
