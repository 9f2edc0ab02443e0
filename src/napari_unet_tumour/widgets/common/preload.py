"""Imports the panels before a person opens one, so that the window need not wait for it (0.1 s for the first one)."""

from __future__ import annotations

import threading
from importlib import import_module

import napari


def import_panels() -> None:
    """Import the three panels of the usual way from a scan to its report, on any thread."""
    for name in ("segment", "correct", "measure"):
        import_module(f"napari_unet_tumour.widgets.{name}.widget")


def import_panels_beside() -> None:
    """Import them on a thread while something else goes on, e.g. a scan is read, where there is a window."""
    if napari.current_viewer() is not None:
        threading.Thread(target=import_panels, daemon=True).start()
