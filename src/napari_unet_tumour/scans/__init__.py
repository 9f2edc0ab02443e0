"""Files <-> Scan."""
