"""What an OME-Zarr group says of itself: which images it holds, their axes, and where their pixels lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError, UnsupportedError
from napari_unet_tumour.scans.checks import damaged

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_TO_MM = {
    "angstrom": 1e-7, "nanometer": 1e-6, "nm": 1e-6, "micrometer": 1e-3, "um": 1e-3, "µm": 1e-3, "micron": 1e-3,
    "millimeter": 1.0, "mm": 1.0, "centimeter": 10.0, "cm": 10.0, "meter": 1e3, "m": 1e3, "inch": 25.4,
}  # fmt: skip
_FILES = ("zarr.json", ".zgroup", ".zarray")
# The axes of versions 0.1 and 0.2, which name none.
_FIRST_AXES = "tczyx"


def is_zarr(path: Path) -> bool:
    """Tell whether a path is a zarr array or group: by its suffix or, inside another one, by the files in it."""
    return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _FILES)


def images_in(path: Path, group: Any) -> list[str]:
    """Return the paths of the images in a group: "" for the group itself, several for the bioformats2raw layout.

    Raises
    ------
    ScanError
        There is none, or the group is a plate; names what can be opened instead.
    """
    about = _about(group)
    if about.get("multiscales"):
        return [""]
    if "plate" in about:
        wells = about["plate"].get("wells") or [{}]
        one = path / str(wells[0].get("path", "A/1")) / "0"
        raise UnsupportedError(f"{path.name} is a plate of many images: open one of them, such as {one}")
    if "bioformats2raw.layout" in about:
        listed = _about(group["OME"]).get("series") if "OME" in group else None
        found = (
            [str(one) for one in listed] if listed else sorted((k for k, _ in group.groups() if k.isdecimal()), key=int)
        )
        known = [one for one in found if one in group and _about(group[one]).get("multiscales")]
        if known:
            return known
    arrays = sorted(name for name, _ in group.arrays())
    if len(arrays) == 1:
        return arrays
    if arrays:
        raise ScanError(f"{path.name} holds {len(arrays)} arrays: open one of them, such as {path / arrays[0]}")
    raise ScanError(f"{path.name} is a zarr group without an image: choose a folder in it that holds one")


def multiscale(group: Any) -> dict[str, Any]:
    """Return the description of a group's image: the first one in it."""
    return dict(_about(group)["multiscales"][0])


def _about(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def axes_of(path: Path, about: dict[str, Any], shape: tuple[int, ...]) -> tuple[str, list[float]]:
    """Return a letter per axis, and mm per unit of its length, 0 where the unit is not known."""
    try:
        listed = about.get("axes", _FIRST_AXES)
        axes = [one if isinstance(one, dict) else {"name": one} for one in listed]
        letters = "".join(str(one["name"]).lower() for one in axes)
    except (KeyError, TypeError) as error:
        raise damaged(path) from error
    if len(letters) != len(shape) or set(letters) - set("tczyx") or len(set(letters)) != len(letters):
        raise ScanError(f"{path.name} has axes {letters!r} of {shape}: at most t, c, z, y and x can be opened")
    return letters, [_TO_MM.get(str(one.get("unit", "")).lower(), 0.0) for one in axes]


def has_scale(about: dict[str, Any]) -> bool:
    """Tell whether an image says how large its pixels are: without a scale a unit alone does not."""
    return any(one.get("type") == "scale" for one in _transformations(about))


def _transformations(about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the transformations of the largest level, then those of the whole image."""
    return [t for level in (about["datasets"][0], about) for t in level.get("coordinateTransformations") or []]


def place_of(path: Path, about: dict[str, Any], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return step and start along each axis of the largest level, in the axes' units.

    The transformations of the level come first, then those of the whole image: scales multiply.

    Raises
    ------
    ScanError
        A transformation is of a kind that is not read here, or does not fit the axes.
    """
    step, start = np.ones(count), np.zeros(count)
    for one in _transformations(about):
        kind = one.get("type")
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in one:
            raise UnsupportedError(
                f"{path.name} has a transformation {kind!r}, which is not read: save it with a scale"
            )
        values = np.asarray(one[kind], np.float64)
        if values.shape != (count,) or not np.isfinite(values).all() or (kind == "scale" and (values <= 0).any()):
            raise damaged(path)
        step, start = (step * values, start * values) if kind == "scale" else (step, start + values)
    return step, start
