"""Everything that uses torch and MONAI; no file formats and no GUI."""
