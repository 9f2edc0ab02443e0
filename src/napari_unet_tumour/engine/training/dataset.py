"""Load folders of images and masks into memory, checked, decoded once and in parallel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_unet_tumour import scans
from napari_unet_tumour.base.parallel import in_parallel
from napari_unet_tumour.base.slicing import SliceLayout, layout_of
from napari_unet_tumour.engine.training import resize
from napari_unet_tumour.engine.training.dataset_index import DatasetItem, dataset_items
from napari_unet_tumour.errors import ScanError, TrainingError
from napari_unet_tumour.runtime.preprocess import LUMINANCE
from napari_unet_tumour.scans.placement import MisfitError, put_on_scan
from napari_unet_tumour.settings import Progress, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

A = TypeVar("A")
B = TypeVar("B")
MOST_LABELS = 31


@dataclass(frozen=True, eq=False)
class Dataset:
    """Slices at the working size.

    Parameters
    ----------
    sources : tuple of DatasetItem
        (n,) file and person of each slice, sorted by file name.
    images : torch.Tensor
        (n, C, S, S) uint8 or float32, grey values as in the files; C is 1 for grey images.
    masks : torch.Tensor
        (n, S, S) uint8 label values.
    labels : tuple of str
        Names by label value; 0 is background.
    values : tuple of int
        Values in the mask files of label 1, 2, ...
    classes : tuple of str
        Classes of label 1, 2, ... if the cases file decides the label; else empty.
    """

    sources: tuple[DatasetItem, ...]
    images: torch.Tensor
    masks: torch.Tensor
    labels: tuple[str, ...]
    values: tuple[int, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Read:
    """The slices of one file at the working size, and the non-zero values of its mask."""

    sources: list[DatasetItem]
    images: list[NDArray[Any]]
    masks: list[NDArray[Any]]
    values: tuple[int, ...]
    note: str = ""


def iter_dataset(
    images: Path, masks: Path, settings: TrainSettings, cases: Path | None = None
) -> Generator[Progress, None, Dataset]:
    """Read every pair of the two folders.

    Parameters
    ----------
    images, masks : Path
        Folders with the same file names (suffixes may differ): PNG, JPEG, TIFF or NIfTI. From a stack
        or volume every slice that is not blank is used.
    settings : TrainSettings
        `size`, `channels`, `labels` and `classes` are used.
    cases : Path, optional
        CSV with the column `file` and any of `person`, `tumour`, `split`.

    Raises
    ------
    TrainingError
        There are no pairs, names do not match, a mask is not a mask or not of its image, or a class is empty.
    """
    sources = dataset_items(images, masks, cases, settings.classes or "tumour")
    read: list[Read] = []
    for one in in_parallel(lambda source: read_pair(source, settings), sources):
        read.append(one)
        yield Progress(len(read), len(sources), "reading images")
    moved = [one for one in read if one.note]
    if moved:
        yield Progress(len(read), len(sources), _resampling_note(moved), {"note": True})
    return _joined(read, settings)


def read_pair(source: DatasetItem, settings: TrainSettings) -> Read:
    """Read the slices of one file and of its mask at the working size; blank slices are left out."""
    scan = scans.read(source.image)
    planes = _planes_of(scan, source.image, settings.channels)
    masks, note = _mask_planes(source, scan, planes.shape)
    values = _values(source, masks)
    used = [n for n in range(len(planes)) if len(planes) == 1 or np.ptp(planes[n]) > 0]
    return Read(
        [DatasetItem(**{**vars(source), "plane": n}) for n in used],
        [resize.image(planes[n], settings.size) for n in used],
        [resize.mask(masks[n], settings.size) for n in used],
        values,
        note,
    )


def _resampling_note(moved: Sequence[Read]) -> str:
    """Return a note on the masks that were resampled to their images' grids: the first one, and how many in all."""
    mask = moved[0].sources[0].mask if moved[0].sources else None
    more = f" ({len(moved)} masks in all were put onto their images' grids)" if len(moved) > 1 else ""
    return f"note: {mask.name if mask else 'a mask'}: {moved[0].note}{more}"


def read_planes(path: Path, channels: int) -> NDArray[Any]:
    """Return all slices of an image file, (n, C, H, W) of its own type; C is 1 for grey images."""
    return _planes_of(scans.read(path), path, channels)


