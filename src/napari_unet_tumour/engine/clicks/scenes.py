"""Training scenes for the click network: a part of a head, what a person wants there, and what is known at first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from napari_unet_tumour.clicks.person import inmost, largest_piece, next_click, shaken
from napari_unet_tumour.clicks.picture import draw
from napari_unet_tumour.clicks.window import SIDE, side_for
from napari_unet_tumour.engine.normalisation import as_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Grey = NDArray[np.float32]

# Shares of scenes.
HIDDEN, WRONG_PLACE = 0.35, 0.12
WITH_BOX, WITH_NEIGHBOUR, EMPTY, PART = 0.08, 0.15, 0.07, 0.3
WRONG_CLICK = 0.05
# Smallest part of a lesion, and smallest lesion, that is asked for, in pixels of the picture.
SMALLEST = 12


@dataclass(frozen=True, eq=False)
class Slices:
    """Training slices, all (N, 256, 256) uint8.

    Parameters
    ----------
    images : numpy.ndarray
        Grey values.
    masks : tuple of numpy.ndarray
        A first and a second reader's mask, 0 or 1; where the second has read nothing the first stands.
    answers : numpy.ndarray
        The automatic answer to each slice, or to a degraded copy of it, 0..255.
    answered : numpy.ndarray
        (N,) bool: which slices have one.
    """

    images: NDArray[np.uint8]
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    answers: NDArray[np.uint8]
    answered: NDArray[np.bool_]


@dataclass(eq=False)
class Scene:
    """What a simulated person sees and wants; pictures are (SIDE, SIDE).

    Parameters
    ----------
    grey, truth : numpy.ndarray
        z-scores, and the mask that is wanted.
    base, region, before : numpy.ndarray or None
        As `picture.draw` takes them.
    like, unlike : numpy.ndarray or None
        Likewise.
    scale : float
        Pixels of the picture per pixel of a slice of 256: by so much a hand's jitter is larger here.
    add, remove : list of (row, column)
        The clicks so far.
    """

    grey: Grey
    truth: Mask
    base: Grey | None
    region: Grey | None
    before: Grey | None
    like: Grey | None
    unlike: Grey | None
    scale: float
    add: list[tuple[float, float]]
    remove: list[tuple[float, float]]

    def picture(self) -> Grey:
        """Return what the network sees."""
        return draw(self.grey, self.add, self.remove, self.base, self.region, self.before, self.like, self.unlike)

    def answered(self, probability: Grey, rng: np.random.Generator) -> None:
        """Take an answer in, and click on its largest error; sometimes only the mask is kept, as a window keeps it."""
        self.before = (probability >= 0.5).astype(np.float32) if rng.random() < 0.5 else probability
        self.click(probability >= 0.5, rng)

    def click(self, mask: Mask, rng: np.random.Generator) -> None:
        """Click on the largest error of a mask, by mistake elsewhere now and then; on the lesion where none is left."""
        found = next_click(mask, self.truth, rng, 3.0 * self.scale)
        if found is None:
            if not self.truth.any():
                return
            found = (*shaken(inmost(self.truth), mask.shape, rng, 3.0 * self.scale), 1)
        row, column, sign = found
        if rng.random() < WRONG_CLICK:
            row, column = shaken((row, column), mask.shape, rng, 15.0)
        (self.add if sign > 0 else self.remove).append((row, column))


class Scenes:
    """An endless source of scenes.

    Parameters
    ----------
    slices : Slices
        What they are cut from.
    seed : int
        Start of all chance.
    """

    def __init__(self, slices: Slices, seed: int) -> None:
        self._slices = slices
        self._rng = np.random.default_rng(seed)
        self._torch = torch.Generator().manual_seed(seed)

    def batch(self, count: int) -> list[Scene]:
        """Return so many scenes, each with one to three clicks, a box or a neighbour's mask."""
        rng, slices = self._rng, self._slices
        chosen = rng.integers(len(slices.images), size=count)
        reader = rng.integers(2, size=count)
        truth = np.stack([slices.masks[r][n] for r, n in zip(reader, chosen, strict=True)])
        other = np.stack([slices.masks[1 - r][n] for r, n in zip(reader, chosen, strict=True)])
        base = slices.answers[chosen]
        # The next file is often the next slice of the same head: its mask is a neighbour's.
        beside = np.clip(chosen + rng.choice([-1, 1], count), 0, len(slices.images) - 1)
        near = np.stack([slices.masks[0][n] for n in beside])
        strange = slices.answers[rng.integers(len(slices.images), size=count)]
        empty = rng.random(count) < EMPTY
        centre, side = _windows(truth, rng, empty)
        images = slices.images[chosen]
        planes = (
            torch.from_numpy(np.stack([images, 255 * truth, base, 255 * near, 255 * other, strange], 1)).float() / 255
        )
        cut = _cut(planes, centre, side, self._torch)
        cut[:, :1] = _relit(cut[:, :1], torch.from_numpy(images[:, None, ::4, ::4]).float() / 255, self._torch)
        known = slices.answered[chosen]
        return [self._scene(one, k, SIDE / s) for one, k, s in zip(cut.numpy(), known, side, strict=True)]

    def _scene(self, cut: Grey, answered: bool, scale: float) -> Scene:
        rng = self._rng
        grey, truth, base, near, other, strange = cut
        wanted = truth >= 0.5
        if rng.random() < PART:
            wanted = _part(grey, wanted, rng)
        scene = Scene(grey, wanted, None, None, None, None, None, scale, [], [])
        if wanted.sum() < SMALLEST:
            return self._nothing(scene, strange, near)
        kind = rng.random()
        if kind < WITH_NEIGHBOUR:
            self._beside(scene, near >= 0.5, base if answered else None)
        elif kind < WITH_NEIGHBOUR + WITH_BOX:
            scene.region = _box(wanted, rng)
            scene.base = base if answered and rng.random() < 0.5 else None
        elif rng.random() < HIDDEN or (not answered and rng.random() < 0.7):
            self._from_nothing(scene)
        else:
            self._from_base(scene, base if answered else _warped(other, rng), strange, other)
        return scene

    def _from_nothing(self, scene: Scene) -> None:
        """Show no answer and click inside the lesion; of several pieces the clicked one alone is wanted."""
        rng = self._rng
        piece = largest_piece(scene.truth)
        assert piece is not None
        scene.truth = piece
        scene.click(np.zeros_like(piece), rng)
        for _ in range(rng.integers(0, 3)):
            self._anywhere(scene, np.zeros_like(piece))

    def _from_base(self, scene: Scene, base: Grey, strange: Grey, other: Grey) -> None:
        """Show the automatic answer, whole or spoilt, and click on its errors."""
        rng = self._rng
        chance = rng.random()
        if chance < WRONG_PLACE:
            base = np.maximum(base * (rng.random() < 0.5), strange)
        elif chance < 2 * WRONG_PLACE:
            base = _warped(other, rng)
        elif chance < 2.5 * WRONG_PLACE:
            base = base * np.float32(rng.uniform(0.05, 0.6))
        scene.base = base
        scene.click(base >= 0.5, rng)
        for _ in range(rng.integers(0, 3)):
            self._anywhere(scene, base >= 0.5)

    def _anywhere(self, scene: Scene, mask: Mask) -> None:
        """Click somewhere in what is wrong, not at its middle; or just outside the lesion."""
        rng = self._rng
        missing, extra = scene.truth & ~mask, mask & ~scene.truth
        if mask.any() or rng.random() < 0.5:
            wrong, sign = (missing, 1) if missing.sum() >= extra.sum() else (extra, -1)
        else:
            wrong, sign = (
                ndimage.binary_dilation(scene.truth, iterations=9)
                & ~ndimage.binary_dilation(scene.truth, iterations=2),
                -1,
            )
        places = np.argwhere(wrong)
        if len(places):
            row, column = places[rng.integers(len(places))]
            (scene.add if sign > 0 else scene.remove).append((int(row), int(column)))

    def _beside(self, scene: Scene, near: Mask, base: Grey | None) -> None:
        """Show the mask of the slice before, and its grey values; no click at first, or one."""
        rng = self._rng
        both = (near & scene.truth).sum()
        if not both or both < 0.3 * near.sum() or both < 0.3 * scene.truth.sum() or rng.random() < 0.3:
            near = _warped(scene.truth.astype(np.float32), rng) >= 0.5
        if not near.any():
            near = scene.truth
        scene.region = near.astype(np.float32)
        inside, ring = near & scene.truth, ndimage.binary_dilation(near, iterations=7) & ~near & ~scene.truth
        scene.like = scene.grey[inside if inside.any() else near] + np.float32(rng.normal(0, 0.15))
        scene.unlike = scene.grey[ring]
        scene.base = base if rng.random() < 0.6 else None
        if rng.random() < 0.4:
            scene.click(near, rng)

    def _nothing(self, scene: Scene, strange: Grey, near: Grey) -> Scene:
        """Show no lesion: an automatic answer that is to be removed, or a neighbour's mask where the lesion ends."""
        rng = self._rng
        scene.truth = np.zeros_like(scene.truth)
        blob = strange >= 0.5
        if not blob.any():
            blob = np.hypot(*(np.indices(blob.shape) - rng.uniform(30, 66, (2, 1, 1)))) < rng.uniform(3, 14)
        if rng.random() < 0.5:
            scene.base = np.maximum(strange, blob * np.float32(0.9))
            scene.click(blob, rng)
        else:
            scene.region = blob.astype(np.float32)
            ring = ndimage.binary_dilation(blob, iterations=7) & ~blob
            scene.like = rng.normal(
                scene.grey[blob].mean() + rng.choice([-1, 1]) * rng.uniform(0.7, 2.5), 0.3, 80
            ).astype(np.float32)
            scene.unlike = scene.grey[ring]
        return scene


