"""A label that the model does not know: offers to add a class, and installs the model that has it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import jobs
from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models.spec import with_labels
from napari_unet_tumour.widgets.layers import drawn_pixels, labels
from napari_unet_tumour.widgets.segment.run import check_model, model_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.versions import Versions
    from napari_unet_tumour.widgets.correct.view import CorrectView


# The case, the model, and the labels that it does not know.
Asked = tuple["CaseCorrections", "ModelEntry", list[int]]


class AddClassController:
    """Asks for the names of new labels one after the other, and has the model made that knows them.

    Parameters
    ----------
    then : callable
        Called on the GUI thread when the model with the new classes is the chosen one.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        panel: CorrectView,
        inbox: MainThreadQueue,
        versions: Versions,
        choice: CorrectInputs,
        then: Callable[[], None],
    ) -> None:
        self._viewer, self._panel, self._inbox, self._versions = viewer, panel, inbox, versions
        self._choice, self._then = choice, then
        self._asked: Asked | None = None
        self._names: list[str] = []
        self._order: Asked | None = None
        offer = panel.new_class
        offer.add.changed.connect(self.add)
        offer.later.changed.connect(self.refuse)
        offer.name.native.returnPressed.connect(self.add)

    def ask(self, session: CaseCorrections, entry: ModelEntry) -> None:
        """Offer a class for every label of the masks that the model does not know."""
        self._asked, self._names = (session, entry, _unknown(session, entry)), []
        self._ask_next()

    def refuse(self) -> None:
        """Leave all as it is."""
        if self._asked is not None:
            self.forget()
            self._panel.say("No class was added: model and mask are as they were. Fine-tune asks again.")

    def forget(self) -> None:
        """Take the question back, and drop a model that is still being made."""
        self._asked = self._order = None
        self._panel.new_class.ask("")

    def add(self) -> None:
        """Take the name, ask for the next one, and begin when all are there."""
        if self._asked is None:
            return
        session, entry, values = self._asked
        names = [*self._names, str(self._panel.new_class.name.value)]
        try:
            with_labels(entry.spec, names, "")
            check_model(entry)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        self._names = names
        if len(names) < len(values):
            self._ask_next()
            return
        self.forget()
        self._panel.say("Adding the class…")
        scheduler = self._choice.scheduler or None
        order = self._order = (session, entry, values)
        jobs.submit(
            "add_classes", model_for(entry, scheduler), names, on_event=partial(self._hear, order), scheduler=scheduler
        )

    def _ask_next(self) -> None:
        if self._asked is None:
            return
        _, entry, values = self._asked
        value, number = values[len(self._names)], len(entry.spec.labels) + len(self._names)
        moved = f", as label {number}" if value != number else ""
        self._panel.new_class.ask(f"Add a class for label {value} to the model{moved}? It is called:")

    def _hear(self, order: Asked, event: Any) -> None:
        if isinstance(event, jobs.Done):
            self._inbox.put(partial(self._on_made, order, event.result))
        elif isinstance(event, jobs.Failed):
            self._inbox.put(partial(self._on_failed, order, str(event.error)))

    def _on_failed(self, order: Asked, why: str) -> None:
        if order is self._order:
            self._panel.say(why, wrong=True)

    def _stands(self, order: Asked) -> bool:
        """Tell whether a model is still wanted; the person may have gone to another scan meanwhile."""
        # The case is closed a moment after its layers go: what comes in between is of no use either.
        return order is self._order and order[0].case.is_in(self._viewer)

    def _on_made(self, order: Asked, data: bytes) -> None:
        if self._stands(order):
            self._versions.add(order[1], data, partial(self._on_version, order))

    def _on_version(self, order: Asked, entry: ModelEntry) -> None:
        if not self._stands(order):
            return
        session, _, values = order
        first = len(entry.spec.labels) - len(values)
        _renumber(self._viewer, session, {value: first + n for n, value in enumerate(values)})
        for part in session.case.parts:
            if part.mask is not None:
                # What the mask shows is what the new version says too.
                labels.name_labels(part.mask, entry.spec.labels)
                labels.amend(part.mask, labels=list(entry.spec.labels), model=entry.name, hash=entry.hash)
        self._then()


def _unknown(session: CaseCorrections, entry: ModelEntry) -> list[int]:
    """Return the values of the masks that are no label of the model, on any slice."""
    found = {int(value) for n in range(len(session.case)) for value in np.unique(session.case.pixels(n))}
    return sorted(found - {*range(len(entry.spec.labels)), UNSURE})


def _renumber(viewer: ViewerModel, session: CaseCorrections, numbers: dict[int, int]) -> None:
    """Give labels the numbers that the model has for them, where these differ; one undo step a layer."""
    moved = {old: new for old, new in numbers.items() if old != new}
    for part in session.case.parts if moved else ():
        if part.mask is not None:
            drawn_pixels.renumber_written(part.mask, moved)  # other numbers are no strokes of the person
        slices = range(part.first, part.first + part.layout.planes)
        changes = {n: _with(session.case.pixels(n), moved) for n in slices}
        session.case.write(viewer, changes)


def _with(mask: NDArray[Any], moved: dict[int, int]) -> NDArray[Any]:
    new = np.array(mask)
    for old, number in moved.items():
        new[mask == old] = number
    return new
