"""Output: lines, tables and progress; with rich on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_unet_tumour.settings import Progress

# Seconds between two lines of progress.
EVERY = 5.0


def print_line(line: str) -> None:
    """Print a line of a result on stdout."""
    sys.stdout.write(f"{line}\n")


def warn(line: str) -> None:
    """Print a line of a note, an error or progress on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns, numbers to the right; nothing is cut off."""
    for line in aligned([head, *rows]):
        print_line(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row, every column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:>{wide}}" if to_right else f"{cell:{wide}}"
            for cell, wide, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


class ProgressMeter:
    """Counts slices and scans and measures the speed; without a terminal it prints a line every 5 seconds."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.where = total, what, ""
        self.scans = self.slices = 0
        self._now = 0
        self._notice = ""
        self._begin: float | None = None
        self._printed = time.monotonic()

    def start(self) -> None:
        """Start the clock, once everything is loaded."""
        self._begin = time.monotonic()

    def before(self, scans: int) -> None:
        """Count scans that an earlier run has finished."""
        self.scans += scans

    @property
    def seconds(self) -> float:
        """Seconds since `start`."""
        return 0.0 if self._begin is None else time.monotonic() - self._begin

    @property
    def speed(self) -> float:
        """Slices per second so far."""
        return (self.slices + self._now) / max(self.seconds, 1e-9)

    def update(self, progress: Progress) -> None:
        """Show the progress of the current batch: `done` of `total` slices."""
        self._now = progress.done
        if progress.message and progress.message != self._notice:
            self._notice = progress.message
            self.note(f"note: {progress.message}")
        self.show(progress.done / max(progress.total, 1))

    def finish(self, slices: int) -> None:
        """Count a scan as finished."""
        self.scans, self.slices, self._now = self.scans + 1, self.slices + slices, 0
        self.show(0.0)

    def note(self, line: str) -> None:
        """Print a note."""
        warn(line)

    def show(self, part: float) -> None:
        """Print the progress, at most every 5 seconds; `part` is the finished fraction of the current scan, 0..1."""
        if time.monotonic() - self._printed >= EVERY:
            self._printed = time.monotonic()
            warn(f"{self.scans} of {plural(self.total, self.what)} done, {self.speed:.1f} slices/s")


class Bar(ProgressMeter):
    """A ProgressMeter that is shown as a bar on a terminal."""

    def __init__(self, total: int, what: str, bar: Any, task: Any) -> None:
        super().__init__(total, what)
        self._bar, self._task = bar, task

    def show(self, part: float) -> None:
        """Update the bar."""
        state = f"{self.scans}/{plural(self.total, self.what)}, {self.speed:.1f} slices/s"
        self._bar.update(self._task, completed=self.scans + 0.999 * part, state=state)


@contextmanager
def meter(total: int, what: str) -> Iterator[ProgressMeter]:
    """Yield a ProgressMeter: a bar if stderr is a terminal, else plain lines."""
    if not sys.stderr.isatty():
        yield ProgressMeter(total, what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield Bar(total, what, bar, bar.add_task("", total=total, state="loading the network"))


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace("-", "").replace("%", "").strip().isdigit() or cell == "-"
