"""The only napari and Qt code."""
