"""The inbox of the GUI thread: order, turns, and an end that no thread trips over."""

import threading

import pytest
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QWidget

from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue


@pytest.fixture
def owner(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_calls_from_a_thread_are_made_on_the_gui_thread_in_their_order(owner, qtbot):
    inbox, made = MainThreadQueue(owner), []

    def work():
        for number in range(50):
            inbox.put(lambda number=number: made.append((number, threading.current_thread())))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: len(made) == 50)
    assert made == [(number, threading.main_thread()) for number in range(50)]


def test_nothing_is_called_after_the_inbox_was_closed(owner, qtbot):
    inbox, made = MainThreadQueue(owner), []
    inbox.put(lambda: made.append("before"))
    inbox.close()
    inbox.put(lambda: made.append("after"))
    qtbot.wait(20)
    assert made == []


def test_a_call_that_closes_the_inbox_is_the_last_one(owner, qtbot):
    inbox, made = MainThreadQueue(owner), []
    inbox.put(lambda: (made.append("first"), inbox.close()))
    inbox.put(lambda: made.append("second"))
    qtbot.wait(20)
    assert made == ["first"]


def test_a_window_may_go_at_the_moment_when_a_thread_hands_in_a_call(qtbot):
    owners = [QWidget() for _ in range(2000)]
    inboxes = [MainThreadQueue(owner) for owner in owners]
    together = threading.Barrier(2)

    def work():
        for inbox in inboxes:
            together.wait()
            inbox.put(lambda: None)

    thread = threading.Thread(target=work)
    thread.start()
    for owner in owners:
        owner.deleteLater()
        together.wait()
        QCoreApplication.sendPostedEvents(owner, QEvent.Type.DeferredDelete)
    thread.join()
