"""train IMAGES_DIR MASKS_DIR: train a network."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour import presets
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.cli._options import add_fields, given_settings
from napari_unet_tumour.cli._output import print_line, table, warn
from napari_unet_tumour.settings import TrainSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.settings import Progress

    Show = Callable[[Progress], None]

# Seconds between two lines of progress.
EVERY = 30.0


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "train",
        help="train a network on images and masks",
        description="Images and masks have the same file names. The split is by person if --cases or the file names "
        "identify persons. The best weights so far are always in --out; log, checkpoint and report.html are in "
        "NAME.training.",
    )
    command.add_argument("images", metavar="IMAGES_DIR", help="folder of PNG, JPEG, TIFF or NIfTI images")
    command.add_argument("masks", metavar="MASKS_DIR", help="folder of their masks: 0 and 255, or labels 0, 1, 2 ...")
    command.add_argument(
        "--cases", metavar="CASES.csv", help="table with the column file and any of person, tumour, split"
    )
    command.add_argument(
        "--out", default="trained.safetensors", metavar="FILE", help="the model (default: %(default)s)"
    )
    command.add_argument("--resume", action="store_true", help="continue from the last checkpoint, if there is one")
    command.add_argument("--negatives", metavar="DIR", help="folder of images without a tumour")
    command.add_argument(
        "--second-masks", metavar="DIR", help="a second reader's masks with the same names; the target is the mean"
    )
    known = ", ".join(presets.names())
    command.add_argument("--settings", default="", metavar="FILE.toml", help=f"settings file, or one of {known}")
    command.add_argument("--summary", action="store_true", help="print the network's layers and stop")
    add_fields(command.add_argument_group("settings", "They override the settings file."), TrainSettings)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    given = given_settings(args, TrainSettings)
    stages: dict[str, Any] = {"progressive_stages": ()} if given.keys() & {"epochs", "batch", "size"} else {}
    network: dict[str, Any] = {"arguments": {}} if "network" in given else {}
    settings = presets.read_settings(args.settings, **stages, **network, **given)
    if args.summary:
        return _summary(settings)
    return _train(args, settings)


def _summary(settings: TrainSettings) -> int:
    from napari_unet_tumour.engine.training.learner import build
    from napari_unet_tumour.engine.training.network_summary import summary_of
    from napari_unet_tumour.models.spec import ModelSpec

    labels = ("background", *(settings.labels or ("tumour",)))
    channels = tuple(f"channel {n}" for n in range(settings.channels))
    spec = ModelSpec("", settings.network, settings.arguments, channels, labels)
    print_line(summary_of(build(spec), settings.channels, settings.size).rstrip())
    return 0


def _train(args: argparse.Namespace, settings: TrainSettings) -> int:
    from napari_unet_tumour.engine.training import distributed
    from napari_unet_tumour.engine.training.dataset_index import unused_columns
    from napari_unet_tumour.engine.training.train import iter_train

    unused = unused_columns(Path(args.cases), settings.classes or "tumour") if args.cases else ""
    if unused and distributed.rank() == 0:
        warn(f"note: {unused}")
    steps = iter_train(
        settings, args.images, args.masks, args.out, args.cases, args.negatives, args.resume, args.second_masks
    )
    best = "no weights saved yet; continue with --resume"
    with _shown(distributed.rank() == 0) as show:

        def note_best(progress: Progress) -> None:
            nonlocal best
            row = progress.values.get("row")
            if row and progress.values["best"]:
                best = f"the best so far is kept in {args.out} (pass {row['pass']}, Dice {row['val_dice']:.3f})"
            show(progress)

        try:
            trained = exhaust(steps, note_best)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted: {best}") from None
    if distributed.rank() == 0:
        table(("score on the test part", "value"), [(name, f"{value:.3f}") for name, value in trained.scores.items()])
        print_line(f"model {trained.path} (pass {trained.best_pass} of {trained.passes}), report {trained.report}")
    return 0


@contextmanager
def _shown(first: bool) -> Iterator[Show]:
    """Yield a function that shows progress: a bar with the time left on a terminal, else lines; one process only."""
    if not first:
        yield lambda progress: None
        return
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, left="")

        def show(now: Progress) -> None:
            if _has_line(now):
                warn(now.message)
            bar.update(task, total=now.total, completed=now.done, description=now.message, left=_left(now))

        yield show


class _Lines:
    """A line per epoch, and a line of progress twice a minute."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def show(self, now: Progress) -> None:
        """Print a line, if it is time for one."""
        if _has_line(now):
            warn(now.message)
        elif time.monotonic() - self._printed >= EVERY:
            warn(f"{now.message} ({now.done} of {now.total}) {_left(now)}".rstrip())
        else:
            return
        self._printed = time.monotonic()


def _has_line(now: Progress) -> bool:
    """Tell whether progress is always printed: the end of an epoch, the split, a note."""
    return not {"row", "parts", "note"}.isdisjoint(now.values)


def _left(now: Progress) -> str:
    seconds = now.values.get("seconds_left")
    if seconds is None:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min left" if hours else f"{minutes} min left" if minutes else "under 1 min left"
