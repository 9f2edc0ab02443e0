"""A synthetic head: a procedural T1 post-contrast volume with lesions and their true mask.

Everything is drawn in millimetres of patient space (x to the left, y to the back, z to the head), so
that any grid shows the same head. No pixel comes from a real scan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Field = NDArray[Any]  # float32
    Point = tuple[float, float, float]

FIELD_OF_VIEW = (120.0, 230.4, 230.4)
_FEET = -36.0
_NOISE = 0.011
_FULL = 1800.0

# Brightness by depth under the skin in mm: air, skin, fat, skull with marrow, dura.
_DEPTH = (-0.9, 0.0, 1.2, 2.6, 5.4, 6.6, 7.6, 8.8, 10.2, 11.4, 12.4, 13.0, 13.6)
_LAYER = (0.0, 0.4, 0.55, 0.95, 0.9, 0.2, 0.07, 0.24, 0.22, 0.08, 0.1, 0.2, 0.16)
_BRAIN = 14.0
_FLUID, _GREY, _WHITE, _VESSEL = 0.14, 0.34, 0.42, 0.75


@dataclass(frozen=True)
class PhantomLesion:
    """A lesion of the phantom: centre (x, y, z) and radii in mm, and whether it has a dark core."""

    centre: Point
    radii: Point
    cored: bool


@dataclass(frozen=True)
class _Slab:
    """A few slices of the head: coordinates in mm, (z, 1, 1) and twice (1, y, x), and the seed of the textures.

    Only a few slices are drawn at a time: arrays that fit the cache are several times faster.
    """

    z: Field
    y: Field
    x: Field
    step: float
    seed: int
    knots: dict[float, Field] = field(repr=False)

    def ball(self, centre: Point, radii: Point) -> Field:
        """Return how deep each voxel lies in an ellipsoid in mm, negative outside; arguments are (x, y, z)."""
        x, y, z = (((a - c) / r) ** 2 for a, c, r in zip((self.x, self.y, self.z), centre, radii, strict=True))
        return np.asarray((1 - np.sqrt(z + (y + x))) * np.float32(min(radii)), np.float32)

    def ripple(self, wavelength: float) -> Field:
        """Return a smooth random field with mean 0 and standard deviation about 1, varying over `wavelength` mm."""
        if wavelength not in self.knots:
            self.knots[wavelength] = _sheet(self.seed, wavelength, self.x.shape)
        known = self.knots[wavelength]
        return _spread(
            _spread(known, self.z.ravel() - np.float32(_FEET), wavelength / 2, 0), self.rows, wavelength / 2, 1
        )

    @property
    def rows(self) -> Field:
        """Distance of every row from the first, in mm."""
        return np.arange(self.x.shape[1], dtype=np.float32) * np.float32(FIELD_OF_VIEW[1] / self.x.shape[1])


def phantom(
    seed: int = 0, lesions: int = 2, shape: tuple[int, int, int] = (24, 256, 256)
) -> tuple[Scan, NDArray[np.uint8]]:
    """Draw a T1-like head with contrast-enhancing lesions.

    Parameters
    ----------
    seed : int
        The same seed gives the same head and lesions.
    lesions : int
        Number of lesions; those with a dark core and a bright rim alternate with solid ones.
    shape : tuple of int
        Voxels along z, y, x; the field of view is always 120 x 230 x 230 mm.

    Returns
    -------
    scan : Scan
        uint16, axes "zyx", with an affine in mm.
    truth : numpy.ndarray
        The scan's shape, uint8: 1 inside a lesion (core and rim), else 0.
    """
    spacing = [f / n for f, n in zip(FIELD_OF_VIEW, shape, strict=True)]
    origin = (_FEET, *((s - f) / 2 for s, f in zip(spacing[1:], FIELD_OF_VIEW[1:], strict=True)))
    plan, knots = _plan(seed, lesions), dict[float, "Field"]()
    values, truth = np.empty(shape, np.uint16), np.zeros(shape, np.uint8)
    few = max(1, 140_000 // (shape[1] * shape[2]))
    for start in range(0, shape[0], few):
        part = slice(start, min(start + few, shape[0]))
        values[part], truth[part] = _draw(_slab(seed, part, spacing, origin, shape, knots), plan)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Scan(values, "zyx", affine, "mm", "sample head", "", "MR"), truth


def _slab(
    seed: int,
    part: slice,
    spacing: list[float],
    origin: tuple[float, ...],
    shape: tuple[int, int, int],
    knots: dict[float, Field],
) -> _Slab:
    """Return the coordinates of some slices, rotated slightly, as in a real scan."""
    z, y, x = (
        np.float32(o) + np.float32(s) * np.arange(n, dtype=np.float32)
        for o, s, n in zip(origin, spacing, shape, strict=True)
    )
    angle = np.random.default_rng(seed).uniform(-0.08, 0.08)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across, down = x[None, None, :], y[None, :, None]
    return _Slab(z[part, None, None], cos * down - sin * across, cos * across + sin * down, spacing[2], seed, knots)


def _plan(seed: int, lesions: int) -> list[PhantomLesion]:
    """Place the lesions: within the white matter, off the midline, apart from each other."""
    chance, plan = np.random.default_rng((seed, 1)), list[PhantomLesion]()
    for n in range(lesions):
        radius = (16.0, 11.0)[n] if n < 2 else float(chance.uniform(5, 9))
        spots = [_spot(chance) for _ in range(60)]
        centre = max(spots, key=lambda s: min([_apart(s, one) for one in plan] + [abs(s[0]) * 1.4]) - radius)
        x, y, z = (float(radius * s) for s in chance.uniform(0.88, 1.14, 3))
        plan.append(PhantomLesion(centre, (x, y, z), cored=n % 2 == 0))
    return plan


def _spot(chance: np.random.Generator) -> Point:
    angle, out, z = chance.uniform(0, 2 * np.pi), chance.uniform(0.55, 1.0), chance.uniform(-12, 36)
    return float(42 * out * np.cos(angle)), float(58 * out * np.sin(angle)), float(z)


def _apart(spot: Point, lesion: PhantomLesion) -> float:
    return float(np.linalg.norm(np.subtract(spot, lesion.centre))) - max(lesion.radii)


def _draw(slab: _Slab, plan: list[PhantomLesion]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the brightness and the true mask of some slices."""
    depth = _depth(slab)
    tissue, inside = _brain(slab, depth)
    truth = np.zeros(depth.shape, np.uint8)
    for lesion in plan:
        tissue, deep = _with_lesion(slab, tissue, inside, lesion)
        truth |= ((deep > 0) & (depth > _BRAIN)).astype(np.uint8)
    skin = _shell(slab, depth)
    return _acquire(slab, skin + (tissue - skin) * _soft(depth - _BRAIN)), truth


