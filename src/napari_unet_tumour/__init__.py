"""Outline tumours in napari with a U-Net that learns from your corrections.

Research use only: this is not a medical device.
"""

from __future__ import annotations

__version__ = "0.1.0"
