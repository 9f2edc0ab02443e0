"""The question whether a label becomes a class of the model, with the field for its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Container, LineEdit, PushButton

from napari_unet_tumour.widgets.common.style import flat, note

if TYPE_CHECKING:
    from magicgui.widgets import Widget


class AddClassView:
    """The question, the field for the name, and the two answers."""

    def __init__(self) -> None:
        self.question = note()
        self.name = LineEdit(tooltip="What the class is called in the model, the list of labels and saved masks.")
        self.name.native.setPlaceholderText("name, e.g. cyst")
        self.add = PushButton(text="Add class", tooltip="A version of the model with this class; then it learns.")
        self.later = PushButton(text="Not now", tooltip="Model and mask stay as they are.")
        self.answers: Container[Widget] = flat([self.name, self.add, self.later])
        for button in (self.add, self.later):
            button.native.setMinimumWidth(30)

    def ask(self, question: str) -> None:
        """Show the question with an empty field; "" takes it away."""
        self.question.value, self.name.value = question, ""
        self.question.visible = self.answers.visible = bool(question)
        if question:
            self.name.native.setFocus()
