"""The files of a training: checkpoint, log, run card. A full disk never destroys the previous files."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.base.atomic_write import atomic, write_bytes_atomic
from napari_unet_tumour.base.old_names import REMOVED_SETTINGS, current_names
from napari_unet_tumour.base.tables import csv_text
from napari_unet_tumour.errors import OutputError, TrainingError
from napari_unet_tumour.settings import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FULL = "free space and go on with --resume, what was saved is kept"  # remedy of a full disk
# What may differ between a run and its resumption.
FREE = ("device", "precision", "tensorboard", "model_card", "early_stopping", "patience", "init_weights")


@dataclass(frozen=True)
class RunFiles:
    """The files of one training, beside the model file.

    Parameters
    ----------
    out : Path
        The model file, always the best so far.
    """

    out: Path

    @property
    def folder(self) -> Path:
        """The folder NAME.training, for everything but the model."""
        return self.out.with_name(f"{self.out.stem}.training")

    @property
    def checkpoint(self) -> Path:
        """The state of the training, for --resume."""
        return self.folder / "checkpoint.pt"

    def prepare(self, resume: bool) -> None:
        """Raise OutputError if the folder cannot be written or has another run; leaves no empty folder behind."""
        if self.out.suffix != ".safetensors":
            raise OutputError(f"{self.out.name} must end in .safetensors: choose such a name")
        if not resume and (self.out.exists() or self.checkpoint.exists()):
            there = self.out if self.out.exists() else self.checkpoint
            raise OutputError(f"{there} exists: go on with --resume, choose another --out, or delete it")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"x")
            # Images, masks and settings are checked next; if they are refused, no empty folder must be left.
            with suppress(OSError):
                self.folder.rmdir()
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written ({error.strerror}): choose another --out") from error

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write log.csv, a line per epoch."""
        short = [{name: _short(value) for name, value in row.items()} for row in rows]
        text = csv_text(list(short[0]), short) if short else ""
        write_bytes_atomic(self.folder / "log.csv", text.encode(), FULL)

    def note(self, name: str, text: str) -> Path:
        """Write a text file into the folder, creating it if needed, and return its path."""
        with atomic(self.folder / name, FULL) as part:
            part.write_bytes(text.encode())
        return self.folder / name


def identity(settings: TrainSettings, spec_json: str, names: Sequence[str]) -> dict[str, Any]:
    """Return what must be unchanged to continue from a checkpoint, as plain data."""
    given = {key: value for key, value in asdict(settings).items() if key not in FREE}
    text = json.dumps({"settings": given, "spec": json.loads(spec_json), "names": list(names)}, default=list)
    found: dict[str, Any] = json.loads(text)
    return found


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all; raises OutputError."""
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes_atomic(path, data.getbuffer(), FULL)


def load(path: Path, mine: dict[str, Any]) -> dict[str, Any] | None:
    """Read the checkpoint of the same training, None if there is none.

    Raises
    ------
    TrainingError
        It is damaged, or from another network, other settings or other images.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        theirs = state["identity"]
    except Exception as error:
        raise TrainingError(f"{path} is damaged: delete it and start again without --resume") from error
    for key in ("network", "arguments", "channels", "labels"):
        if theirs["spec"][key] != mine["spec"][key]:
            raise TrainingError(
                f"{path} is a checkpoint of another network: its {key} is {theirs['spec'][key]!r}, "
                f"here it is {mine['spec'][key]!r}: choose the same, or another --out"
            )
    for key, constant in REMOVED_SETTINGS.items():
        if theirs["settings"].get(key, constant) != constant:
            raise TrainingError(
                f"{path} was made with {key} = {theirs['settings'][key]!r}, which no longer exists: "
                "start again without --resume, with another --out"
            )
    # A setting missing from an older checkpoint takes its default.
    made_with = {**json.loads(json.dumps(asdict(TrainSettings()), default=list)), **current_names(theirs["settings"])}
    for key, value in mine["settings"].items():
        if made_with[key] != value and not _may_grow(key, mine["settings"]):
            raise TrainingError(
                f"{path} was made with {key} = {made_with[key]!r}, here it is {value!r}: "
                "choose the same, or another --out"
            )
    if theirs["names"] != mine["names"]:
        raise TrainingError(f"{path} was made with other images: give the same folders, or another --out")
    return state


def _may_grow(key: str, settings: Mapping[str, Any]) -> bool:
    # A one-cycle schedule depends on the number of epochs; other schedules can be extended.
    return key == "epochs" and settings["schedule"] != "one-cycle"


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
