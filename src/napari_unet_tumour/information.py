"""What a bug report needs to know about an installation: versions, device, folders, models, plugins."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, entry_points, requires, version
from pathlib import Path

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.jobs import log
from napari_unet_tumour.models import registry
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.version import __version__

Information = dict[str, dict[str, str]]

PACKAGE = "napari-unet-tumour"
DEVICE_S = 90.0
# Extras for users; the other extras are for developers.
EXTRAS = ("codecs", "dicom", "encoder", "matlab", "onnx", "tensorboard")
# Packages that are not requirements but matter: a Qt binding, the plugin engine, other runtimes.
BESIDE = ("npe2", "PyQt6", "PySide6", "PyQt5", "onnxruntime", "onnxruntime-gpu", "torchvision", "pydantic")
# Variables that change what the program does.
VARIABLES = (
    registry.HOME, "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY", "ONEDNN_MAX_CPU_ISA", "PYTORCH_CUDA_ALLOC_CONF", "QT_API", "QT_QPA_PLATFORM", "QT_SCALE_FACTOR",
)  # fmt: skip
_DESCRIBE = "from napari_unet_tumour.engine.tasks import describe; print(describe())"


def information(device: bool = True) -> Information:
    """Collect versions, device, folders, models and plugins; never fails, and loads no torch into this process.

    Parameters
    ----------
    device : bool
        Whether to find out on which device a network would run. A separate process loads torch for this, which takes
        seconds.

    Returns
    -------
    dict of str to dict of str to str
        Section -> name -> value. The home folder is replaced by "~", so that a report names no person.
    """
    found = {
        PACKAGE: {"version": __version__, "installed": _installed(), "Python": _python(), "system": _system()},
        "packages": _packages(),
        "device": {"network": describe_device()} if device else {},
        "folders": _folders(),
        "models": _models(),
        "napari plugins": _plugins(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    return {
        section: {name: _without_home(value) for name, value in values.items()}
        for section, values in found.items()
        if values
    }


def as_text(found: Information) -> str:
    """Return the result of `information` as lines to paste into a report."""
    wide = max(len(name) for values in found.values() for name in values)
    lines: list[str] = []
    for section, values in found.items():
        lines += ["", section, *(f"  {name:{wide}}  {value}".rstrip() for name, value in values.items())]
    return "\n".join(lines[1:])


def describe_device(seconds: float = DEVICE_S) -> str:
    """Return the device of a run in words, or one line on why no network can run; uses a separate process."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DESCRIBE], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not known: torch did not load within {seconds:g} s"
    except OSError as error:
        return f"not known: {error}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = lines[-1] if lines else "no answer"
    return last if done.returncode == 0 else f"no network can run: {last}"


def _installed() -> str:
    """Return where the code is, and whether that is a source tree."""
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    editable = bool(origin.get("dir_info", {}).get("editable"))
    return f"{Path(__file__).parent}{' (editable)' if editable else ''}"


def _python() -> str:
    return f"{platform.python_version()} ({sys.executable})"


def _system() -> str:
    return f"{platform.platform()}, {plural(processor.cores(), 'core')}, {_memory_gb():.0f} GB"


def _memory_gb() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.virtual_memory().total) / 1e9


def _packages() -> dict[str, str]:
    """Return the version of every package that this one uses; missing optional ones share one line."""
    needed, optional = _requirements()
    found = {name: _version(name) for name in needed}
    more = {name: _version(name) for name in dict.fromkeys([*optional, *BESIDE])}
    found |= {name: number for name, number in more.items() if number}
    missing = [name for name in optional if not more[name]]
    found = {name: number or "MISSING" for name, number in sorted(found.items(), key=lambda one: one[0].lower())}
    return found | ({"optional, not installed": ", ".join(missing)} if missing else {})


def _requirements() -> tuple[list[str], list[str]]:
    """Return the names of the required packages, and of those of the extras for users."""
    needed: list[str] = []
    optional: list[str] = []
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        return ["napari", "numpy", "torch", "monai"], []
    for line in lines:
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        extra = re.search(r"""extra == ['"]([^'"]+)""", line)
        if extra is None:
            needed.append(name)
        elif extra[1] in EXTRAS and name != PACKAGE:
            optional.append(name)
    return needed, optional


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _folders() -> dict[str, str]:
    home = registry.data_dir()
    places = {
        "data": home,
        "models": registry.user_models_dir(),
        "corrections": home / "corrections",
        "settings": home / "settings.json",
        "worker log": log.path(),
    }
    return {name: f"{place}{'' if place.exists() else ' (not there yet)'}" for name, place in places.items()}


def _models() -> dict[str, str]:
    """Return the installed models, the default first, and why the unusable ones cannot be used."""
    try:
        usable = {one.name: one.hash + (" (in the package)" if one.shipped else "") for one in registry.entries()}
        return usable | {one.name: f"unusable: {one.reason}" for one in registry.invalid_models()}
    except (UNetTumourError, OSError) as error:
        return {"models": f"cannot be listed: {error}"}


def _plugins() -> dict[str, str]:
    """Return the other napari plugins of the environment with their versions."""
    found = (one.dist for group in ("napari.manifest", "napari.plugin") for one in entry_points(group=group))
    others = {one.name: one.version for one in found if one is not None and one.name.lower() != PACKAGE}
    return dict(sorted(others.items())) or {"others": "none"}


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text if len(home) < 2 else re.sub(rf"{re.escape(home)}(?=[/\\]|$|[ )])", "~", text)
