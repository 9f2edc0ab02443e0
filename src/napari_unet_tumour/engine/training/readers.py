"""A second reader's masks: the network is trained on the mean of both readers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_unet_tumour.base.parallel import in_parallel
from napari_unet_tumour.engine.metrics.overlap import dice
from napari_unet_tumour.engine.training import resize
from napari_unet_tumour.engine.training.dataset import read_mask_values
from napari_unet_tumour.engine.training.dataset_index import files_of
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.settings import TrainSettings

# On slices with a lower Dice of the two readers, one of them has often marked something else. Such slices are drawn
# with this probability per epoch.
DISAGREE, SELDOM = 0.3, 0.2


@dataclass(frozen=True, eq=False)
class Readers:
    """The masks of two readers of the training slices.

    Parameters
    ----------
    mean : torch.Tensor
        (n, S, S) uint8, mean of the readers' masks, 0..255; a single reader's mask if there is only one.
    shown : numpy.ndarray
        (n,) float32 probability of a slice to be in an epoch.
    agreement : numpy.ndarray
        (n,) float32 Dice of the two readers, NaN if there is only one.
    """

    mean: torch.Tensor
    shown: NDArray[np.float32]
    agreement: NDArray[np.float32]


def iter_readers(
    folder: Path, examples: Dataset, numbers: Sequence[int] | NDArray[np.int64], settings: TrainSettings
) -> Generator[Progress, None, Readers]:
    """Read the second reader's masks of training slices.

    Parameters
    ----------
    folder : pathlib.Path
        Masks with the images' names: 0 and one other value, or grey values as the mean of several readings.
    examples, numbers : Dataset and sequence of int
        All slices, and the numbers of the training slices.

    Raises
    ------
    TrainingError
        The folder has no mask of any image, a mask has another size than its image, or there are several labels.
    """
    if len(examples.labels) > 2:
        raise TrainingError(
            "a second reader's masks are for one label: leave --second-masks out, or train on one label"
        )
    files = files_of(folder)
    found = [files.get(examples.sources[i].name) for i in numbers]
    if not any(found):
        raise TrainingError(f"{folder} has no mask with the name of a training image: give the masks the images' names")

    def read(at: int) -> NDArray[np.uint8] | None:
        path = found[at]
        if path is None:
            return None
        source = replace(examples.sources[numbers[at]], mask=path)
        return _fraction(read_mask_values(source), settings.size)

    masks = examples.masks[torch.as_tensor(np.asarray(numbers))]
    mean = (masks > 0).byte() * 255
    agreement = np.full(len(masks), np.nan, np.float32)
    for at, second in enumerate(in_parallel(read, range(len(masks)))):
        if second is not None:
            first = (masks[at] > 0).numpy()
            agreement[at] = dice(first, second > 127)
            mean[at] = torch.from_numpy(((first * 255.0 + second) / 2).round().astype(np.uint8))
        yield Progress(at + 1, len(masks), "reading the second reader's masks")
    shown = np.where(agreement < DISAGREE, SELDOM, 1.0).astype(np.float32)
    return Readers(mean, shown, agreement)


def _fraction(values: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a binary mask (H, W), or grey values 0..255, as 0..255 on the working grid."""
    high = int(values.max())
    grey = values if high == 255 or high == 0 else (values > 0).astype(np.uint8) * np.uint8(255)
    return np.asarray(resize.image(np.asarray(grey, np.uint8)[None], size)[0], np.uint8)
