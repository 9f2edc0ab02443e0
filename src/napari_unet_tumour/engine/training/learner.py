"""A network in training: one step, the averaged weights, and the state for a checkpoint."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference.accelerate import has_fast_bfloat16, pick_device
from napari_unet_tumour.engine.training import distributed
from napari_unet_tumour.engine.training.distillation import Distillation
from napari_unet_tumour.engine.training.init_weights import load_initial_weights
from napari_unet_tumour.engine.training.losses import loss_for
from napari_unet_tumour.engine.training.validation import autocast
from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import TrainSettings

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WARM = 10


class Learner:
    """Everything that changes while a network is trained.

    Parameters
    ----------
    settings : TrainSettings
        The settings.
    spec : ModelSpec
        Description of the network.
    steps : int
        Number of steps of the whole training, for the one-cycle schedule.
    """

    def __init__(self, settings: TrainSettings, spec: ModelSpec, steps: int) -> None:
        self.settings = settings
        self.device = distributed.device_of(pick_device(settings.device))
        self.precision = precision_of(settings.precision, self.device)
        self.loss = loss_for(settings.loss, len(spec.labels) - 1)
        torch.manual_seed(settings.seed)
        net = build(spec)
        load_initial_weights(net, settings, spec)
        self.teachers = Distillation(settings, spec, self.device)
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distributed_net = distributed.distribute(self.net, self.device)
        self.mean = copy.deepcopy(self.net).eval().requires_grad_(False) if settings.ema else None
        self.optimiser = _optimiser(settings, self.net)
        self.schedule = _schedule(settings, self.optimiser, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.taken = 0

    @property
    def best_net(self) -> nn.Module:
        """The network to score and to save, in eval mode: with averaged weights if there are any."""
        net: nn.Module = self.mean if self.mean is not None else self.net.eval()
        return net

    @property
    def rate(self) -> float:
        """The current learning rate."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Take a step on images (N, C, H, W) and truth (N, L, H, W) in {0, 1}, and the teachers if there are any.

        Returns
        -------
        float
            The loss. If it is not finite, no weight has changed.
        """
        self.net.train()
        try:
            target = self.teachers.soften(x, y)
            with autocast(self.device, self.precision):
                outputs = self.distributed_net(x)
            loss = self.loss(outputs.float(), target)
            value = float(loss.detach())
            if math.isfinite(value):
                self._update(loss)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TrainingError(
                f"the memory is full at batches of {len(x)}: use a smaller --batch or --size"
            ) from error
        return value

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`."""
        parts = {"net": self.net, "mean": self.mean, "optimiser": self.optimiser, "schedule": self.schedule}
        held = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**held, "scaler": self.scaler.state_dict(), "taken": self.taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly from a state."""
        for name in ("net", "mean", "optimiser", "schedule", "scaler"):
            part = getattr(self, name)
            if part is not None:
                part.load_state_dict(state[name])
        self.taken = state["taken"]

    def after_pass(self, value: float) -> None:
        """Update the schedule with the validation loss of an epoch, or with a negated score."""
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(value)

    def _update(self, loss: torch.Tensor) -> bool:
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        length = self._clip()
        # In float16 the scaler skips a step with an infinite gradient and reduces its scale.
        if not self.scaler.is_enabled() and not math.isfinite(float(length)):
            return False
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if isinstance(self.schedule, torch.optim.lr_scheduler.OneCycleLR):
            self.schedule.step()
        self.taken += 1
        self._average()
        return True

    def _clip(self) -> torch.Tensor:
        """Clip the gradient to `settings.grad_clip_norm`, if set; returns its norm before that."""
        grads = [weight.grad for weight in self.net.parameters() if weight.grad is not None]
        length = nn.utils.get_total_norm(grads)
        if self.settings.grad_clip_norm:
            nn.utils.clip_grads_with_norm_(self.net.parameters(), self.settings.grad_clip_norm, length)
        return length

    @torch.no_grad()
    def _average(self) -> None:
        if self.mean is None:
            return
        # A smaller decay at the start, so that the random initial weights have no influence in short runs.
        weight = 1 - min(self.settings.ema, (1 + self.taken) / (WARM + self.taken))
        pairs = [*zip(self.mean.parameters(), self.net.parameters(), strict=True)]
        pairs += [*zip(self.mean.buffers(), self.net.buffers(), strict=True)]
        for mean, new in pairs:
            if mean.is_floating_point():
                mean.lerp_(new, weight)
            else:
                mean.copy_(new)


def build(spec: ModelSpec) -> nn.Module:
    """Build the network to train; raises TrainingError for wrong arguments."""
    try:
        return networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)
    except (TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{spec.network} cannot be built ({reason}): correct its arguments") from error


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type of a precision; "auto" is the fastest that is safe on the device."""
    if name != "auto":
        if name == "float16" and device.type == "cpu":
            raise TrainingError("float16 needs a GPU: choose --precision bfloat16 or auto")
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if has_fast_bfloat16() else torch.float32


def _optimiser(settings: TrainSettings, net: nn.Module) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    optimiser: torch.optim.Optimizer = kinds[settings.optimiser](
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    return optimiser


def _schedule(settings: TrainSettings, optimiser: torch.optim.Optimizer, steps: int) -> Any:
    schedulers = torch.optim.lr_scheduler
    if settings.schedule == "one-cycle":
        # torch divides by the number of warm-up steps; a tenth of very few steps would be less than one.
        warm = 0.1 if steps > 20 else 0.3
        return schedulers.OneCycleLR(optimiser, settings.learning_rate or 1e-12, total_steps=steps + 1, pct_start=warm)
    if settings.schedule == "reduce-on-plateau":
        return schedulers.ReduceLROnPlateau(optimiser, factor=0.1, patience=settings.patience, min_lr=1e-7)
    return None
