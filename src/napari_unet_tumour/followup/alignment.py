"""Brings a later scan to the place of an earlier one: a turn and a shift that make their grey values agree.

Mutual information (Mattes), so that brightness and contrast of the two may differ; by SimpleITK, an optional extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

    Matrix = NDArray[np.float64]

MISSING = "Aligning needs SimpleITK: pip install 'napari-unet-tumour[align]'"
STEP_MM = 2.0  # the finest grid that is compared
MOST_VOXELS = 8_000_000
SHRINK, SMOOTH_MM = (4, 2, 1), (4.0, 2.0, 0.0)
BINS, SAMPLED, STEPS = 48, 0.2, 150
SEED = 1
PERCENTILES = (0.5, 99.5)


class Cancelled(Exception):
    """The alignment was stopped since nobody waits for it."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the later scan lies after it was aligned.

    Parameters
    ----------
    to_earlier : numpy.ndarray
        (4, 4) later scan's world -> earlier scan's world (z, y, x in mm); a turn and a shift.
    degrees : float
        Angle of the turn.
    shift : float
        How far the middle of the later scan is moved, in mm.
    """

    to_earlier: Matrix
    degrees: float
    shift: float


def can_align() -> bool:
    """Tell whether SimpleITK is installed."""
    return find_spec("SimpleITK") is not None


def align(
    earlier: Scan,
    later: Scan,
    report: Callable[[Progress], None] = lambda progress: None,
    wanted: Callable[[], bool] = lambda: True,
) -> Alignment:
    """Find where a later scan lies in the world of an earlier one.

    Parameters
    ----------
    earlier, later : Scan
        Grey values with axes "zyx", in mm, on any two grids.
    report : callable
        Gets the progress, on the thread that calls this.
    wanted : callable
        Asked after every step whether to go on.

    Raises
    ------
    ScanError
        SimpleITK is missing, a scan is not in mm or holds one grey value, or no agreement was found.
    Cancelled
        Nobody wants the result any more.
    """
    if not can_align():
        raise ScanError(MISSING)
    import SimpleITK as sitk

    images = [_image(sitk, scan) for scan in (earlier, later)]
    method = _method(sitk)
    start = _best_start(sitk, method, images)
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        report(Progress(min(done, len(SHRINK) * STEPS), len(SHRINK) * STEPS, "aligning"))
        if not wanted():
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, on_step)
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(*images)
    except RuntimeError as error:
        raise _no_agreement(earlier, later) from error
    if not wanted():
        raise Cancelled
    return _alignment(start, images[1])


def _no_agreement(earlier: Scan, later: Scan) -> ScanError:
    return ScanError(
        f"'{later.name}' could not be aligned to '{earlier.name}': do they show the same part of the body?"
    )


def _method(sitk: Any) -> Any:
    """Return the registration, coarse to fine; the same scans give the same answer."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=STEPS, gradientMagnitudeTolerance=1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _best_start(sitk: Any, method: Any, images: list[Any]) -> Any:
    """Return the start that agrees best: as the files say, middle on middle, or centre of mass on centre of mass."""
    kind = sitk.CenteredTransformInitializerFilter
    centred = [
        sitk.Euler3DTransform(sitk.CenteredTransformInitializer(*images, sitk.Euler3DTransform(), how))
        for how in (kind.GEOMETRY, kind.MOMENTS)
    ]
    as_filed = sitk.Euler3DTransform()
    as_filed.SetCenter(centred[1].GetCenter())
    coarse = [sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, SMOOTH_MM[0]), [2] * 3) for image in images]
    best, least = centred[1], np.inf
    for start in (as_filed, *centred):
        method.SetInitialTransform(start)
        try:
            disagreement = method.MetricEvaluate(*coarse)
        except RuntimeError:  # the two do not overlap from there
            continue
        if disagreement < least:
            best, least = start, disagreement
    return best


def _image(sitk: Any, scan: Scan) -> Any:
    """Return a scan resampled along the axes of its world, for grids that are oblique, sheared or very fine."""
    if scan.axes != "zyx" or scan.units != "mm" or scan.affine is None:
        raise ScanError(f"'{scan.name}' is not a grey volume in millimetres: it cannot be aligned")
    values = np.nan_to_num(np.asarray(scan.array, np.float32))
    low, high = np.percentile(values, PERCENTILES)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        raise ScanError(f"'{scan.name}' holds one grey value: it cannot be aligned")
    corners = np.array([[*at, 1] for at in np.ndindex(2, 2, 2)], np.float64)
    corners[:, :3] *= np.array(values.shape) - 1
    ends = (corners @ scan.affine.T)[:, :3]
    origin, size = ends.min(axis=0), np.ptp(ends, axis=0)
    step = max(STEP_MM, float(np.prod(np.maximum(size, 1.0)) / MOST_VOXELS) ** (1 / 3))
    shape = np.maximum(np.ceil(size / step).astype(int) + 1, 4)
    smooth = [max(step / spacing - 1, 0) / 2 for spacing in scan.spacing]
    values = ndimage.gaussian_filter((np.clip(values, low, high) - low) / (high - low), smooth)
    back = np.linalg.inv(scan.affine)
    moved = ndimage.affine_transform(
        values, back[:3, :3] * step, back[:3, :3] @ origin + back[:3, 3], tuple(shape), order=1, mode="grid-constant"
    )
    image = sitk.GetImageFromArray(moved)
    image.SetSpacing([step] * 3)
    image.SetOrigin([float(at) for at in origin[::-1]])
    return image


def _alignment(found: Any, image: Any) -> Alignment:
    """Return a transform from the earlier world to the later one (x, y, z) as its inverse in (z, y, x)."""
    turn = np.array(found.GetMatrix(), np.float64).reshape(3, 3)
    centre, shift = np.array(found.GetCenter()), np.array(found.GetTranslation())
    to_later = np.eye(4)
    to_later[:3, :3] = turn[::-1, ::-1]
    to_later[:3, 3] = (centre + shift - turn @ centre)[::-1]
    to_earlier = np.asarray(np.linalg.inv(to_later), np.float64)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))[::-1]
    moved = to_earlier[:3, :3] @ middle + to_earlier[:3, 3] - middle
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return Alignment(to_earlier, float(degrees), float(np.linalg.norm(moved)))
