"""Lazy arrays are computed beside napari, which computes slices of them too."""

import sys
import threading
import time

import dask.array
import numpy as np
import pytest
from dask.cache import Cache
from dask.callbacks import Callback

from napari_unet_tumour.base.lazy import computed
from napari_unet_tumour.base.slicing import layout_of

VALUES = np.arange(40 * 8 * 8, dtype=np.int32).reshape(40, 8, 8)


@pytest.fixture
def lazy():
    return dask.array.from_array(VALUES, chunks=(1, 8, 8)).map_blocks(lambda block: block + 1)


@pytest.fixture
def restless():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("whole", [VALUES, VALUES.tolist()])
def test_what_is_not_lazy_stays(whole):
    np.testing.assert_array_equal(computed(whole), VALUES)


def test_dask_computes_a_part_unheard(lazy):
    heard = []
    with Callback(pretask=lambda key, *more: heard.append(key)):
        np.testing.assert_array_equal(computed(lazy[3]), VALUES[3] + 1)
        assert not heard
        np.asarray(lazy[3])
        assert heard


def test_a_thread_reads_planes_while_a_window_shows_others(lazy, restless):
    cache, layout, over, wrong = Cache(1e8), layout_of(lazy.shape), threading.Event(), []

    def read():
        while not over.is_set():
            try:
                np.testing.assert_array_equal(layout.read_planes(lazy, [3, 4])[:, 0], VALUES[3:5] + 1)
            except Exception as error:  # noqa: BLE001 - KeyError of the cache
                wrong.append(error)

    with cache:
        thread = threading.Thread(target=read)
        thread.start()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            np.testing.assert_array_equal(np.asarray(lazy[:, 2, 3]), VALUES[:, 2, 3] + 1)
        over.set()
        thread.join()
        assert cache._callback in Callback.active, "napari's cache is still there"
    assert not wrong
