"""Clicks that outline a lesion: where they are, what the network sees of them, what becomes of its answer."""
