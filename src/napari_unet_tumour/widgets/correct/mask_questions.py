"""What the Correct panel asks about a mask before it is worked on: what 255 means, and whether to copy a lazy one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.widgets.common.words import unreadable
from napari_unet_tumour.widgets.layers import label_values, labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_unet_tumour.widgets.common.question import Question
    from napari_unet_tumour.widgets.correct.state import CorrectState


class MaskQuestions:
    """Asks about masks.

    Parameters
    ----------
    copied : callable
        Called with the copy of a mask that can be drawn on.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, question: Question, copied: Callable[[Labels], None]
    ) -> None:
        self._viewer, self._state, self._question, self._copied = viewer, state, question, copied

    def ask_what_255_is(self, mask: Labels) -> None:
        """Ask where 255 may be one of several labels; until they answer it is unsure, and the layer stays as it is."""
        unsure = ("Unsure", "These pixels are not learnt from.", partial(labels.show_unsure, mask, UNSURE))
        label = ("A label", "It gets the next free number.", partial(self._on_label, mask))
        self._question.ask(f"What is the value {UNSURE} in '{mask.name}', beside its labels?", [unsure, label])

    def ask_to_copy(self, mask: Labels) -> None:
        """Offer a copy of a mask that cannot be drawn on."""
        copy = ("Copy", "A new layer with the same pixels, in memory.", partial(self._copy, mask))
        self._question.ask(f"Copy the mask '{mask.name}' into memory?", [copy])

    def _on_label(self, mask: Labels) -> None:
        self._state.say(f"The value {UNSURE} is now label {label_values.as_label(mask)} in '{mask.name}'.")

    def _copy(self, mask: Labels) -> None:
        try:
            copy = labels.copy_into_memory(self._viewer, mask)
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            self._state.say(unreadable(error, f"the mask '{mask.name}'"), wrong=True)
        else:
            self._copied(copy)
