"""Work on several threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

A = TypeVar("A")
B = TypeVar("B")


def in_parallel(work: Callable[[A], B], jobs: Sequence[A]) -> Iterator[B]:
    """Yield `work(job)` for every job, in order, computed on one thread per core."""
    with ThreadPoolExecutor(max(os.cpu_count() or 1, 1)) as pool:
        try:
            yield from pool.map(work, jobs)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
