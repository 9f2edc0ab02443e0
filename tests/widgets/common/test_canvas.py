"""A screen that napari cannot draw on."""

import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from napari_unet_tumour.widgets.common.canvas import check_opengl


@pytest.fixture
def plain_screen():
    """Start a screen without OpenGL and return its name."""
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("there is no Xvfb")
    words = [program, "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-extension", "GLX"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield f":{server.stdout.readline().strip()}"
    server.terminate()
    server.communicate()


@pytest.mark.parametrize("window", ["demo", "worklist"])
def test_a_screen_without_opengl_gets_one_line_that_says_what_to_do(plain_screen, tmp_path, window):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "scan.nii.gz")
    words = [sys.executable, "-m", f"napari_unet_tumour.widgets.{window}", *([str(tmp_path)] * (window == "worklist"))]
    screen = {"DISPLAY": plain_screen, "QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(words, env={**os.environ, **screen}, capture_output=True, text=True, timeout=120, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("error: this screen has no OpenGL, which napari draws with: use another screen or driver")


def test_this_screen_has_opengl(qapp):
    check_opengl()
