"""Trains the click network: rounds of simulated clicks, a learning rate that follows the time, checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.clicks.scenes import Scenes
from napari_unet_tumour.engine.networks.click_net import ClickNet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.clicks.scenes import Scene, Slices

ROUNDS = (1, 2, 2, 3)
CLIP, DECAY = 3.0, 0.01
NEAR_CLICKS = 3.0


@dataclass(frozen=True)
class ClickTraining:
    """How long and how fast.

    Parameters
    ----------
    minutes : float
        Time of work, over all runs; the learning rate falls with it.
    batch : int
        Scenes in one step of one replica.
    replicas : int
        Copies that learn side by side, each on a thread of its own, and are averaged after every batch of scenes.
    learning_rate : float
        Highest learning rate.
    ema : float
        Share of the mean weights that a batch keeps.
    seed : int
        Start of all chance.
    """

    minutes: float = 60.0
    batch: int = 8
    replicas: int = 2
    learning_rate: float = 2e-3
    ema: float = 0.996
    seed: int = 0


class Replica:
    """One copy of the network, which learns from scenes of its own.

    Parameters
    ----------
    net : ClickNet
        Its weights; taken over, not copied.
    slices : Slices
        What it learns from.
    settings : ClickTraining
        How fast.
    seed : int
        Start of its chance.
    """

    def __init__(self, net: ClickNet, slices: Slices, settings: ClickTraining, seed: int) -> None:
        self.net, self._settings = net, settings
        self.optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=DECAY)
        self._scenes, self._rng = Scenes(slices, seed), np.random.default_rng(seed)

    def step(self, pace: float) -> list[tuple[float, float]]:
        """Learn from one batch of scenes, in rounds: each answer is clicked on and asked again; losses and Dice.

        Parameters
        ----------
        pace : float
            Share of the highest learning rate.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * pace
        scenes = self._scenes.batch(self._settings.batch)
        found = []
        for n in range(rounds := int(self._rng.choice(ROUNDS))):
            loss, probability, overlap = self._learn(scenes)
            found.append((loss, overlap))
            if n < rounds - 1:
                for scene, one in zip(scenes, probability, strict=True):
                    scene.answered(one, self._rng)
        return found

    def _learn(self, scenes: list[Scene]) -> tuple[float, NDArray[np.float32], float]:
        x = torch.from_numpy(np.stack([scene.picture() for scene in scenes]))
        truth = torch.from_numpy(np.stack([scene.truth for scene in scenes])).float()[:, None]
        logits = self.net(x.contiguous(memory_format=torch.channels_last))
        loss, overlap = loss_of(logits, truth, x[:, 2:4].amax(1, keepdim=True))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimiser.step()
        return loss.item(), logits.detach().sigmoid()[:, 0].numpy(), overlap.item()


class ClickLearner:
    """A click network in training; `folder` holds its last checkpoint, with which a later run goes on.

    Parameters
    ----------
    slices : Slices
        What it learns from.
    settings : ClickTraining
        How long and how fast.
    folder : pathlib.Path
        For the checkpoint and the log.
    """

    def __init__(self, slices: Slices, settings: ClickTraining, folder: Path) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.folder = settings, folder
        net = ClickNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = copy.deepcopy(net).eval().requires_grad_(False)
        found = self._loaded()
        self.seconds, self.steps = float(found.get("seconds", 0.0)), int(found.get("steps", 0))
        if found:
            net.load_state_dict(found["net"])
            self.mean.load_state_dict(found["mean"])
        self.replicas = [
            Replica(copy.deepcopy(net), slices, settings, settings.seed + 1000 * self.steps + n)
            for n in range(settings.replicas)
        ]
        for one, state in zip(self.replicas, found.get("optimisers", []), strict=False):
            one.optimiser.load_state_dict(state)
        self._pool = ThreadPoolExecutor(settings.replicas, "replica")

    @property
    def share(self) -> float:
        """How much of the time is over, 0..1."""
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    def iter_fit(self, save_every: float = 120.0) -> Iterator[dict[str, float]]:
        """Train until the time is over; yield the mean loss and Dice since the last checkpoint at each of them."""
        began, kept = time.monotonic(), []
        while self.share < 1:
            kept += self.step()
            if time.monotonic() - began >= save_every or self.share >= 1:
                self.save()
                loss, overlap = np.mean(kept, axis=0).tolist()
                found = {"minutes": self.seconds / 60, "steps": self.steps, "loss": loss, "dice": overlap}
                with (self.folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(found) + "\n")
                yield found
                began, kept = time.monotonic(), []

    def step(self) -> list[tuple[float, float]]:
        """Have every replica learn from a batch of scenes, and average them."""
        began = time.monotonic()
        # Whole steps side by side rather than the threads of every convolution: on a busy machine those wait for each
        # other most of the time.
        found = list(self._pool.map(lambda one: one.step(self._pace()), self.replicas))
        self._average()
        self.seconds += time.monotonic() - began
        self.steps += sum(map(len, found))
        return [row for rows in found for row in rows]

    def _pace(self) -> float:
        """Return the share of the highest rate: up in the first fiftieth of the time, then down along a cosine."""
        share = self.share
        return min(1.0, 0.05 + share / 0.02) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)

    def _average(self) -> None:
        states = [one.net.state_dict() for one in self.replicas]
        keep = min(self.settings.ema, (1 + self.steps) / (20 + self.steps))
        for name, mean in self.mean.state_dict().items():
            if mean.is_floating_point():
                now = torch.stack([state[name] for state in states]).mean(0)
                for state in states:
                    state[name].copy_(now)
                mean.lerp_(now, 1 - keep)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        parts = {
            "net": self.replicas[0].net.state_dict(), "mean": self.mean.state_dict(),
            "optimisers": [one.optimiser.state_dict() for one in self.replicas],
            "seconds": self.seconds, "steps": self.steps,
        }  # fmt: skip
        beside = self.folder / "checkpoint.tmp"
        torch.save(parts, beside)
        beside.replace(self.folder / "checkpoint.pt")

    def _loaded(self) -> dict[str, Any]:
        path = self.folder / "checkpoint.pt"
        return torch.load(path, weights_only=True) if path.exists() else {}


def loss_of(logits: torch.Tensor, truth: torch.Tensor, clicked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cross-entropy, heavier around clicks, plus the Dice loss of every scene; and the mean Dice.

    Parameters
    ----------
    logits, truth, clicked : torch.Tensor
        (N, 1, S, S) float32; truth is 0 or 1, clicked 0..1.
    """
    weight = 1 + NEAR_CLICKS * clicked
    entropy = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight).mean()
    likely = logits.sigmoid()
    both, whole = (likely * truth).sum((1, 2, 3)), likely.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    dice = ((2 * both + 20) / (whole + 20)).mean()
    with torch.no_grad():
        mask = (logits > 0).float()
        overlap = (2 * (mask * truth).sum((1, 2, 3)) + 1) / (mask.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return entropy + 1 - dice, overlap.mean()
