"""A DICOMweb server in the window: search it, open a series, store a mask."""
