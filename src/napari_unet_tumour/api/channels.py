"""Combine several files or arrays of one patient into a scan with the channels of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour import scans
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.scans.channels import combine, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan


def named(words: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Return values by channel, with the model's own spelling of the names; raises ModelError for unknown channels."""
    known = {name.casefold(): name for name in spec.channels}
    given = {known.get(word.casefold(), word): value for word, value in words.items()}
    if len(given) < len(words):
        raise ModelError("a channel is given twice: give one scan for each")
    sources(given, spec)
    return given


def stacked(
    given: Mapping[str, Scan], spec: ModelSpec, layout_of: Callable[[Scan], SliceLayout]
) -> tuple[Scan, SliceLayout]:
    """Stack scans as a model's channels, on the grid of the first one; see `scans.channels.combine`."""
    channels = named(given, spec)
    first = next(iter(given.values()))
    layout = layout_of(first)
    return combine(channels, spec, first, layout.slice_axes), layout.with_channels(spec.in_channels)


def read(files: Mapping[str, str | Path]) -> dict[str, Scan]:
    """Read a file for each channel."""
    return {name: scans.read(Path(path).expanduser()) for name, path in files.items()}


def as_channels(scan: Scan, spec: ModelSpec) -> Scan:
    """Interpret a fourth axis as the channels if its length is the model's number of channels."""
    count = scan.array.shape[0]
    if spec.in_channels > 1 and scan.axes.startswith("t") and "c" not in scan.axes and count == spec.in_channels:
        return replace(scan, axes="c" + scan.axes[1:])
    return scan
