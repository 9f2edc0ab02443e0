"""Tiny real tasks for the worker in test_jobs.py; imported there, not in the test's process."""

import os
import threading
import time

import distributed
import numpy as np

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.settings import Progress


def iter_count(n):
    for i in range(n):
        yield Progress(i + 1, n, "counting", {"part": np.full((2, 3), i, np.uint8)})
    return n


def iter_echo(*args):
    yield Progress(1, 1)
    return args


def iter_long_step(seconds):
    yield Progress(0, 1, "asleep")
    time.sleep(seconds)
    yield Progress(1, 1, "late")
    return "late"


def iter_many_steps(note):
    try:
        for i in range(10_000):
            yield Progress(i, 10_000)
            time.sleep(0.02)
    finally:
        note.write_text("closed")


def iter_model_error():
    yield Progress(0, 1)
    raise ModelError("m.safetensors is cut or damaged: get the file again")


def iter_surprise():
    yield Progress(0, 1)
    raise ValueError("two\nlines")


def iter_exit():
    yield Progress(0, 1)
    raise SystemExit(3)


def iter_memory():
    yield Progress(0, 1)
    raise MemoryError


def iter_unpicklable():
    yield Progress(0, 1)
    return threading.Lock()


def iter_die():
    yield Progress(0, 1)
    os.kill(os.getpid(), 9)


def iter_die_when_unpickled(_):
    yield Progress(0, 1)


def iter_die_once(note):
    yield Progress(0, 1)
    if not note.exists():
        note.write_text("")
        time.sleep(0.2)
        os.kill(os.getpid(), 9)
    return os.getpid()


def iter_die_late():
    yield Progress(0, 1)
    time.sleep(0.3)
    os.kill(os.getpid(), 9)


def iter_nap(seconds):
    yield Progress(0, 1)
    time.sleep(seconds)
    return os.getpid()


def surroundings():
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    nice = os.nice(0) if hasattr(os, "nice") else None
    folder = os.path.dirname(os.path.dirname(distributed.get_worker().local_directory))
    return {"pid": os.getpid(), "folder": folder, "nice": nice, **{name: os.environ.get(name) for name in names}}
