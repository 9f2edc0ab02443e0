"""What every test relies on: a home of its own, and the real scans where they are at hand."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

# Before anything reads it: tests never touch the models, settings and journals of the person who runs them.
os.environ["NAPARI_UNET_TUMOUR_HOME"] = tempfile.mkdtemp(prefix="napari-unet-tumour-tests-")

# A run in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SCANS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """Folder of the real scans (see CONTRIBUTING.md); the test is skipped where it is absent."""
    if not SCANS.is_dir():
        pytest.skip(f"no real scans at {SCANS}")
    return SCANS
