"""What the manifest names for File > Open, File > Save and File > Open Sample: scans <-> layer tuples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.utils import cancelable_progress, progress
from napari.utils.notifications import show_warning

from napari_unet_tumour import scans
from napari_unet_tumour.api import slice_axis
from napari_unet_tumour.base.labels import MASK_NAMES
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.look import grey_window
from napari_unet_tumour.scans import dicom, geometry
from napari_unet_tumour.scans.dicom import rtstruct
from napari_unet_tumour.scans.float_labels import whole_labels
from napari_unet_tumour.widgets.common.preload import import_panels_beside
from napari_unet_tumour.widgets.layers import geometry as layer_geometry
from napari_unet_tumour.widgets.layers.labels import without_unsure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_unet_tumour.scans.dicom.sorting import Series
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress

    LayerTuple = tuple[Any, dict[str, Any], str]
    Nothing = tuple[None]

_NOTICED = 0.5
WRITABLE = tuple(scans.WRITERS)


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerTuple] | list[Nothing]] | None:
    """Return the function that opens a path, or None where this package has no reader for it."""
    one = Path(path if isinstance(path, str) else path[0])
    return read_layers if one.is_dir() or scans.can_read(one) else None


def read_layers(path: str | Sequence[str]) -> list[LayerTuple] | list[Nothing]:
    """Open one or more files or folders as layers that lie where the patient lay.

    DICOM files that are opened together, be it as a stack or one by one, become one layer per series.

    Raises
    ------
    ScanError
        One line that names the file and says what to do.
    """
    import_panels_beside()
    paths = [Path(path)] if isinstance(path, (str, Path)) else [Path(one) for one in path]
    found = [scan for one in _together(paths) for scan in _scans_of(one)]
    for scan in found:
        for note in (*scan.extra.get("notes", ()), *_tilt_note(scan)):
            show_warning(f"{scan.name}: {note}")
    if found:
        show_as_acquired(found[0])
    return [layer for scan in found for layer in layers_from(scan)] or [(None,)]


def _together(paths: list[Path]) -> list[Path | list[Path]]:
    """Return paths with the DICOM files among them as one list.

    napari opens selected files one by one: the first DICOM file of a selection opens all of them, the others nothing.
    """
    if len(paths) == 1:
        if not _is_slice(paths[0]):
            return [*paths]
        selected = _selection(paths[0])
        if next(one for one in selected if _is_slice(one)) != paths[0]:
            return []
        slices = [one for one in selected if _is_slice(one)]
        return [slices] if len(slices) > 1 else [*paths]
    slices = [one for one in paths if _is_slice(one)]
    return [*([slices] if slices else []), *(one for one in paths if one not in slices)]


def _is_slice(path: Path) -> bool:
    return path.is_file() and scans.is_dicom(path)


def _selection(path: Path) -> list[Path]:
    """Return all paths that napari is opening with this one: those that its progress bar counts."""
    for bar in progress._all_instances:
        if isinstance(bar.iterable, list) and all(isinstance(one, (str, Path)) for one in bar.iterable):
            paths = [Path(one) for one in bar.iterable]
            if path in paths:
                return paths
    return [path]


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer where its image came from: the source's grid, order and header.

    Parameters
    ----------
    path : str
        .nii.gz, .nii, .dcm (DICOM-SEG), .tif or .png; without a suffix .nii.gz is added.
    data, meta
        As napari hands them over; the grid comes from `meta["metadata"]`, else from the layer's transforms.

    Raises
    ------
    OutputError
        The file cannot be written; nothing is left behind.
    """
    return _write(_with_suffix(path, ".nii.gz", WRITABLE), data, meta)


