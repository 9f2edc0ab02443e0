"""The few parts that magicgui does not have."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_S = 0.008


class MainThreadQueue(QObject):
    """Calls that any thread hands in and the GUI thread makes, a few milliseconds' worth at a time.

    Between two turns the window paints and answers the mouse, however many calls wait. It ends with its owner.
    """

    rang = Signal()

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # no thread rings while Qt deletes this object on the GUI thread
        self._open = True
        self.rang.connect(self._turn, Qt.ConnectionType.QueuedConnection)
        owner.destroyed.connect(self._shut)  # Qt says so before it deletes what the owner holds

    def put(self, call: Callable[[], None]) -> None:
        """Hand in a call from any thread; dropped when the window is gone."""
        with self._lock:
            if not self._open:
                return
            self._calls.append(call)
            if len(self._calls) == 1:
                with suppress(RuntimeError):  # Qt has deleted this object at the program's end
                    self.rang.emit()

    def close(self) -> None:
        """Drop what waits, and what comes later."""
        self._shut()
        self.deleteLater()

    def _shut(self) -> None:
        with self._lock:
            self._open = False
            self._calls.clear()

    def _turn(self) -> None:
        end = time.perf_counter() + TURN_S
        try:
            while self._calls and time.perf_counter() < end:
                self._first()
        finally:
            if self._calls:
                QTimer.singleShot(1, self._turn)

    def _first(self) -> None:
        try:
            self._calls[0]()
        finally:  # the call itself may have closed this inbox
            if self._calls:
                self._calls.popleft()


class UndockFilter(QObject):
    """Calls back once when a widget is taken out of its window, which is what napari's close button does."""

    def __init__(self, widget: QWidget, call: Callable[[], None]) -> None:
        super().__init__(widget)
        self._call = call
        widget.installEventFilter(self)

    def eventFilter(self, widget: QObject | None, event: QEvent | None) -> bool:
        """Watch for the moment when the widget loses its parent."""
        if (
            event is not None
            and event.type() == QEvent.Type.ParentChange
            and isinstance(widget, QWidget)
            and widget.parent() is None
        ):
            widget.removeEventFilter(self)
            self._call()
        return False


def single_shot_timer(owner: QObject, milliseconds: int, call: Callable[[], None]) -> QTimer:
    """Return a timer that calls once, that long after its last `start()`."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer


def ask_for_model(parent: QWidget) -> str:
    """Let the person choose a model file; "" when they change their mind."""
    path, _ = QFileDialog.getOpenFileName(parent, "Choose a model file", "", "Models (*.safetensors);;All files (*)")
    return str(path)
