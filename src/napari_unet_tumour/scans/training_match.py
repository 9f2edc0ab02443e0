"""Whether a scan looks like what a model was trained on: grey values and edges of its slices, and what its header says.

Without torch and without the network: the statistics of the training slices lie in the model file's header.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.scans.mr_sequences import sequence_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan

# Longest side in pixels at which slices are compared; slices of a scan that are looked at, from its middle part.
SIDE, MOST, MIDDLE = 128, 16, 0.7
# Mean squared distance (in standard deviations, over the features) from which a slice is unlike, and the share of
# unlike slices from which a scan is. Of training slices of other persons 2 % are unlike, of an inverted slice all.
FAR, MANY = 2.0, 0.5
# Share of the covariance that is replaced by independence, and of the grey values' range from which a pixel is head.
SHRINK, HEAD = 0.1, 0.15
# A slice with less head than this share is too empty to tell; fewer slices than this tell nothing in a training.
LEAST, FEWEST = 0.05, 30
# Pixels of a plane up to which it is looked at.
LARGEST = 1 << 22
SHARES = (0.05, 0.15, 0.25, 0.4, 0.5, 0.6, 0.75, 0.85, 0.95)
EDGES = (0.5, 0.8, 0.95)
DEPTHS = ((0, 0.08), (0.08, 0.2), (0.2, 0.45), (0.45, 1.01))
LONG = {
    "T1ce": "contrast-enhanced T1", "T1": "T1 without contrast medium", "T2": "T2", "FLAIR": "FLAIR",
    "DWI": "diffusion (DWI)", "ADC": "diffusion (ADC)", "SWI": "susceptibility (SWI)", "PD": "proton density",
    "TOF": "angiography (TOF)",
}  # fmt: skip
# Header words of what is no MR scan.
OTHER_MODALITIES = ("CT", "PT", "US", "CR", "DX", "MG", "NM", "XA")


@dataclass(frozen=True)
class ScanMatch:
    """How a scan compares to what a model was trained on.

    Parameters
    ----------
    slices : int
        Slices that were compared, 0 where the model file has no statistics or the scan no slice to tell by.
    unlike : float
        Share of them that look unlike the training slices, 0..1.
    named : str
        What the scan's header or name calls it, where that is not what the model was made for, e.g. "FLAIR"; else "".
    wanted : str
        What the model was made for, in words.
    named_by : str
        What calls it so: "header" or "name".
    """

    slices: int
    unlike: float
    named: str
    wanted: str
    named_by: str = "header"

    @property
    def is_doubtful(self) -> bool:
        """Whether the mask should not be believed before a person has looked at it."""
        return bool(self.named) or (self.slices > 0 and self.unlike >= MANY)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values, with the message."""
        return {**asdict(self), "doubtful": self.is_doubtful, "message": self.message}

    @property
    def message(self) -> str:
        """One line for a person, "" where there is nothing to say."""
        reasons = [f"its {self.named_by} says {self.named}"] if self.named else []
        if self.slices and self.unlike >= MANY:
            count = round(self.unlike * self.slices)
            reasons.append(f"{count} of {self.slices} slices look unlike the training slices")
        if not reasons:
            return ""
        return f"{' and '.join(reasons)}; the model was made for {self.wanted}: check the mask before you use it"


def match_scan(scan: Scan, layout: SliceLayout, spec: ModelSpec) -> ScanMatch:
    """Compare a scan with a model's training slices and with the sequence that it was made for."""
    named, by = other_sequence(scan, spec) if spec.in_channels == 1 else ("", "header")
    wanted = " and ".join(LONG.get(sequence_of(name), name) for name in spec.channels)
    if not spec.typical or spec.in_channels != 1 or math.prod(layout.plane_shape) > LARGEST:
        return ScanMatch(0, 0.0, named, wanted, by)
    features = [features_of(layout.read_planes(scan.array, [n])[0]) for n in _looked_at(layout)]
    known = np.stack([one for one in features if one is not None] or [np.zeros(0)])
    if not known.size:
        return ScanMatch(0, 0.0, named, wanted, by)
    return ScanMatch(len(known), float((distances(known, spec.typical) > FAR).mean()), named, wanted, by)


def other_sequence(scan: Scan, spec: ModelSpec) -> tuple[str, str]:
    """Return what a scan calls itself, and whether its "header" or its "name" does; "" where it fits the model."""
    wanted = sequence_of(spec.channels[0])
    if scan.modality in OTHER_MODALITIES:
        return scan.modality, "header"
    # The name of a DICOM scan is its series description; that of any other file was given by a person.
    by_name = bool(scan.source) and "dicom" not in scan.extra
    found, by = sequence_of(scan.name), "name" if by_name else "header"
    if not found or (found == "T1" and scan.extra.get("sequence") == "T1ce"):
        found, by = scan.extra.get("sequence", ""), "header"
    if found == "T1" and scan.extra.get("contrast_agent"):
        found = "T1ce"
    # A contrast-enhanced scan is often called just T1: only a DICOM header without a contrast agent tells.
    silent = found == "T1" and wanted == "T1ce" and "contrast_agent" not in scan.extra
    return ("", by) if silent or not found or not wanted or found == wanted else (LONG[found], by)


