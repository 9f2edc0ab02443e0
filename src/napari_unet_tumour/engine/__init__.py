"""Torch and MONAI live here and nowhere else; knows no file format and no GUI."""