def _depth(slab: _Slab) -> Field:
    """Return the depth under the skin in mm of an egg-shaped head, wider at the back, longer towards the neck."""
    across = slab.x / (np.float32(79) * (1 + np.float32(0.0009) * slab.y))
    flat = across**2 + (slab.y / np.float32(99)) ** 2
    up = np.abs(np.where(slab.z > -4, (slab.z + 4) / 76, (slab.z + 4) / 170)) ** 3
    side = np.sqrt(flat + np.float32(0.12) * across**2 * (slab.y / 99) ** 2)
    r = np.cbrt(side * side * side + up)
    return np.asarray((1 - r) * np.float32(86) + np.float32(1.2) * slab.ripple(45), np.float32)


def _brain(slab: _Slab, depth: Field) -> tuple[Field, Field]:
    """Return the brightness of the tissue under the dura, and its distance from fluid (mm)."""
    surface = depth - _BRAIN
    midline = np.abs(slab.x + np.float32(1.2) * slab.ripple(60)) + np.maximum(surface - 30, 0) * np.float32(0.4)
    sulcus = np.minimum(_fold(slab, 21, surface, 26), _fold(slab, 13.5, surface, 11))
    open_ = np.float32(0.5) + np.float32(1.3) * _soft(0.9 - surface / 14) * (1 + np.float32(0.5) * slab.ripple(30))
    to_fluid = np.minimum(np.minimum(sulcus - open_, surface - 0.6 * open_), midline - np.float32(1.7))
    for hole in _ventricles(slab):
        to_fluid = np.minimum(to_fluid, -hole)
    white = np.minimum(np.minimum(sulcus, midline + 1), surface) - np.float32(4.0)
    tissue = _GREY + np.float32(_WHITE - _GREY) * _soft(white / 1.8)
    for nucleus in _nuclei(slab):
        tissue = tissue + (np.float32(_GREY + 0.025) - tissue) * _soft(nucleus / 2)
    tissue = _FLUID + (tissue + np.float32(0.010) * slab.ripple(9) - _FLUID) * _soft(to_fluid / 1.3)
    return _with_vessels(slab, tissue, surface, midline), to_fluid


