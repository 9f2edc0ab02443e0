"""Write the figures of every epoch for TensorBoard, an optional package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TensorBoardLog:
    """Writes a scalar for every figure of an epoch; does nothing unless wanted.

    Parameters
    ----------
    folder : Path
        The folder for `tensorboard --logdir`.
    wanted : bool
        Whether to write at all; raises TrainingError if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, wanted: bool) -> None:
        self.folder = folder
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "TensorBoard is not installed: pip install 'napari-unet-tumour[tensorboard]', or leave it out"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def add(self, row: Mapping[str, Any]) -> None:
        """Write the figures of one epoch."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "pass":
                self._writer.add_scalar(name, value, row["pass"])
        self._writer.flush()
