"""What the widget knows about the run that is under way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.widgets.common.settings_form import plain
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.layers.drawn_pixels import KeptSlices
from napari_unet_tumour.widgets.layers.mask_writer import Shown

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.layers.predictions import MaskUpdate, PlanePrediction
    from napari_unet_tumour.widgets.segment.run import SegmentRun
    from napari_unet_tumour.widgets.segment.tiled_run import TiledRun, TileWritten


@dataclass(eq=False)
class RunProgress:
    """A run, the image it reads, the mask it writes (None until the first slice arrives) and how far it is.

    Parameters
    ----------
    done : dict of int to bool
        By finished plane: whether the mask has any pixel there.
    kept : KeptSlices
        The planes that were left as a person drew them.
    others : list of Image
        Further layers that the run reads, as channels.
    erased : frozenset of int
        Planes that a person had emptied when the run began.
    """

    run: SegmentRun | TiledRun
    image: Image
    settings: SegmentSettings
    mask: Labels | None = None
    done: dict[int, bool] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    took: float = 0.0
    part: TileWritten | None = None
    kept: KeptSlices = field(default_factory=KeptSlices)
    others: list[Image] = field(default_factory=list)
    erased: frozenset[int] = frozenset()

    def count(self, plane: PlanePrediction, shown: Shown) -> None:
        """Note that a plane has arrived, and what became of it."""
        self.first = self.first or time.perf_counter()
        self.done[plane.number] = bool(plane.mask.array().any())
        if shown is Shown.KEPT and self.mask is not None:
            self.kept.add(self.mask, self.run.source.layout, plane.number, plane.region)

    def mark(self, part: TileWritten) -> None:
        """Note that a part of a large mask is written."""
        self.first = self.first or time.perf_counter()
        self.part = part
        self.done[part.plane] = self.done.get(part.plane, False) or part.marked

    def layers(self) -> list[Any]:
        """Return the layers without which the run makes no sense."""
        return [layer for layer in (self.image, *self.others, self.mask) if layer is not None]

    def look(self, viewer: ViewerModel) -> None:
        """Let the planes nearest to the one on screen come next."""
        if self.mask is not None:
            plane = image_source.plane_on_screen(viewer, self.mask, self.run.source.layout)
            self.run.focus = self.run.focus if plane is None else plane

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels that the run draws, background first."""
        return label_names(self.run.entry.spec, self.settings.part)

    def facts(self) -> dict[str, Any]:
        """Return what the mask's metadata says about the run."""
        entry = self.run.entry
        made: dict[str, Any] = {"model": entry.name, "hash": entry.hash, "labels": list(self.names)}
        if self.run.source.channels:
            made["channels"] = self.run.source.channels
        return {**made, "settings": plain(self.run.settings), "slices": sorted(self.done), "of": self.run.total}

    def progress_text(self) -> str:
        """Return how far the run is, e.g. "9 of 24 slices"."""
        if self.part is not None:
            return f"{self.part.done} of {self.part.total} parts"
        return f"{len(self.done)} of {slices(self.run.total)}"

    def pace(self) -> str:
        """Return how far, how quickly and how long still, e.g. "9 of 24 slices, 12 a second, 2 s left"."""
        seconds = time.perf_counter() - self.first
        if self.part is not None:
            left = (self.part.total - self.part.done) * seconds / max(self.part.done - 1, 1)
            return f"{self.progress_text()}, {_duration(left)} left" if self.part.done > 1 else self.progress_text()
        if len(self.done) < 2 or seconds <= 0:
            return self.progress_text()
        rate = (len(self.done) - 1) / seconds
        left = (self.run.total - len(self.done)) / rate
        return f"{self.progress_text()}, {rate:.1f} slices/s, {_duration(left)} left"

    @property
    def missing(self) -> int:
        """How many slices were asked for and did not arrive."""
        return 0 if self.part is not None else self.run.total - len(self.done)

    def summary(self, decided: MaskUpdate | None = None) -> str:
        """Return how the finished run went, where it is known with what all slices together have decided."""
        self.took = self.took or time.perf_counter() - self.begun
        found = sum(self.done.values()) if decided is None else len(decided.found & self.done.keys())
        where = f"{self.names[1]} on {found} of them" if found else "nothing found"
        said = f"{slices(self.run.total)} in {_duration(self.took)}: "
        said += f"{where if self.run.total > 1 or not found else 'done'}."
        isolated = 0 if decided is None else decided.isolated_removed
        if isolated:
            said += f" Left out: {isolated} piece{'s' * (isolated > 1)} that one slice alone shows."
        unlikely = 0 if decided is None else decided.unlikely_removed
        if unlikely:
            said += f" Left out: {unlikely} unlikely lesion{'s' * (unlikely > 1)}."
        kept = self.kept.in_words()
        said += f" Kept: {kept}." if kept else ""
        return f"{said} {self.run.notice}".rstrip()


def slices(count: int) -> str:
    """Return a count of slices in words."""
    return f"{count} slice{'s' * (count != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