def _fold(slab: _Slab, wavelength: float, surface: Field, reach: float) -> Field:
    """Return the distance in mm from the nearest fold; folds end `reach` mm under the surface."""
    sheet = slab.ripple(wavelength)
    down, across = np.gradient(sheet, slab.step, axis=(1, 2))
    away = np.abs(sheet) / np.maximum(np.sqrt(down**2 + across**2), np.float32(1.2 / wavelength))
    return np.asarray(away + np.maximum(surface - np.float32(reach), 0), np.float32)


def _ventricles(slab: _Slab) -> list[Field]:
    found = [slab.ball((0, 2, 4), (1.9, 13, 11)), slab.ball((0, 44, -36), (5, 6, 8))]
    for side in (-1, 1):
        found += [
            slab.ball((side * 8, -24, 14), (4.6, 15, 11)),
            slab.ball((side * 10, 0, 22), (5.5, 25, 6)),
            slab.ball((side * 18, 27, 16), (5.5, 15, 10)),
            slab.ball((side * 46, -12, -4), (4, 22, 6)),
        ]
    return found


def _nuclei(slab: _Slab) -> list[Field]:
    found = [slab.ball((0, 16, -44), (15, 13, 18))]
    for side in (-1, 1):
        found += [slab.ball((side * 11, 8, 8), (8, 14, 9)), slab.ball((side * 25, -8, 8), (7, 19, 10))]
    return found


def _with_vessels(slab: _Slab, tissue: Field, surface: Field, midline: Field) -> Field:
    """Add structures that take up contrast but are no lesion: falx, sinus, plexus and small vessels."""
    edge = np.minimum(np.float32(1.0) - np.abs(midline), surface + 1)
    sinus = slab.ball((0, 82.5, 10), (3.5, 4, 70))
    for where, level in ((edge, 0.5), (sinus, _VESSEL)):
        tissue = tissue + (np.float32(level) - tissue) * _soft(where)
    for side in (-1, 1):
        plexus = slab.ball((side * 19, 29, 14), (2.4, 7, 4)) + np.float32(0.6) * slab.ripple(7)
        tissue = tissue + (np.float32(0.6) - tissue) * _soft(plexus / 1.5)
        tissue = tissue + (_VESSEL - tissue) * _soft(slab.ball((side * 14, -12, -40), (2.0, 2.2, 9)))
    tree = np.sqrt(slab.ripple(26) ** 2 + slab.ripple(23) ** 2)
    near = _soft((surface - 1) / 4) * _soft((38 - surface) / 4)
    return np.asarray(tissue + np.float32(0.3) * near * np.clip(1 - tree / np.float32(0.06), 0, 1), np.float32)


def _shell(slab: _Slab, depth: Field) -> Field:
    """Return skin, fat and skull, with the temporal muscles in the fat."""
    layers = np.interp(depth, _DEPTH, _LAYER).astype(np.float32)
    side = _soft((np.abs(slab.x) - 54) / 6) * _soft((8 - slab.z) / 20) * _soft((26 - np.abs(slab.y + 14)) / 14)
    muscle = side * _soft(depth - 3) * _soft(9 - depth)
    return np.asarray(
        (layers + (np.float32(0.33) - layers) * muscle) * (1 + np.float32(0.08) * slab.ripple(14)), np.float32
    )


