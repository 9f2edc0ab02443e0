"""One napari window for the tests of a file, one after the other: to open and to close one takes a second."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from napari import Viewer
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.qt_viewer import QtViewer
from napari._qt.widgets.qt_dims import QtDims
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

CALLBACKS = ("mouse_drag_callbacks", "mouse_wheel_callbacks", "mouse_move_callbacks", "mouse_double_click_callbacks")
SIZE = (800, 600)
APP = "window of a file"


class SharedWindow:
    """A napari window, and what makes it as new: without docks, layers, keys and clicks of the test before.

    It checks what napari's own `make_napari_viewer` checks with strict_qt="raise": no widget outlives a test.
    """

    def __init__(self) -> None:
        self._viewer: Viewer | None = None
        self._patch = pytest.MonkeyPatch()

    def viewer(self, show: bool) -> Viewer:
        """Return the window's viewer; open the window if there is none."""
        if self._viewer is None:
            self._open()
        window = self._viewer.window._qt_window
        window.resize(*SIZE)
        if show:
            window.show()
        return self._viewer

    def _open(self) -> None:
        get_settings().reset()
        app = NapariApplication(APP)
        app.injection_store.namespace = _napari_names
        self._patch.setattr(NapariApplication, "get_app_model", lambda *_: app)
        self._patch.setattr("napari._qt.qt_main_window.SHOW_QT_WARNING", False)
        self._patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
        self._patch.setattr(QtViewer, "_get_console", _no_console)
        _initialize_plugins.cache_clear()
        init_qactions.cache_clear()
        self._viewer = Viewer(show=False, show_welcome_screen=False)
        self._calls = {name: list(getattr(self._viewer, name)) for name in CALLBACKS}
        self._docks = set(self._viewer.window.dock_widgets)
        # Later collections pass over the window, too.
        gc.collect()
        gc.freeze()

    @property
    def is_open(self) -> bool:
        return self._viewer is not None and hasattr(self._viewer.window, "_qt_window")

    def tidy(self) -> None:
        """Close the docks, remove the layers, and look as a new window does."""
        viewer = self._viewer
        for name, widget in list(viewer.window.dock_widgets.items()):
            if name not in self._docks:
                viewer.window.remove_dock_widget(getattr(widget, "native", widget))
        viewer.layers.clear()
        viewer.dims.ndisplay = 2
        viewer.dims.reset()
        viewer.scene.reset()
        viewer.canvas.reset()
        viewer.window._qt_window.hide()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # a widget lets go as it is destroyed
        calls = {name: list(getattr(viewer, name)) for name in CALLBACKS}
        assert calls == self._calls, f"a dock has left its clicks: {calls}"
        assert not viewer.keymap, "a dock has left its keys"

    def close(self, check: bool = True) -> None:
        """Close the window; nothing may hold it."""
        if self._viewer is None:
            return
        if self.is_open:
            self._patch.setattr(self._viewer.window._qt_window, "_save_current_window_settings", lambda: None)
            self._viewer.close()
        self._viewer = None
        gc.unfreeze()
        gc.collect()
        self._patch.undo()
        get_settings().reset()
        NapariApplication.destroy(APP)
        _initialize_plugins.cache_clear()
        init_qactions.cache_clear()
        left = len(QtViewer._instances)
        QtViewer._instances.clear()
        gc.freeze()
        assert not left or not check, "something holds a window that is closed"


def _no_console(*_: Any) -> QWidget:
    widget = QWidget()
    widget._update_theme = lambda *_: None
    return widget


def _leaked(before: set[QWidget]) -> list[QWidget]:
    """Return the top-level widgets that were not there before, but for what napari makes anew for its sliders."""
    QApplication.processEvents()
    left = [one for one in set(QApplication.topLevelWidgets()) - before if one.objectName() != "handled_widget"]
    return [one for one in left if type(one).__name__ != "CanvasBackendDesktop" and not _within(one, QtDims)]


def _within(widget: QWidget, kind: type) -> bool:
    while widget is not None and not isinstance(widget, kind):
        widget = widget.parent()
    return widget is not None


@pytest.fixture(scope="module")
def window_of_file() -> Iterator[SharedWindow]:
    """The window that the tests of a file share."""
    window = SharedWindow()
    yield window
    window.close()


@pytest.fixture
def make_napari_viewer(window_of_file: SharedWindow, qtbot: Any, request: Any) -> Iterator[Callable[..., Viewer]]:
    """Replaces napari's fixture of this name: the first viewer of a test is the one of its file.

    Further ones are new, and closed at its end. What napari checks after each test is checked here, too.
    """
    more: list[Viewer] = []
    window_of_file.viewer(show=False)
    before = set(QApplication.topLevelWidgets())
    used = False

    def make(show: bool = False, strict_qt: str = "raise") -> Viewer:
        nonlocal used
        viewer = Viewer(show=show, show_welcome_screen=False) if used else window_of_file.viewer(show)
        if used:
            more.append(viewer)
        used = True
        if show:
            qtbot.wait_exposed(viewer.window._qt_window, timeout=5000)
        return viewer

    yield make
    failed = getattr(request.node, "rep_call", None) is None or not request.node.rep_call.passed
    while more:
        more.pop().close()
    if failed or not window_of_file.is_open:
        before.clear()  # it holds the window
        window_of_file.close(check=not failed)
        before = set(QApplication.topLevelWidgets())
    else:
        try:
            window_of_file.tidy()
        except BaseException:
            window_of_file.close(check=False)
            raise
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert failed or len(QtViewer._instances) <= 1, "something holds a canvas that is closed"
    assert failed or not (left := _leaked(before)), left