def _rand(count: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(count, generator=rng) * (high - low) + low)[:, None, None, None]


def _relit(x: torch.Tensor, whole: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Show parts of heads as another scanner might: contrast, order of greys, shading, sharpness, noise; then z-scores.

    Parameters
    ----------
    x : torch.Tensor
        (N, 1, S, S) float32 in 0..1.
    whole : torch.Tensor
        (N, 1, h, w) float32 in 0..1: the whole heads, thinned, for the range of their grey values.
    """
    count = len(x)

    def some(share: float) -> torch.Tensor:
        return torch.rand(count, generator=rng)[:, None, None, None] < share

    power = torch.where(some(0.7), torch.exp(_rand(count, -0.7, 0.7, rng)), 1.0)
    much = torch.where(some(0.3), _rand(count, -0.4, 0.4, rng), 0.0)
    often, turned = _rand(count, 1, 2.5, rng), some(0.05)
    both = []
    for one in (x, whole):
        lit = one.clamp(min=1e-6) ** power
        lit = (lit + much * torch.sin(math.pi * often * lit)).clamp(min=0)
        both.append(torch.where(turned, (1 - lit) * (one > 0.04), lit))
    x, whole = both
    shade = F.interpolate(torch.randn(count, 1, 3, 3, generator=rng) * 0.15, size=x.shape[2:], mode="bicubic")
    x = torch.where(some(0.4), x * torch.exp(shade), x)
    x = torch.where(some(0.25), F.avg_pool2d(x, 3, 1, 1), x)
    coarse = F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:], mode="bilinear", align_corners=False)
    x = torch.where(some(0.15), coarse, x)
    x = torch.where(some(0.4), x + torch.randn(x.shape, generator=rng) * _rand(count, 0, 0.08, rng), x)
    return torch.cat([as_in("robust-zscore", one[None])(part[None]) for one, part in zip(whole, x, strict=True)])


def _windows(
    truth: NDArray[np.uint8], rng: np.random.Generator, empty: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose where scenes lie: around a lesion, or around one of its pixels, or (`empty`) anywhere."""
    centre, side = np.zeros((len(truth), 2), np.float32), np.zeros(len(truth), np.float32)
    for n, mask in enumerate(truth):
        places = np.argwhere(mask)
        if not len(places) or empty[n]:
            centre[n], side[n] = rng.uniform(60, 196, 2), rng.uniform(56, 150)
            continue
        low, high = places.min(0), places.max(0) + 1
        if rng.random() < 0.3:
            centre[n], side[n] = places[rng.integers(len(places))], rng.choice([80, 112, 144])
            continue
        side[n] = np.clip(side_for(float((high - low).max())) * np.exp(rng.uniform(-0.25, 0.4)), 28, 290)
        centre[n] = (low + high) / 2 + rng.normal(0, 0.08, 2) * side[n]
    return centre, side


def _cut(planes: torch.Tensor, centre: Grey, side: Grey, rng: torch.Generator) -> torch.Tensor:
    """Return (N, C, SIDE, SIDE) parts of planes (N, C, 256, 256), turned, mirrored and stretched."""
    count = len(planes)
    angle = torch.rand(count, generator=rng) * 2 * math.pi * (torch.rand(count, generator=rng) < 0.3)
    angle = angle + torch.randn(count, generator=rng) * 0.15
    flip = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    aspect = torch.exp(torch.randn(count, generator=rng) * 0.08)
    half = torch.from_numpy(side) / 256
    cos, sin = torch.cos(angle) * half, torch.sin(angle) * half
    middle = torch.from_numpy(centre) / 128 - 1
    rows = torch.stack([sin * flip * aspect, cos / aspect, middle[:, 0]], 1)
    columns = torch.stack([cos * flip * aspect, -sin / aspect, middle[:, 1]], 1)
    grid = F.affine_grid(torch.stack([columns, rows], 1), [count, 1, SIDE, SIDE], align_corners=False)
    bend = torch.randn(count, 2, 6, 6, generator=rng) * 0.03 * half[:, None, None, None]
    bend = F.interpolate(bend, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    bend = bend * (torch.rand(count, generator=rng) < 0.4)[:, None, None, None]
    grid = grid + bend.permute(0, 2, 3, 1)
    lowest = planes[:, :1].amin((2, 3), keepdim=True)
    shifted = torch.cat([planes[:, :1] - lowest, planes[:, 1:]], 1)
    found = F.grid_sample(shifted, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.cat([found[:, :1] + lowest, found[:, 1:]], 1)


def _part(grey: Grey, truth: Mask, rng: np.random.Generator) -> Mask:
    """Return the bright or the dark part of a lesion, as a person may want the rim or the core alone."""
    if truth.sum() < 60:
        return truth
    wide = ndimage.binary_dilation(truth, iterations=int(rng.integers(1, 3))) if rng.random() < 0.6 else truth
    smooth = ndimage.gaussian_filter(grey, 1.0)
    inside = smooth[wide]
    level = np.quantile(inside, rng.uniform(0.35, 0.65)) if rng.random() < 0.4 else (inside.min() + inside.max()) / 2
    found = wide & (smooth > level) if rng.random() < 0.85 else wide & (smooth <= level)
    found = ndimage.binary_opening(found) | (found & (rng.random() < 0.3))
    return found if found.sum() >= max(40, 0.15 * truth.sum()) else truth


def _box(truth: Mask, rng: np.random.Generator) -> Grey:
    """Return a box that a person draws around a lesion, a little too wide or narrow; 0 or 1."""
    found = np.zeros(truth.shape, np.float32)
    places = np.argwhere(truth)
    slack = 0.08 * (np.ptp(places, axis=0).max() + 4)
    low = np.clip(places.min(0) + rng.normal(-0.4 * slack, slack, 2), 0, SIDE - 1).round().astype(int)
    high = np.clip(places.max(0) + 1 + rng.normal(0.4 * slack, slack, 2), low + 1, SIDE).round().astype(int)
    found[low[0] : high[0], low[1] : high[1]] = 1
    return found


def _warped(mask: Grey, rng: np.random.Generator) -> Grey:
    """Return a mask (0..1) moved, grown or shrunk, and bent, as that of a neighbouring slice is."""
    size = max(2.0, float(np.sqrt((mask >= 0.5).sum())))
    field = ndimage.zoom(rng.normal(0, 0.12 * size, (2, 5, 5)), (1, SIDE / 5, SIDE / 5), order=1)
    shift = rng.normal(0, 0.06 * size, (2, 1, 1))
    middle = np.array(ndimage.center_of_mass(mask >= 0.5) if (mask >= 0.5).any() else (SIDE / 2, SIDE / 2))[
        :, None, None
    ]
    places = (np.indices(mask.shape) - middle) * np.exp(rng.normal(0, 0.2)) + middle + field + shift
    found = ndimage.map_coordinates(mask, places, order=1)
    return np.asarray(found, np.float32)
