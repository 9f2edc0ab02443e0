"""Long jobs are generators: they yield their progress and return their result."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Progress = TypeVar("Progress")
Result = TypeVar("Result")


def exhaust(steps: Generator[Progress, None, Result], on_tick: Callable[[Progress], object] | None = None) -> Result:
    """Run a job to its end and return its result.

    Parameters
    ----------
    steps : generator
        The job.
    on_tick : callable, optional
        Called with everything that the job yields. An exception from it closes the job.
    """
    try:
        while True:
            progress = next(steps)
            if on_tick is not None:
                on_tick(progress)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()
