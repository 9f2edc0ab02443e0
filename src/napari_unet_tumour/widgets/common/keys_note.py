"""The list of all keys above the canvas, shown and hidden with "?"."""

from __future__ import annotations

from contextlib import suppress

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QLabel, QWidget

from napari_unet_tumour.widgets.common.keys import ALL_KEYS_KEY, keys_text

STYLE = "color: white; background: rgba(0, 0, 0, 200); padding: 10px; font-size: 13px;"


class KeysNote(QObject):
    """Hears "?" wherever the keyboard is in the window, but in a field for text; napari has no name for this key."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._label: QLabel | None = None
        for part in (canvas, canvas.window()):
            if part is not None:
                part.installEventFilter(self)

    @property
    def text(self) -> str:
        """What is shown, "" while nothing is."""
        return "" if self._label is None else self._label.text()

    def toggle(self) -> None:
        """Show the keys, or hide them."""
        if self._label is not None:
            self._label.deleteLater()
            self._label.hide()
            self._label = None
            return
        label = self._label = QLabel(keys_text(), self._canvas)
        label.setStyleSheet(STYLE)
        label.setWordWrap(True)
        label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        wide = min(label.sizeHint().width(), self._canvas.width())
        label.setFixedSize(wide, min(label.heightForWidth(wide), self._canvas.height()))
        label.move((self._canvas.width() - wide) // 2, max(0, (self._canvas.height() - label.height()) // 2))
        label.show()
        label.raise_()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the key."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.text() == ALL_KEYS_KEY:
            with suppress(RuntimeError):  # the window is being closed
                self.toggle()
                return True
        return False

    def end(self) -> None:
        """Hear no more."""
        with suppress(RuntimeError):  # the window is being closed
            for part in (self._canvas, self._canvas.window()):
                if part is not None:
                    part.removeEventFilter(self)
            if self._label is not None:
                self._label.deleteLater()
            self.deleteLater()
