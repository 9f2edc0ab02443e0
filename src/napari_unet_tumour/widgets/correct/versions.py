"""The versions of a model: which one is used, which is the default, and how a new one is installed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.settings_form import registry_events
from napari_unet_tumour.widgets.correct.messages import lineage
from napari_unet_tumour.widgets.correct.state import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import ComboBox

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.background import Put
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState


class Versions:
    """Uses, rolls back and adds versions.

    Parameters
    ----------
    use : callable
        Called with the model that is used from now on.
    """

    def __init__(
        self, state: CorrectState, picker: ComboBox, choice: CorrectInputs, put: Put, use: Callable[[ModelEntry], None]
    ) -> None:
        self._state, self._picker, self._choice, self._use = state, picker, choice, use
        # Without a generation: a version that is accepted becomes the default, whichever scan is open by then.
        self._background = Background(put, changed=state.switch)
        picker.changed.connect(self._on_choice)

    def use(self, mark: str) -> None:
        """Choose the model that a mask was made with (its hash); the default stays."""
        with self._picker.changed.blocked():
            self._choice.choose_model(mark)
        if self._choice.entry is not None:
            self._prepare(self._choice.entry)

    def add(self, parent: ModelEntry, data: bytes, then: Callable[[ModelEntry], None]) -> None:
        """Install a new version, on a thread since it has megabytes; it becomes the default.

        Parameters
        ----------
        parent : Entry
            The model that it comes from.
        data : bytes
            Content of its file.
        then : callable
            Called on the GUI thread with the version, once it is installed and chosen.
        """
        self._state.say("Saving the new version…")
        self._background.start(
            lambda task: registry.add_version(data, parent), partial(self._on_written, then),
            lambda why: self._state.say(why, wrong=True), kind=Phase.SAVING,
        )  # fmt: skip

    def _on_choice(self, entry: ModelEntry | None) -> None:
        """Roll back, or forward: what the person chooses is the default for the next scan."""
        if entry is None:
            return
        self._prepare(entry)
        known = registry.entries()
        if known and known[0].hash != entry.hash and entry in known and self._make_default(entry):
            self._state.say(f"{entry.name} is now the default. Press Segment to redo the slices not reviewed.")

    def _prepare(self, entry: ModelEntry) -> None:
        self._picker.tooltip = lineage(entry)
        where = self._choice.scheduler or None
        jobs.preload(str(entry.path), scheduler=where)
        jobs.submit("preload_torch", on_event=lambda event: None, scheduler=where)
        self._use(entry)

    def _make_default(self, entry: ModelEntry) -> bool:
        try:
            registry.set_default(entry)
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return False
        registry_events.chosen.emit(entry)
        with self._picker.changed.blocked():
            self._choice.list_models(entry)
        return True

    def _on_written(self, then: Callable[[ModelEntry], None], made: ModelEntry) -> None:
        if self._make_default(made):
            self._prepare(made)
            then(made)
