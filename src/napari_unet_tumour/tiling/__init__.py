"""Large planes in tiles and windows; no torch."""