def write_labelmap(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as a DICOM Label Map Segmentation (supplement 243) of its image's series, as *.labelmap.dcm.

    The arguments and errors are those of `write_labels`.
    """
    return _write(_with_suffix(path, ".labelmap.dcm", (".labelmap.dcm",)), data, meta)


def write_rtstruct(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as an RT Structure Set, contours on the slices of its image's series, as *.rtstruct.dcm.

    The arguments and errors are those of `write_labels`.
    """
    return _write(_with_suffix(path, ".rtstruct.dcm", (".rtstruct.dcm",)), data, meta)


def _with_suffix(path: str, wanted: str, fitting: Sequence[str]) -> str:
    """Return a path with a suffix that fits: a name that was typed without one, or with another part of it."""
    suffix = scans.suffix_of(path)
    if suffix in fitting or (suffix and wanted == ".nii.gz"):
        return path
    return (path[: -len(".dcm")] if suffix == ".dcm" else path) + wanted


def _write(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    array = without_unsure(np.asarray(data), meta.get("metadata", {}))
    values = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
    return [str(scans.write_mask(path, values, layer_geometry.scan_of(array, meta), _label_names(meta)))]


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an Image layer (a DICOM series, say) as NIfTI or TIFF where it lies."""
    if meta.get("multiscale") or meta.get("rgb"):
        raise OutputError(f"{Path(path).name} cannot hold a colour or multiscale layer: choose a grey image layer")
    array = np.asarray(data)
    return [str(scans.write_mask(path, array, layer_geometry.scan_of(array, meta), ()))]


def open_sample() -> list[LayerTuple]:
    """Return the procedural head with two lesions."""
    import_panels_beside()
    from napari_unet_tumour.phantom import phantom

    return [layer_of(phantom()[0])]


def open_sample_with_truth() -> list[LayerTuple]:
    """Return the procedural head and, above it, where its lesions are."""
    import_panels_beside()
    from napari_unet_tumour.phantom import phantom

    head, truth = phantom()
    return [layer_of(head), layer_of(replace(head, array=truth, name=f"{head.name} truth"), labels=True)]


def layer_of(scan: Scan, *, labels: bool = False) -> LayerTuple:
    """Turn a scan into what napari adds: data, where it lies, its name, contrast and source."""
    kept = scan.axes.replace("c", "")
    colours = scan.axes.endswith("c") and scan.array.shape[-1] in (3, 4)
    about: dict[str, Any] = {
        "name": scan.name,
        "axis_labels": tuple(kept),
        "units": tuple(scan.units if letter in "zyx" else "pixel" for letter in kept),
        "metadata": _metadata(scan),
        **layer_geometry.place(scan.world, scan.axes),
    }
    if labels:
        return scan.array, about, "labels"
    if colours:
        return scan.array, {**about, "rgb": True}, "image"
    if "c" in scan.axes:
        return scan.array, {**about, "channel_axis": scan.axes.index("c")}, "image"
    return scan.array, {**about, "contrast_limits": contrast(scan), "colormap": "gray"}, "image"


def contrast(scan: Scan) -> tuple[float, float]:
    """Return the grey values to show: the scanner's window where the pixels can be seen with it, else another."""
    window = grey_window.opening(grey_window.sample(scan.array), scan.modality, scan.extra.get("window"))
    return window.low, window.high


def _scans_of(path: Path | list[Path]) -> list[Scan]:
    """Read what a path holds; of a folder of several series the chosen ones, of selected files all."""
    if isinstance(path, Path) and rtstruct.is_rtstruct(path):
        return [_contours(path)]
    if isinstance(path, Path) and not scans.is_dicom(path):
        return scans.read_all(path)
    series = dicom.find_series(path)
    if isinstance(path, Path) and len(series) > 1:
        series = _choose(path.name, series)
    return [scan for one in series if (scan := _read_with_bar(one)) is not None]


def _contours(path: Path) -> Scan:
    """Read contours onto the layer of their series where that is open, else onto the series beside the file."""
    grids = (kept for kept in layer_geometry.grids_of_images() if rtstruct.refers_to(path, kept))
    return scans.read_mask(path, contours_on=next(grids, None))


def _choose(name: str, series: list[Series]) -> list[Series]:
    """Let the person pick one of several series, or all; without a window all are opened."""
    from qtpy.QtWidgets import QApplication, QInputDialog

    if QApplication.instance() is None or napari.current_viewer() is None:
        return series
    lines = [
        f"{n}: {one.name} ({len(one.planes)} slices, {one.first.head.modality})" for n, one in enumerate(series, 1)
    ]
    line, sure = QInputDialog.getItem(
        None, "Open a series", f"{name} holds {len(series)} series:", [*lines, "all"], 0, False
    )
    if not sure:
        return []
    return series if line == "all" else [series[lines.index(line)]]


def _read_with_bar(series: Series) -> Scan | None:
    """Read a series with napari's progress bar; None when the person cancels."""
    got: list[Scan] = []

    def steps() -> Generator[Progress, None, None]:
        got.append((yield from dicom.iter_series(series)))

    for _ in cancelable_progress(steps(), desc=f"Reading {series.name}", total=len(series.planes)):
        pass
    return got[0] if got else None


def acquired_order(scan: Scan) -> tuple[int, ...] | None:
    """Return the order of the viewer's axes that shows the slices as they were taken; None where no axis is that."""
    along = slice_axis(scan)
    if along is None or "c" in scan.axes[:-1]:
        return None
    count = len(scan.axes.removesuffix("c"))
    return (*range(scan.spatial[0]), along, *(n for n in range(scan.spatial[0], count) if n != along))


def show_as_acquired(scan: Scan) -> None:
    """Turn an empty viewer so that it will show the slices as they were taken, not reformatted ones."""
    viewer, order = napari.current_viewer(), acquired_order(scan)
    if viewer is None or len(viewer.layers) or order is None:
        return

    def turn(event: Any) -> None:
        viewer.layers.events.inserted.disconnect(turn)
        if viewer.dims.ndim == len(order):
            viewer.dims.order = order

    viewer.layers.events.inserted.connect(turn, position="last")


def _tilt_note(scan: Scan) -> list[str]:
    angle = geometry.tilt(scan.world)
    if len(scan.spatial) < 3 or angle < _NOTICED:
        return []
    return [
        f"lies {angle:.0f} degrees oblique, where napari draws on wrong slices: use Layers > Transform > Straighten"
    ]


def _label_names(meta: dict[str, Any]) -> tuple[str, ...]:
    features: Any = meta.get("features")  # a table, a dict or None
    names = () if features is None or "label" not in features else tuple(str(name) for name in features["label"])
    return names or ("background", "tumour")


def layers_from(scan: Scan) -> list[LayerTuple]:
    """Return what napari adds for a scan that was read: an image, or labels where it is a mask."""
    labels = _as_labels(scan)
    return [layer_of(scan) if labels is None else layer_of(labels, labels=True)]


def _as_labels(scan: Scan) -> Scan | None:
    """Return the scan with integer values where its name or header says that it is a mask."""
    if not (scan.extra.get("labels") or MASK_NAMES.search(scan.name)) or "c" in scan.axes:
        return None
    array = whole_labels(scan)
    if array is None or array.min(initial=0) < 0 or (scan.array.dtype.kind == "f" and array.max(initial=0) > 255):
        return None
    return replace(scan, array=array.astype(np.uint8) if array.dtype.kind == "b" else array)


def _metadata(scan: Scan) -> dict[str, Any]:
    empty = np.broadcast_to(np.zeros((), scan.array.dtype), scan.array.shape)
    return {
        "source": scan.source,
        "modality": scan.modality,
        "units": scan.units,
        "orientation": geometry.orientation(scan.world),
        "frame_of_reference": scan.frame_of_reference,
        layer_geometry.KEY: {"grid": replace(scan, array=empty), "person": scan.person},
    }
