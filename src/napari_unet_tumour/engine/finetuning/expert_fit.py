"""Fit one more expert to corrected slices: a convex problem on the network's own features, done in a second or two."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.finetuning import views as view_sampling
from napari_unet_tumour.engine.finetuning.add_classes import BEGIN, NEVER, SILENCE, unlearnt_labels
from napari_unet_tumour.engine.finetuning.healthy_copies import healthy_copies
from napari_unet_tumour.engine.finetuning.pixel_samples import PixelSamples, as_it_is, select_pixels, target_of
from napari_unet_tumour.engine.finetuning.style_gate import ENOUGH, gate_for
from napari_unet_tumour.engine.inference.accelerate import to_probability
from napari_unet_tumour.engine.networks.experts import ExpertHead
from napari_unet_tumour.engine.training.learner import precision_of
from napari_unet_tumour.engine.training.validation import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.engine.finetuning.data import FineTuneData
    from napari_unet_tumour.engine.networks.lite_unet import LiteUNet

# Views of every corrected slice without its lesion.
HEALED_VIEWS = 2
# A parent that gives a new class no more than this anywhere does not know it there.
UNKNOWN = 0.05


class ExpertFineTuner:
    """Learns an expert on top of a parent network that knows its training slices' statistics.

    Parameters
    ----------
    parent : LiteUNet
        Stays as it is.
    lesson : Lesson
        What it learns from, and how.
    """

    def __init__(self, parent: LiteUNet, lesson: FineTuneData) -> None:
        self.recipe, self.device = lesson.recipe, lesson.device
        self.precision = precision_of("auto", self.device)
        self.parent = copy.deepcopy(parent).to(self.device).eval().requires_grad_(False)
        assert self.parent.corrector is not None
        self.corrector: ExpertHead = self.parent.corrector
        self.cases, self.context, self.replay = lesson.cases, lesson.context, lesson.replay
        self.rng = torch.Generator().manual_seed(lesson.seed)
        self._styles: list[torch.Tensor] = []
        self._answers: list[torch.Tensor] = []
        outputs, count = len(self.parent.head.weight), len(self.corrector.get_buffer("mean"))
        self.found = torch.zeros(outputs, count + 1, device=self.device)
        # Classes that the network knows from experts alone; those of them that it does not know on these slices.
        self.added, self.unknown = unlearnt_labels(self.parent.head), list[int]()
        self.rows = PixelSamples(*(torch.zeros(0) for _ in range(6)))
        self.gate = torch.zeros(0), torch.zeros(())

    def iter_look(self, late: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Look at every slice, and at views of the corrected ones; must be exhausted before anything is fitted.

        Parameters
        ----------
        late : callable
            Tells whether the time for looking is over: then what can be done without is left out.
        """
        taken = []
        for rows in self._iter_rows(late):
            taken.append(rows.parts())
            yield
        rows = PixelSamples(*(torch.cat(parts) for parts in zip(*taken, strict=True)))
        styles = torch.cat(self._styles)
        own = len(self.cases) + (len(self.context) if self.context is not None else 0)
        self.gate = gate_for(styles[:own], self.corrector.get_buffer("style_precision"), self.recipe.threshold)
        weight, bias = self.gate
        opened = (styles @ weight + bias).sigmoid()[rows.slice]
        self.unknown = [n for n in self.added if float(rows.before.softmax(1)[:, n].max()) <= UNKNOWN]
        self.rows = replace(rows, seen=torch.cat([rows.seen, torch.ones_like(opened)[:, None]], 1) * opened[:, None])
        self.found = self._begin()

    def iter_fit(self) -> Iterator[float]:
        """Yield the loss after every few iterations; `found` is then better than before."""
        yield from self._iter_fit(self.rows.weight, self.found)

    def without(self, case: int) -> torch.Tensor:
        """Return the weights (O, F + 1) that are found when the corrected slice `case` is left out."""
        found = self._begin()
        for _ in self._iter_fit(self.rows.weight * (self.rows.case != case), found):
            pass
        return found

    def blended(self, share: float, found: torch.Tensor | None = None) -> LiteUNet:
        """Return a network with the parent's experts and the new one, which counts by `share` (0..1).

        What was learnt of an added class counts in full: the parent's own weights have nothing to say of it.
        """
        found = self._shared(share, self.found if found is None else found)
        old, net = self.corrector, copy.deepcopy(self.parent)
        new = ExpertHead(old.features[:-1], old.scales[:-1], len(old.get_buffer("style_mean")) // 2,
                        len(found), old.experts + 1).to(self.device)  # fmt: skip
        added = {"weight": found[None, :, :-1], "bias": found[None, :, -1],
                 "gate_weight": self.gate[0][None], "gate_bias": self.gate[1][None]}  # fmt: skip
        for name, value in new.named_buffers():
            value.copy_(torch.cat([old.get_buffer(name), added[name]]) if name in added else old.get_buffer(name))
        net.corrector = new
        return net.eval().requires_grad_(False)

    def _begin(self) -> torch.Tensor:
        """Return the weights (O, F + 1) to begin with: no change, but for a class that is far from being seen."""
        found = torch.zeros_like(self.found)
        found[self.unknown, -1] = NEVER - BEGIN
        return found

    def _shared(self, share: float, found: torch.Tensor) -> torch.Tensor:
        if not self.added:
            return share * found
        lead = found - found[:1]  # over the background: the same answer
        return lead * torch.tensor([1.0 if n in self.added else share for n in range(len(lead))]).to(lead)[:, None]

    def _iter_fit(self, weight: torch.Tensor, found: torch.Tensor) -> Iterator[float]:
        rows, total = self.rows, weight.sum().clamp(min=1e-9)
        found.requires_grad_(True)
        solver = torch.optim.LBFGS([found], max_iter=4, history_size=20, line_search_fn="strong_wolfe")
        pull = self.recipe.pull * torch.ones_like(found[0])
        pull[-1] *= 0.1

        def loss() -> torch.Tensor:
            solver.zero_grad()
            logits = rows.before + rows.seen @ found.T
            if logits.shape[1] == 1:
                wrong = F.binary_cross_entropy_with_logits(logits, rows.target, reduction="none")[:, 0]
            else:
                wrong = self._wrong(logits)
            value = (wrong * weight).sum() / total + 0.5 * (pull * found.square()).sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        last = math.inf
        for _ in range(self.recipe.rounds):
            now = float(solver.step(loss).detach())  # type: ignore[no-untyped-call]
            yield now
            if last - now < 1e-4 * abs(now):
                break
            last = now
        found.requires_grad_(False)

    def _wrong(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy (n,) of several answers.

        Slices that nobody has corrected since a class was added, of this scan or of earlier ones, say little against
        it: there the classes before are compared among themselves.
        """
        target = self.rows.target
        wrong = _entropy(target, logits)
        if not self.unknown:
            return wrong
        old = [n for n in range(logits.shape[1]) if n not in self.unknown]
        among = _entropy(target[:, old], logits[:, old])
        silent = (self.rows.case < 0) & (target[:, self.unknown].amax(1) <= UNKNOWN)
        return torch.where(silent, SILENCE * wrong + (1 - SILENCE) * among, wrong)

    @torch.inference_mode()
    def _look(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return the feature maps, the style (n, 2 C) and the parent's logits, all float32."""
        with autocast(self.device, self.precision):
            maps, style = self.parent.features(images)
            logits = self.parent.logits_of(maps, style)
        return [seen.float() for seen in maps], self.corrector.style_of(style.float()), logits.float()

    def _iter_rows(self, late: Callable[[], bool]) -> Iterator[PixelSamples]:
        use = self.recipe
        for n in range(len(self.cases)):
            yield from self._iter_views(self.cases.only(n), n, 1 / (len(self.cases) * use.views), use.views)
        for others, counts, soft in ((self.context, use.likeness, True), (self.replay, use.replayed, False)):
            if others is not None:
                for n in range(len(others)):
                    if n >= ENOUGH and late():
                        break
                    yield from self._iter_views(others.only(n), -1, counts / len(others), 1, soft)
        without = self._healed() if use.healed and not late() else None
        for number, only in without or ():
            # A slice that is left out takes its healthy copy along.
            yield from self._iter_views(only, number, use.healed / (len(without or ()) * HEALED_VIEWS), HEALED_VIEWS)

    def _healed(self) -> list[tuple[int, FineTuneSlices]]:
        """Return the corrected slices without their lesion, each with its number among the corrected ones."""
        own, likely = len(self.cases), None
        if self.context is not None and len(self.context):
            likely = torch.cat(self._answers[own : own + len(self.context)])
        layers = [n - 1 for n in self.added]
        found = [(n, healthy_copies(self.cases.only(n), self.context, likely, layers)) for n in range(own)]
        return [(n, one) for n, one in found if one is not None]

    def _iter_views(
        self, only: FineTuneSlices, case: int, counts: float, views: int, soft: bool = False
    ) -> Iterator[PixelSamples]:
        """Take pixels of one slice as it is and of further views; where `soft`, the parent's answer is the target."""
        for number in range(views):
            view = view_sampling.whole_slices(only, 1, self.rng) if number else (only.images, only.truth, only.known)
            maps, style, logits = self._look(view[0])
            if number == 0:
                # However a view is turned, the gate sees the slice as it is.
                self._styles.append(style)
                self._answers.append(to_probability(logits))
            yield self._rows(view, maps, logits, case, counts, soft)

    def _rows(
        self,
        view: view_sampling.View,
        maps: list[torch.Tensor],
        logits: torch.Tensor,
        case: int,
        counts: float,
        soft: bool,
    ) -> PixelSamples:
        _, truth, known = view
        places, stands_for = select_pixels(truth, known, logits, (self.recipe.near, self.recipe.far), self.rng)
        seen = self.corrector.flat(maps)[0].flatten(1).T[places]
        before = logits[0].flatten(1).T[places]
        target = as_it_is(before) if soft else target_of(truth[0].flatten(1).T[places], before.shape[1])
        share = stands_for * counts / stands_for.sum().clamp(min=1)
        number = torch.full((len(places),), len(self._styles) - 1, device=places.device)
        return PixelSamples(seen, before, target, share, torch.full_like(number, case), number)


def _entropy(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return -(target * logits.log_softmax(1)).sum(1)
