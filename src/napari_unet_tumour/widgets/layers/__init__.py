"""The only code that reads and writes napari layers."""
