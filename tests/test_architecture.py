"""Which modules load torch, napari and Qt, checked in fresh processes."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_unet_tumour

PACKAGE = Path(napari_unet_tumour.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "napari_unet_tumour."))
ENGINE = "napari_unet_tumour.engine"
LIGHT = [m for m in MODULES if not m.startswith(ENGINE) and not m.endswith("__main__")]


def in_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_list_of_modules_is_complete() -> None:
    assert {
        "napari_unet_tumour.jobs",
        f"{ENGINE}.inference.segment",
        "napari_unet_tumour.widgets.segment.widget",
    } <= set(MODULES)


def test_no_module_outside_the_engine_loads_torch() -> None:
    imports = "\n".join(f"import {m}; report('{m}')" for m in LIGHT)
    assert not in_fresh_process(
        "import sys\n"
        "def report(name):\n"
        "    if {'torch', 'monai'} & set(sys.modules):\n"
        "        print(name); sys.exit(0)\n" + imports
    )


def test_segmenting_on_a_cpu_loads_no_torch() -> None:
    """The worker's tasks, in a process like the worker's."""
    assert (
        in_fresh_process(
            "import os, sys; os.environ['NAPARI_UNET_TUMOUR_RUNTIME'] = 'onnx'\n"
            "import numpy as np\n"
            "from napari_unet_tumour.models import registry\n"
            "from napari_unet_tumour.engine import tasks\n"
            "from napari_unet_tumour.settings import SegmentSettings\n"
            "from napari_unet_tumour.base.steps import exhaust as end\n"
            "path = str(registry.find('default').path)\n"
            "assert end(tasks.iter_preload(path, 'cpu')).startswith('CPU, ')\n"
            "planes = np.random.default_rng(0).random((2, 1, 90, 90))\n"
            "for copy in (False, True):\n"
            "    ask = SegmentSettings(device='cpu', flip_tta=copy)\n"
            "    assert end(tasks.iter_segment_planes(path, planes, ask)).shape == (2, 1, 90, 90)\n"
            "print(*({'torch', 'monai', 'onnx', 'scipy', 'skimage', 'dask'} & set(sys.modules)))"
        )
        == ""
    )


def test_the_engine_works_without_napari_and_qt() -> None:
    names = [m for m in MODULES if m.startswith(ENGINE)]
    blocked = "for name in ('napari', 'qtpy', 'magicgui', 'PyQt6', 'PySide6'): sys.modules[name] = None\n"
    assert in_fresh_process("import sys\n" + blocked + f"import {', '.join(names)}\nprint('works')") == "works"


def test_the_import_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        ["lint-imports"], cwd=PACKAGE.parents[1], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