def _with_lesion(slab: _Slab, tissue: Field, inside: Field, lesion: PhantomLesion) -> tuple[Field, Field]:
    """Return the tissue with one lesion and its oedema, and how deep each voxel lies in the lesion (mm)."""
    radius = min(lesion.radii)
    ball = slab.ball(lesion.centre, lesion.radii)
    deep = np.asarray(ball + np.float32(0.1 * radius) * slab.ripple(round(radius, 2)), np.float32)
    swollen = _soft((ball + np.float32(0.5 * radius) + 2 * slab.ripple(16)) / 4) * _soft(inside + 1)
    share = np.float32(0.7 if lesion.cored else 0.3)
    tissue = tissue + (np.float32(_GREY - 0.05) - tissue) * share * swollen
    return np.asarray(tissue + (_enhancing(slab, deep, lesion) - tissue) * _soft(deep), np.float32), deep


def _enhancing(slab: _Slab, deep: Field, lesion: PhantomLesion) -> Field:
    """Return the brightness within a lesion: a rim of uneven width round a dark core, or solid."""
    bright = np.float32(0.72) + np.float32(0.05) * slab.ripple(7)
    if not lesion.cored:
        return np.asarray(bright, np.float32)
    rim = np.float32(0.27 * min(lesion.radii)) * (1 + np.float32(0.3) * slab.ripple(12))
    core = np.float32(0.2) + np.float32(0.03) * slab.ripple(9)
    return np.asarray(bright + (core - bright) * _soft((deep - rim) / 1.5), np.float32)


def _acquire(slab: _Slab, clean: Field) -> NDArray[np.uint16]:
    """Add what the scanner adds: uneven coil sensitivity and Rician noise."""
    chance = np.random.default_rng((slab.seed, 2, round(1000 * (float(slab.z[0, 0, 0]) - _FEET))))
    bias = 1 + np.float32(0.1) * np.cos(slab.x / 60 + 0.4) * np.cos(slab.y / 75 - 0.3) - np.float32(0.0006) * slab.z
    noise = chance.standard_normal((2, *clean.shape), dtype=np.float32) * np.float32(_NOISE)
    seen = np.sqrt((np.maximum(clean, 0) * bias + noise[0]) ** 2 + noise[1] ** 2)
    return np.asarray(np.clip(seen * np.float32(_FULL), 0, 65535), np.uint16)


def _soft(value: Field) -> Field:
    """Return 0 outside, 1 inside, and a ramp where `value` is within -0.5..0.5: a voxel's partial volume."""
    return np.asarray(np.clip(value + np.float32(0.5), 0, 1), np.float32)


def _sheet(seed: int, wavelength: float, shape: tuple[int, ...]) -> Field:
    """Return random knots every half `wavelength` along z and y, interpolated along x to `shape[2]` columns."""
    step = wavelength / 2
    chance = np.random.default_rng((seed, round(wavelength * 100)))
    loose = chance.standard_normal([int(np.ceil(f / step)) + 6 for f in FIELD_OF_VIEW]).astype(np.float32)
    columns = np.arange(shape[2], dtype=np.float32) * np.float32(FIELD_OF_VIEW[2] / shape[2])
    return _spread(np.float32(2.6) * loose, columns, step, 2)


def _spread(knots: Field, at: Field, step: float, axis: int) -> Field:
    """Interpolate knots, one every `step` mm along `axis`, at the points `at` by cubic B-splines.

    Sums of four terms rather than a matrix product: the same result on every machine, and no threads.
    """
    place = at / np.float32(step)
    first = place.astype(np.intp)
    f = (place - first).astype(np.float32)
    four = ((1 - f) ** 3 / 6, f**3 / 2 - f**2 + 2 / 3, (1 - f) ** 3 / 2 - (1 - f) ** 2 + 2 / 3, f**3 / 6)
    wide = [1, 1, 1]
    wide[axis] = -1
    parts = (w.astype(np.float32).reshape(wide) * knots.take(first + n, axis) for n, w in enumerate(four))
    return np.asarray(sum(parts, np.float32(0)), np.float32)
