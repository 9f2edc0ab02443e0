"""Several GPUs with torchrun: every process takes a part of each batch; only the first one writes and prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


def rank() -> int:
    """Return this process's number, 0 without torchrun."""
    return int(os.environ["RANK"]) if distributed.is_torchelastic_launched() else 0


def count() -> int:
    """Return the number of processes, 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1


def device_of(device: torch.device) -> torch.device:
    """Join the other processes and return the device of this one."""
    if count() == 1:
        return device
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device


def distribute(net: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose gradients are averaged over the processes."""
    if count() == 1:
        return net
    return nn.parallel.DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)


def shard_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return this process's part of a step's images; all of them if there are too few to share."""
    part = numbers[rank() :: count()]
    return part if len(numbers) >= count() else numbers


def broadcast_object(value: T) -> T:
    """Return the first process's value in all of them."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]