def statistics_of(planes: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """Return the statistics of training slices (C, H, W) as plain numbers for `ModelSpec.typical`; {} of too few."""
    found = [one for one in map(features_of, planes) if one is not None]
    if len(found) < FEWEST:
        return {}
    features = np.stack(found)
    mean, scale = features.mean(0), features.std(0) + 1e-3
    covariance = (1 - SHRINK) * np.cov(((features - mean) / scale).T) + SHRINK * np.eye(features.shape[1])
    precision = np.linalg.inv(covariance)
    numbers = {"mean": mean, "scale": scale, "precision": precision}
    return {name: np.vectorize(_short)(value).tolist() for name, value in numbers.items()}


def distances(features: NDArray[np.float64], typical: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return how far slices are from the training slices, 1 for the mean of these.

    Parameters
    ----------
    features : numpy.ndarray
        (n, F) of `features_of`.
    typical : mapping
        What `statistics_of` gives.
    """
    mean, scale, precision = (np.asarray(typical[name]) for name in ("mean", "scale", "precision"))
    away = (features - mean) / scale
    return np.asarray(np.einsum("ni,ij,nj->n", away, precision, away) / len(mean))


def is_unlike(plane: NDArray[Any], typical: Mapping[str, Any]) -> bool:
    """Tell whether a slice (C, H, W) looks unlike the training slices; one that is nearly empty does."""
    features = features_of(plane)
    return features is None or bool(distances(features[None], typical)[0] > FAR)


def features_of(plane: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return what a slice (C, H, W) looks like in 29 numbers, the same in any unit; None of a nearly empty one.

    Quantiles of the head's grey values, the share of head and the range; strength of edges at three scales; grey values
    by depth beneath the head's surface. Of several channels the mean counts.
    """
    small = _small(np.nan_to_num(np.asarray(plane, np.float64).mean(0)))
    low, high = np.quantile(small, (0.005, 0.995))
    if not high > low:
        return None
    grey = _standardised(np.clip(small, low, high))
    head = grey > grey.min() + HEAD * (np.quantile(grey, 0.99) - grey.min())
    if head.mean() < LEAST:
        return None
    depths = [(float(part.mean()), float(part.std())) if part.size else (0.0, 0.0) for part in _by_depth(grey, head)]
    found = [*np.quantile(grey[head], SHARES), head.mean(), grey.min(), grey.max(), *_edges(grey), *np.ravel(depths)]
    return np.asarray(found, np.float64)


def _small(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring a plane to `SIDE` pixels along its longer side: means of pixels, or repeated ones where it is smaller."""
    longest = max(plane.shape)
    for axis, length in enumerate(plane.shape):
        wanted = max(2, round(length * SIDE / longest))
        starts = np.linspace(0, length, wanted + 1)[:-1].astype(int)
        if wanted >= length:
            plane = plane.take(starts, axis)
        else:
            counts = np.diff([*starts, length])
            plane = np.add.reduceat(plane, starts, axis) / (counts[:, None] if axis == 0 else counts)
    return plane


def _standardised(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the brighter part zero mean and unit variance, as the network's own normalisation does."""
    bright = grey[grey > grey.mean()]
    return np.asarray((grey - bright.mean()) / max(float(bright.std()), 1e-3 * float(np.ptp(grey))))


def _edges(grey: NDArray[np.float64]) -> list[float]:
    found: list[float] = []
    for _ in range(3):
        down, across = np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1]
        found += np.log(np.quantile(np.hypot(down, across), EDGES) + 0.02).tolist() if down.size else [0.0] * 3
        rows, columns = (side // 2 for side in grey.shape)
        if min(rows, columns) > 1:
            grey = grey[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3))
    return found


def _by_depth(grey: NDArray[np.float64], head: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(head))
    depth = depth / depth.max()
    return [grey[(depth > 0) & (depth >= low) & (depth < high)] for low, high in DEPTHS]


def _looked_at(layout: SliceLayout) -> list[int]:
    """Return evenly spread planes of the middle part of a scan."""
    count = layout.planes
    if count <= 2:
        return list(range(count))
    first, last = round(count * (1 - MIDDLE) / 2), round(count * (1 + MIDDLE) / 2) - 1
    return sorted({int(n) for n in np.linspace(first, max(first, last), MOST).round()})


def _short(value: float) -> float:
    return float(f"{value:.5g}")
