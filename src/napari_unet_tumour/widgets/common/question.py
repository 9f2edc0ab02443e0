"""A question in a panel: a line of text and one button per answer; the window stays free meanwhile."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from magicgui.widgets import Container, PushButton

from napari_unet_tumour.widgets.common.style import flat, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Widget


class Question:
    """At most one question at a time; a new one takes the place of the last.

    Parameters
    ----------
    most : int
        The most answers that any question has.
    """

    def __init__(self, most: int = 2) -> None:
        self.text = note()
        self.buttons = [PushButton(text="") for _ in range(most)]
        self.answers: Container[Widget] = flat(list(self.buttons))
        self._calls: list[Callable[[], None]] = []
        for n, button in enumerate(self.buttons):
            button.native.clicked.connect(partial(self._on_answer, n))
        self.drop()

    @property
    def asked(self) -> bool:
        """Whether a question waits for its answer."""
        return bool(self._calls)

    def rows(self) -> list[Widget]:
        """Return the rows from top to bottom."""
        return [self.text, self.answers]

    def ask(self, text: str, answers: list[tuple[str, str, Callable[[], None]]]) -> None:
        """Show a question.

        Parameters
        ----------
        answers : list of (text, tooltip, callable)
            The first one is what holds until the person answers.
        """
        self._calls = [call for _, _, call in answers]
        self.text.value = text
        for button, (name, tooltip, _) in zip(self.buttons, answers, strict=False):
            button.text, button.tooltip = name, tooltip
        self._show()

    def drop(self) -> None:
        """Take the question away; what held until then goes on to hold."""
        self._calls = []
        self.text.value = ""
        self._show()

    def _show(self) -> None:
        self.text.visible = self.answers.visible = self.asked
        for n, button in enumerate(self.buttons):
            button.visible = n < len(self._calls)

    def _on_answer(self, n: int, checked: bool = False) -> None:
        call = self._calls[n]
        self.drop()
        call()