def _planes_of(scan: Scan, path: Path, channels: int) -> NDArray[Any]:
    layout = layout_of(scan.array.shape, scan.axes)
    planes = layout.read_planes(scan.array, range(layout.planes))
    if layout.channels in (3, 4):
        planes = planes[:, :3]
        if (planes == planes[:, :1]).all():
            planes = planes[:, :1]
    if planes.shape[1] == 3 and channels == 1:
        planes = np.tensordot(planes, np.array(LUMINANCE, np.float32), (1, 0))[:, None]
    if planes.shape[1] not in (1, channels):
        raise TrainingError(
            f"{path.name} has {planes.shape[1]} channels and the network takes {channels}: "
            f"use --channels {planes.shape[1]}"
        )
    return _finite(planes) if planes.dtype.kind == "f" else planes


def _finite(planes: NDArray[Any]) -> NDArray[Any]:
    known = np.isfinite(planes)
    low, high = (planes[known].min(), planes[known].max()) if known.any() else (0.0, 0.0)
    return np.asarray(np.nan_to_num(planes, nan=low, posinf=high, neginf=low))


def label_plane(mask: NDArray[Any], examples: Dataset, kind: str) -> NDArray[np.uint8]:
    """Return the values of a mask file (H, W) as labels 0, 1, ...; with classes, the label is that of `kind`."""
    if examples.classes:
        return np.asarray((mask > 0) * (1 + examples.classes.index(kind)), np.uint8)
    labels = np.zeros(mask.shape, np.uint8)
    for label, value in enumerate(examples.values, 1):
        labels[mask == value] = label
    return labels


def read_mask_plane(source: DatasetItem, examples: Dataset) -> NDArray[np.uint8]:
    """Return the label plane (H, W) of a slice on its own grid."""
    layout, mask, _ = _mask_layout(source)
    return label_plane(_tidy(source, layout.read_planes(mask, [source.plane])[0, 0]), examples, source.kind)


def read_mask_values(source: DatasetItem) -> NDArray[Any]:
    """Return a mask's values (H, W) on the image's grid, as the file has them.

    Raises
    ------
    TrainingError
        The mask does not fit its image.
    """
    scan = scans.read(source.image)
    shape = _planes_of(scan, source.image, 1).shape
    return np.asarray(_mask_planes(source, scan, shape, tidy=False)[0][source.plane])


def _mask_planes(
    source: DatasetItem, scan: Scan, shape: tuple[int, ...], tidy: bool = True
) -> tuple[NDArray[Any], str]:
    """Return the planes (n, H, W) of an image's mask on the image's grid, and a note on the resampling."""
    if source.mask is None:
        return np.zeros((shape[0], *shape[2:]), np.uint8), ""
    layout, mask, note = _mask_layout(source, scan)
    planes = layout.read_planes(mask, range(layout.planes))[:, 0]
    return _tidy(source, planes) if tidy else planes, note


def _mask_layout(source: DatasetItem, image: Scan | None = None) -> tuple[SliceLayout, NDArray[Any], str]:
    """Read a mask, resampled to the grid of its image; the image is read too if not given and the grids may differ."""
    assert source.mask is not None
    try:
        mask = _one_channel(scans.read_mask(source.mask), source.mask)
        if image is None and mask.affine is not None:
            image = scans.read(source.image)
        if image is None:
            return layout_of(mask.array.shape, mask.axes), np.asarray(mask.array), ""
        placed = put_on_scan(mask, image, (source.mask.name, "its image"))
    except MisfitError as error:
        raise TrainingError(
            f"{source.mask.name} is {error.has} and its image is {error.needs}: give a mask of the image's size"
        ) from error
    except ScanError as error:
        raise TrainingError(f"mask {error}") from error
    return layout_of(placed.mask.array.shape, placed.mask.axes), np.asarray(placed.mask.array), placed.note


def _one_channel(mask: Scan, path: Path) -> Scan:
    """Return a mask with equal channels without the channel axis; raises TrainingError for a colour picture."""
    layout = layout_of(mask.array.shape, mask.axes)
    if layout.channel is None:
        return mask
    planes = np.asarray(mask.array)
    first = planes.take(0, layout.channel)
    if layout.channels not in (2, 4) and (planes != np.expand_dims(first, layout.channel)).any():
        raise TrainingError(f"{path.name} is a colour picture, not a mask: save one channel of label values")
    return replace(mask, array=first, axes=mask.axes.replace("c", ""))


