"""What a layer's transforms and units say: index -> world, and lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


# Names of axes that are no space.
TIME = ("t", "time", "frame")
# Attributes that say where a layer lies.
PLACE = ("scale", "translate", "rotate", "shear", "affine")


def world_of(layer: Any) -> NDArray[np.float64]:
    """Return (n+1, n+1) index -> world of all axes of a layer, in its units."""
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.array(layer.data_to_world(one)) - origin for one in np.eye(layer.ndim)]
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1] = np.column_stack([*steps, origin])
    return matrix


def pixels_of(layer: Any) -> Any:
    """Return a layer's pixels, of several resolutions the finest."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def grid_shape(image: Any) -> tuple[int, ...]:
    """Return the shape of an image layer's pixels without colours, of several resolutions the finest."""
    return tuple(pixels_of(image).shape[: image.ndim])


def millimetres(unit: Any) -> float | None:
    """Return how many mm a unit of length is, None for pixels and the like."""
    from pint import get_application_registry

    registry = get_application_registry()  # type: ignore[no-untyped-call]
    if not registry.is_compatible_with(str(unit), "mm"):
        return None
    return float(registry.Quantity(1, str(unit)).to("mm").magnitude)


def scaled(layer: Any, factors: Sequence[float | None]) -> NDArray[np.float64]:
    """Return `world_of` a layer with every axis of the world multiplied; None leaves it as it is."""
    return np.asarray(np.diag([*(factor or 1.0 for factor in factors), 1.0]) @ world_of(layer))


def spacing_of(layer: Any) -> tuple[float, ...]:
    """Return the distance of neighbouring pixels along every axis, in mm where units are lengths; never negative."""
    matrix = scaled(layer, [millimetres(unit) for unit in layer.units])
    return tuple(float(step) for step in np.linalg.norm(matrix[:-1, :-1], axis=0))


def axes_of(layer: Any) -> str:
    """Return a letter per axis: the last three are space, unless one of them is called time; the others "t"."""
    words = [str(label).lower() for label in layer.axis_labels]
    space = [i for i in range(layer.ndim) if words[i] not in TIME][-3:]
    return "".join("zyx"[space.index(i) - len(space)] if i in space else "t" for i in range(layer.ndim))


def affine_of(layer: Any, axes: str) -> tuple[NDArray[np.float64], str]:
    """Return the affine of the spatial axes in mm where the layer's units are lengths, else as it is, in pixels."""
    space = [i for i, letter in enumerate(axes) if letter != "t"]
    keep = [*space, layer.ndim]
    matrix = world_of(layer)[np.ix_(keep, keep)]
    factors = [millimetres(layer.units[i]) for i in space]
    if any(factor is None for factor in factors):
        return matrix, "pixel"
    return np.diag([*(f or 1.0 for f in factors), 1.0]) @ matrix, "mm"


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values of a layer's property are equal, be they arrays, transforms or neither."""
    one, other = (getattr(value, "affine_matrix", value) for value in (one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
