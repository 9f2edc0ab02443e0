"""Read images without a tumour, and check them before a training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.base.parallel import in_parallel
from napari_unet_tumour.engine.training.dataset import read_pair, stacked
from napari_unet_tumour.engine.training.dataset_index import DatasetItem, files_of
from napari_unet_tumour.errors import ScanError, TrainingError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.training.dataset import Dataset, Read
    from napari_unet_tumour.settings import TrainSettings

MASK = "_mask"
# Largest difference of the channels of a grey image, from JPEG compression.
GREY = 12
# A picture with fewer grey values is a drawing or a mask. Air is darker than this fraction of the maximum.
FEW, AIR = 12, 0.25
# In computed tomography the skull, a closed ring, has the highest values, and the brain has hardly any contrast.
BONE, CLOSED, FLAT, RAYS = 0.97, 0.94, 0.5, 72
SHOWN = 3


def iter_negatives(
    folder: Path, settings: TrainSettings, examples: Dataset | None = None
) -> Generator[Progress, None, torch.Tensor]:
    """Read a folder of images without a tumour.

    A file NAME_mask beside NAME is the mask of NAME and must be empty.

    Parameters
    ----------
    folder : pathlib.Path
        PNG, JPEG, TIFF or NIfTI.
    examples : Dataset, optional
        The training slices; those with a tumour must not be among the images.

    Returns
    -------
    torch.Tensor
        (k, C, S, S) uint8 or float32.

    Raises
    ------
    TrainingError
        The folder has no images, or an image shows a tumour or is not an MR slice; the first few are named.
    """
    files = files_of(folder)
    masks = {name: path for name, path in files.items() if name.endswith(MASK) and name.removesuffix(MASK) in files}
    sources = [DatasetItem(path, None, 0, path.name) for name, path in files.items() if name not in masks]
    if not sources:
        raise TrainingError(f"{folder} holds no images ({', '.join(scans.READERS)}): choose another folder")
    faults = [
        f"{files[name.removesuffix(MASK)].name} shows a tumour ({path.name} beside it is not empty)"
        for name, path in masks.items()
        if _marks_something(path)
    ]
    seen = _fingerprints(examples) if examples is not None else {}
    read: list[Read] = []
    for source, one in zip(sources, in_parallel(lambda s: read_pair(s, settings), sources), strict=True):
        read.append(one)
        faults += _faults(source, one, seen)
        yield Progress(len(read), len(sources), "reading tumour-free images")
    if faults:
        more = f"; ... ({len(faults)} in all)" if len(faults) > SHOWN else ""
        what = "it" if len(faults) == 1 else "them"
        raise TrainingError(f"{folder}: {'; '.join(faults[:SHOWN])}{more}: take {what} out of the folder")
    return stacked(read)


def kind_of_picture(picture: NDArray[Any]) -> str:
    """Return what a picture is if it is not an MR slice of a head, else "".

    Parameters
    ----------
    picture : numpy.ndarray
        (C, H, W) of any real type.
    """
    values = np.asarray(picture, np.float32)
    span = float(np.ptp(values))
    if not span:
        return ""
    if len(values) > 1 and float(np.ptp(values, axis=0).mean()) > GREY / 255 * span:
        return "a colour picture"
    grey = (values.mean(0) - values.min()) / span
    if len(np.unique(grey)) < FEW:
        return "a drawing or a mask"
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if float(np.median(border)) > AIR:
        return "no slice with dark air around it"
    return "computed tomography" if _is_ct(grey) else ""


def _is_ct(grey: NDArray[np.float32]) -> bool:
    top = float(np.quantile(grey, 0.999))
    rows, columns = np.nonzero(grey > AIR * top)
    if not rows.size:
        return False
    middle, spread = (rows.mean(), columns.mean()), (rows.std() + 1e-6, columns.std() + 1e-6)
    place = np.indices(grey.shape)
    away = sum(((at - m) / s) ** 2 for at, m, s in zip(place, middle, spread, strict=True))
    low, high = np.quantile(grey[away < 1], (0.05, 0.95)) if (away < 1).any() else (0.0, top)
    return bool(_share_of_bone(grey, middle, top) > CLOSED and high - low < FLAT * top)


def _share_of_bone(grey: NDArray[np.float32], middle: tuple[float, float], top: float) -> float:
    """Return the fraction of rays from the centre on which the outer third of the head has the highest values."""
    steps = np.arange(max(grey.shape))
    hits = []
    for angle in np.linspace(0, 2 * np.pi, RAYS, endpoint=False):
        rows, columns = (
            np.rint(m + d * steps).astype(int) for m, d in zip(middle, (np.sin(angle), np.cos(angle)), strict=True)
        )
        inside = (rows >= 0) & (rows < grey.shape[0]) & (columns >= 0) & (columns < grey.shape[1])
        ray = grey[rows[inside], columns[inside]]
        head = np.flatnonzero(ray > AIR * top)
        outer = ray[head[-1] * 2 // 3 : head[-1] + 1] if head.size else ray[:0]
        hits.append(outer.max(initial=0.0) >= BONE * top)
    return float(np.mean(hits))


def _faults(source: DatasetItem, one: Read, seen: dict[bytes, str]) -> list[str]:
    kinds = {kind for image in one.images if (kind := kind_of_picture(image))}
    faults = [f"{source.image.name} is {sorted(kinds)[0]}, no MR slice of a head"] if len(kinds) else []
    same = next((seen[key] for image in one.images if (key := _fingerprint(image)) in seen), "")
    return [*faults, f"{source.image.name} shows a tumour (it is the training image {same})"] if same else faults


def _fingerprints(examples: Dataset) -> dict[bytes, str]:
    marked = examples.masks.flatten(1).any(1).tolist()
    pairs = zip(examples.sources, examples.images, marked, strict=True)
    return {_fingerprint(image.numpy()): source.image.name for source, image, shows in pairs if shows}


def _fingerprint(image: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(image).tobytes()


def _marks_something(path: Path) -> bool:
    try:
        return bool(np.asarray(scans.read_mask(path).array).any())
    except ScanError as error:
        raise TrainingError(f"the mask of a tumour-free image cannot be read: {error}") from error
