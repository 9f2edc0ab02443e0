"""A scan: an array that knows where its voxels lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scan:
    """Pixels with geometry.

    Parameters
    ----------
    array : numpy.ndarray or dask.array.Array
        Values of any integer, float or bool dtype, one axis per letter of `axes`.
    axes : str
        A letter per axis, in array order: "t" time, "z" "y" "x" space, "c" channels or colours.
    affine : numpy.ndarray, optional
        (s+1, s+1) float64: index along the s spatial axes (array order) -> world position, world
        axes in the same order ("z", "y", "x"), patient coordinates LPS+ (x to the left, y to the
        back, z to the head) in `units`; the identity when None.
    units : str
        "mm", or "pixel" when the spacing is not known.
    name : str
        What a person sees; never a patient's name.
    source : str
        Where it came from (path), or "".
    modality : str
        "MR", "CT", ... or "".
    person : str
        Whose it is where the file says so, else "": an id (see `person.person_id`), never what the file holds.
    frame_of_reference : str
        The coordinate system that `affine` leads to: DICOM's FrameOfReferenceUID, "nifti:" and the code of the sform or
        qform, or "" where nothing is known; see `frame_of_reference.frame_relation`.
    extra : Mapping
        What a writer needs to write the same geometry back (e.g. the NIfTI header), by format; "spacing_only"
        where `affine` says how large voxels are and not where they lie.
    """

    array: Any
    axes: str
    affine: NDArray[np.float64] | None = None
    units: str = "pixel"
    name: str = "scan"
    source: str = ""
    modality: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    person: str = ""
    frame_of_reference: str = ""

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the spatial axes in the array."""
        return tuple(i for i, letter in enumerate(self.axes) if letter in "zyx")

    @property
    def world(self) -> NDArray[np.float64]:
        """The affine, or the identity where none is known."""
        return np.eye(len(self.spatial) + 1) if self.affine is None else self.affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each spatial axis, in `units`."""
        return tuple(float(s) for s in np.linalg.norm(self.world[:-1, :-1], axis=0))