def _tidy(source: DatasetItem, masks: NDArray[Any]) -> NDArray[Any]:
    """Restore the values 0 and 255 of a mask that was saved as JPEG."""
    assert source.mask is not None
    if source.mask.suffix.lower() not in (".jpg", ".jpeg"):
        return masks
    if ((masks > 63) & (masks < 192)).mean() > 0.02:
        raise TrainingError(f"{source.mask.name} holds grey values, so it is no mask: save 0 and 255, as PNG")
    return np.asarray((masks > 127) * np.uint8(255), np.uint8)


def _values(source: DatasetItem, masks: NDArray[Any]) -> tuple[int, ...]:
    values = np.unique(masks)
    values = values[values != 0]
    if len(values) > MOST_LABELS or values.min(initial=0) < 0:
        shown = ", ".join(str(v) for v in values[:4])
        name = source.mask.name if source.mask else source.name
        raise TrainingError(
            f"{name} holds grey values ({shown}, ...), so it is no mask: save 0 and 255, or labels 0, 1, 2"
        )
    return tuple(int(v) for v in values)


def _joined(read: list[Read], settings: TrainSettings) -> Dataset:
    values = _label_values(read)
    sources = tuple(source for one in read for source in one.sources)
    classes = _classes(sources, values) if settings.classes else ()
    labels = ("background", *_names(classes, len(values), settings.labels))
    plain = Dataset(sources, torch.empty(0), torch.empty(0), labels, values, classes)
    raw = (mask for one in read for mask in one.masks)
    masks = np.stack([label_plane(mask, plain, source.kind) for mask, source in zip(raw, sources, strict=True)])
    return Dataset(sources, stacked(read), torch.from_numpy(masks), labels, values, classes)


def stacked(read: list[Read]) -> torch.Tensor:
    """Return all slices as one tensor (n, C, S, S), uint8 if all are."""
    images = [image for one in read for image in one.images]
    channels = max(image.shape[0] for image in images)
    kind = np.uint8 if all(image.dtype == np.uint8 for image in images) else np.float32
    out = np.empty((len(images), channels, *images[0].shape[1:]), kind)
    for i, image in enumerate(images):
        out[i] = image
    return torch.from_numpy(out)


def _label_values(read: list[Read]) -> tuple[int, ...]:
    """Return the mask values of label 1, 2, ...: a single value of any size, or 1, 2, ... without a gap."""
    found = sorted({value for one in read for value in one.values})
    if not found:
        raise TrainingError("no mask marks anything, all are 0 everywhere: give masks of the tumours")
    if len(found) == 1:
        return (found[0],)
    if found[-1] > MOST_LABELS:
        one = next(r for r in read if any(v in r.values for v in found[:-1])).sources[0]
        shown = ", ".join(map(str, found[:4]))
        name = one.mask.name if one.mask else one.name
        raise TrainingError(f"the masks hold the values 0, {shown} (see {name}): save 0 and 255, or labels 0, 1, 2 ...")
    missing = sorted(set(range(1, found[-1] + 1)) - set(found))
    if missing:
        raise TrainingError(
            f"label {missing[0]} is empty, no mask has it, but {found[-1]} is used: number labels 1, 2 ..."
        )
    return tuple(found)


def _classes(sources: Sequence[DatasetItem], values: tuple[int, ...]) -> tuple[str, ...]:
    if len(values) > 1:
        raise TrainingError("the masks hold several values already: leave --classes out")
    nameless = [source.name for source in sources if not source.kind]
    if nameless:
        raise TrainingError(
            f"no class is given for {nameless[0]} ({len(nameless)} in all): fill the cases file's column"
        )
    return tuple(sorted({source.kind for source in sources}))


def _names(classes: tuple[str, ...], count: int, asked: tuple[str, ...]) -> tuple[str, ...]:
    if classes:
        return classes
    if asked and len(asked) < count:
        raise TrainingError(f"the masks hold {count} labels and {len(asked)} names are given: name each")
    if len(asked) > count:
        raise TrainingError(f"the class {asked[count]!r} is empty: no mask has the value {count + 1}")
    return asked or (("tumour",) if count == 1 else tuple(f"label {n}" for n in range(1, count + 1)))
