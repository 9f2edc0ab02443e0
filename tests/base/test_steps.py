"""A job is run to its end: progress is passed on, the result comes back, an exception closes it."""

import pytest

from napari_unet_tumour.base.steps import exhaust


def job(count, closed):
    try:
        yield from range(count)
    finally:
        closed.append(True)
    return "result"


def test_progress_is_passed_on_and_the_result_returned() -> None:
    seen: list[int] = []
    assert exhaust(job(3, []), seen.append) == "result"
    assert seen == [0, 1, 2]
    assert exhaust(job(0, [])) == "result"


def test_an_exception_from_the_listener_closes_the_job() -> None:
    closed: list[bool] = []

    def stop(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exhaust(job(3, closed), stop)
    assert closed == [True]
