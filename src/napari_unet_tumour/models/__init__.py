"""Model files: their description and the registry of those installed; no torch."""
