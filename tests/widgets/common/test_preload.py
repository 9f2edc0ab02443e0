"""The panels are imported while a scan is opened in a window, and only there."""

import subprocess
import sys

IMPORTED = """
def imported():
    names = [f"napari_unet_tumour.widgets.{name}.widget" for name in ("segment", "correct", "measure")]
    return sum(name in sys.modules for name in names)
"""
IN_A_WINDOW = """
import os, sys, time
import napari
viewer = napari.Viewer()
viewer.open_sample("napari-unet-tumour", "head")
end = time.monotonic() + 60
while imported() < 3 and time.monotonic() < end:
    time.sleep(0.05)
print(imported(), flush=True)
os._exit(0)  # the window is open, and Qt sometimes crashes when the interpreter closes it
"""
WITHOUT_ONE = """
import sys, threading
from napari_unet_tumour.widgets.readers_writers import open_sample
open_sample()
print(imported(), threading.active_count())
"""


def said(code):
    return subprocess.run([sys.executable, "-c", IMPORTED + code], capture_output=True, text=True, check=True).stdout


def test_opening_a_scan_in_a_window_imports_the_panels():
    assert said(IN_A_WINDOW) == "3\n"


def test_without_a_window_nothing_is_imported():
    assert said(WITHOUT_ONE) == "0 1\n"
