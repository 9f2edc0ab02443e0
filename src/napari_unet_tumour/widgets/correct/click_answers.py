"""Has clicks answered: by the network here, else in the worker, else by grey values; knows no Qt.

The click network is small, and a click must be answered at once: so it runs in this process, beside whatever the worker
does. Where that cannot be (no ONNX Runtime, no graph yet, a scheduler elsewhere) the worker is asked, and where it is
busy or gone grey values answer.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import jobs
from napari_unet_tumour.clicks.answer import Click, answer
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.clicks.picture import grey_of
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.runtime import clicks as here
from napari_unet_tumour.runtime.preprocess import COLOURS
from napari_unet_tumour.widgets.common.background import TaskDropped
from napari_unet_tumour.widgets.common.words import unreadable
from napari_unet_tumour.widgets.segment.run import check_model, model_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Known
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.background import Task

# The person hears that the network is slow after so many seconds; grey values answer after the second number. While the
# network is being loaded they have the third in all, and from then on the fourth a click.
SLOW_S, PATIENCE_S, LOADING_S, HURRY_S = 0.6, 4.0, 12.0, 1.0
GREY = "grey values answer"


@dataclass(frozen=True, eq=False)
class ClickQuestion:
    """What is asked.

    Parameters
    ----------
    read : callable
        Returns the slice (C, H, W); called on a background thread, since a lazy layer may take long.
    busy : str
        Why the worker cannot be asked now, "" where it can.
    """

    entry: ModelEntry
    scheduler: str
    read: Callable[[], NDArray[Any]]
    clicks: Sequence[Click]
    known: Known
    busy: str = ""


@dataclass(frozen=True, eq=False)
class ClickReply:
    """The answer (H, W) uint8, inside from 128 on; None where the slice cannot be read. `note` is for the person."""

    answer: NDArray[np.uint8] | None
    note: str = ""


class ClickAnswers:
    """Answers questions on background threads, so that the viewer never waits."""

    def __init__(self) -> None:
        self._warming: dict[tuple[str, str], float] = {}
        # By the model's hash.
        self._here: dict[str, here.ClickModel] = {}
        self._opening = threading.Lock()

    def warm(self, entry: ModelEntry, scheduler: str) -> None:
        """Load the click network, so that the first click is answered at once."""
        place = (entry.hash, scheduler)
        if not entry.spec.clicks or place in self._warming or entry.hash in self._here:
            return
        self._warming[place] = time.monotonic()
        threading.Thread(target=self._warm, args=(entry, scheduler), daemon=True).start()

    def _warm(self, entry: ModelEntry, scheduler: str) -> None:
        place = (entry.hash, scheduler)
        noise = np.random.default_rng(0).random((max(1, entry.spec.in_channels), 64, 64), np.float32)
        try:
            check_model(entry)
            found = self._open(entry, scheduler)
            if found is not None:
                here.answer_plane(found, noise, [Click(32, 32)])
                self._warming.pop(place, None)
                return
            model = model_for(entry, scheduler or None)
        except (UNetTumourError, OSError):  # the first click says so
            self._warming.pop(place, None)
            return
        hear = partial(self._on_warm, place)
        jobs.submit("click", model, noise, [Click(32, 32)], None, on_event=hear, scheduler=scheduler or None)

    def _on_warm(self, place: tuple[str, str], event: jobs.Event) -> None:
        self._warming.pop(place, None)

    def _open(self, entry: ModelEntry, scheduler: str) -> here.ClickModel | None:
        """Return the click network for this process; None where only the worker can answer."""
        with self._opening:
            if not scheduler and entry.hash not in self._here:
                check_model(entry)
                found = here.open_file(entry.path)
                if found is None:
                    return None
                self._here[entry.hash] = found
            return None if scheduler else self._here[entry.hash]

    def reply(self, question: ClickQuestion, task: Task) -> ClickReply:
        """Return the reply, on the thread of a task; it reports a line while it lasts."""
        try:
            plane = question.read()
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            return ClickReply(None, unreadable(error, "The slice", "the scan's file") + ".")
        return self._reply(question, plane, task)

    def _reply(self, question: ClickQuestion, plane: NDArray[Any], task: Task) -> ClickReply:
        entry = question.entry
        if not entry.spec.clicks:
            note = f"The model {entry.name} takes no clicks: {GREY}."
        else:
            found = self._ask_network(question, plane, task)
            if not isinstance(found, str):
                return ClickReply(found)
            note = found
        if not task.wanted:
            raise TaskDropped
        grey = grey_of(plane, entry.spec.in_channels == 1 or entry.spec.channels == COLOURS)
        return ClickReply(answer(guess, grey, question.clicks, question.known), note)

    def _ask_network(self, question: ClickQuestion, plane: NDArray[Any], task: Task) -> NDArray[np.uint8] | str:
        """Return the network's answer, or a line on why there is none."""
        try:
            network = self._open(question.entry, question.scheduler)
            if network is not None:
                return here.answer_plane(network, plane, question.clicks, question.known)
        except (UNetTumourError, OSError) as error:
            return f"{str(error).rstrip('.')}: {GREY}."
        if question.busy:
            return f"{question.busy}: {GREY} until then."
        found = self._ask_worker(question, plane, task)
        return f"{found.rstrip('.')}: {GREY}." if isinstance(found, str) else found

    def _ask_worker(self, question: ClickQuestion, plane: NDArray[Any], task: Task) -> NDArray[np.uint8] | str:
        """Return the worker's answer, or why there is none."""
        events: queue.Queue[jobs.Event] = queue.Queue()
        scheduler = question.scheduler or None
        try:
            model = model_for(question.entry, scheduler)
        except OSError as error:
            return f"The model {question.entry.name} cannot be read ({error.strerror})"
        asked = (model, plane, question.clicks, question.known)
        job = jobs.submit("click", *asked, on_event=events.put, scheduler=scheduler)
        began, told = time.monotonic(), False
        while task.wanted:
            try:
                return _outcome(events.get(timeout=0.1), plane)
            except queue.Empty:
                waited = time.monotonic() - began
            if waited > self._patience(question):
                break
            if waited > SLOW_S and not told:
                told = True
                task.report("Waiting for the network…")
        if not job.started:  # one that is under way ends by itself, and soon
            job.cancel()
        return "The network does not answer in time"

    def _patience(self, question: ClickQuestion) -> float:
        began = self._warming.get((question.entry.hash, question.scheduler))
        return PATIENCE_S if began is None else max(HURRY_S, LOADING_S + began - time.monotonic())


def _outcome(event: jobs.Event, plane: NDArray[Any]) -> NDArray[np.uint8] | str:
    if isinstance(event, jobs.Done) and getattr(event.result, "shape", None) == plane.shape[1:]:
        found: NDArray[np.uint8] = event.result
        return found
    return str(event.error) if isinstance(event, jobs.Failed) else "The network was stopped"
