"""A label that the model does not know: offers to add a class, and installs the model that has it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models.spec import with_labels
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.correct.state import Phase
from napari_unet_tumour.widgets.layers import drawn_pixels, labels, locks
from napari_unet_tumour.widgets.segment.run import check_model, model_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.background import Put, Task
    from napari_unet_tumour.widgets.correct.add_class_view import AddClassView
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.correct.versions import Versions


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
        state: CorrectState,
        offer: AddClassView,
        put: Put,
        versions: Versions,
        choice: CorrectInputs,
        then: Callable[[], None],
    ) -> None:
        self._viewer, self._state, self._offer, self._versions = viewer, state, offer, versions
        self._choice, self._then = choice, then
        self._background = Background(put, lambda: state.generation, state.switch)
        self._asked: Asked | None = None
        self._names: list[str] = []
        offer.add.changed.connect(self.add)
        offer.later.changed.connect(self.refuse)
        offer.name.native.returnPressed.connect(self.add)

    def ask(self, session: CaseCorrections, entry: ModelEntry) -> None:
        """Offer a class for every label of the masks that the model does not know."""
        self._asked, self._names = (session, entry, _unknown(session, entry)), []
        self._ask_next()

    def refuse(self) -> None:
        """Leave all as it is."""
        if self._asked is not None or self._background.running:
            self.forget()
            self._state.say("No class was added: model and mask are as they were. Fine-tune asks again.")

    def forget(self) -> None:
        """Take the question back, and drop a model that is still being made."""
        self._asked = None
        self._background.cancel()
        self._offer.ask("")

    def add(self) -> None:
        """Take the name, ask for the next one, and begin when all are there."""
        if self._asked is None:
            return
        session, entry, values = self._asked
        names = [*self._names, str(self._offer.name.value)]
        try:
            with_labels(entry.spec, names, "")
            check_model(entry)
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return
        self._names = names
        if len(names) < len(values):
            self._ask_next()
            return
        self.forget()
        self._state.say("Adding the class…")
        scheduler = self._choice.scheduler or None
        task = self._background.start(
            lambda task: task.ask("add_classes", model_for(entry, scheduler), names, scheduler=scheduler),
            lambda data: self._versions.add(entry, data, partial(self._on_version, task, session, values)),
            lambda why: self._state.say(why, wrong=True), kind=Phase.ADDING_CLASS,
        )  # fmt: skip

    def _ask_next(self) -> None:
        if self._asked is None:
            return
        _, entry, values = self._asked
        value, number = values[len(self._names)], len(entry.spec.labels) + len(self._names)
        moved = f", as label {number}" if value != number else ""
        self._offer.ask(f"Add a class for label {value} to the model{moved}? It is called:")

    def _on_version(self, task: Task, session: CaseCorrections, values: list[int], entry: ModelEntry) -> None:
        if not task.wanted:  # the person has gone to another scan while it was saved
            return
        first = len(entry.spec.labels) - len(values)
        _renumber(self._viewer, session, {value: first + n for n, value in enumerate(values)})
        for mask in session.case.masks():
            # What the mask shows is what the new version says too.
            labels.name_labels(mask, entry.spec.labels)
            labels.amend(mask, labels=list(entry.spec.labels), model=entry.name, hash=entry.hash)
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
            locks.renumber_locked(part.mask, moved)
            drawn_pixels.renumber_written(part.mask, moved)  # other numbers are no strokes of the person
        slices = range(part.first, part.first + part.layout.planes)
        changes = {n: _with(session.case.pixels(n), moved) for n in slices}
        session.case.write(viewer, changes)


def _with(mask: NDArray[Any], moved: dict[int, int]) -> NDArray[Any]:
    new = np.array(mask)
    for old, number in moved.items():
        new[mask == old] = number
    return new
