"""The same run as a command line."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import SegmentSettings, options_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.registry import ModelEntry


def command_for(
    files: Mapping[str, str], entry: ModelEntry, settings: SegmentSettings, layout: SliceLayout, scheduler: str = ""
) -> str:
    """Return the command that segments a file as the widget would.

    Parameters
    ----------
    files : mapping of str to str
        The scan's file by "", or the file of each channel by its name; the word SCAN stands for an empty one.
    entry : Entry
        The model.
    settings : SegmentSettings
        Those that differ from the command's own defaults are spelled out.
    layout : Layout
        Names the slice axis of a volume; the command would choose by spacing.
    scheduler : str
        Address, or "".
    """
    words = ["napari-unet-tumour", "segment"]
    words += [files[""] or "SCAN"] if "" in files else ["--channels", *(f"{n}={f or 'SCAN'}" for n, f in files.items())]
    words += ["--model", _model_word(entry)]
    if len(layout.slice_axes) == 1:  # an axis of one channel's file
        words += ["--axis", str(layout.slice_axes[0] - ("" not in files))]
    own = entry.spec.defaults
    for name, kind, default, _ in options_of(SegmentSettings):
        value = getattr(settings, name)
        if value == own.get(name, default):
            continue
        flag = name.replace("_", "-")
        words += (
            [f"--{flag}" if value else f"--no-{flag}"]
            if kind is bool
            else [f"--{flag}", f"{value:g}" if kind is float else str(value)]
        )
    words += ["--scheduler", scheduler] if scheduler else []
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _model_word(entry: ModelEntry) -> str:
    is_installed = entry.path.parent in (registry.SHIPPED, registry.user_models_dir())
    return entry.name if is_installed else str(entry.path)
