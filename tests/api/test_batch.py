from pathlib import Path

import numpy as np
import pytest

from napari_unet_tumour import errors, load_model
from napari_unet_tumour.api import batch, layout_for
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import SegmentSettings


def results_of(works, network):
    settings = SegmentSettings()
    return list(batch.iter_segment_many(works, network, settings, ModelSpec("one", "unet"), lambda tick: None))


def works_of(images):
    def load(n):
        if images[n] is None:
            raise errors.ScanError(f"{n} is cut")
        scan = Scan(images[n], "yx")
        return batch.LoadedScan(n, scan, layout_for(scan))

    return batch.read_ahead(range(len(images)), load, lambda n: Path("none"))


def test_small_scans_of_one_kind_go_through_together(bright, blob):
    sizes = []
    inner = batch.local_predictor(load_model(bright), SegmentSettings())

    def network(planes, on_tick):
        sizes.append(len(planes))
        return inner(planes, on_tick)

    images = [blob] * 40 + [blob[:32]] + [blob.T] * 3
    results = results_of(works_of(images), network)
    assert sizes == [32, 8, 1, 3]
    for image, one in zip(images, results, strict=True):
        np.testing.assert_array_equal(one.found.mask, image > 127)


def test_one_bad_scan_among_many_is_named_and_the_rest_is_done(bright, blob):
    network = batch.local_predictor(load_model(bright), SegmentSettings())
    results = results_of(works_of([blob, None, blob.astype(complex), blob]), network)
    refused = [one for one in results if isinstance(one, batch.ScanFailed)]
    assert sorted(one.item for one in refused) == [1, 2]
    assert sorted(one.work.item for one in results if isinstance(one, batch.Segmented)) == [0, 3]


def test_a_scan_that_the_network_refuses_does_not_take_its_batch_with_it(blob):
    def network(planes, on_tick):
        if (planes == 255).any():
            raise errors.ScanError("too bright")
        return np.zeros((len(planes), 1, *planes.shape[2:]), np.uint8)

    bad = blob.copy()
    bad[0, 0] = 255
    results = results_of(works_of([blob, bad, blob]), network)
    assert [isinstance(one, batch.ScanFailed) for one in results] == [False, True, False]


def test_a_lost_worker_ends_everything(blob):
    def network(planes, on_tick):
        raise errors.WorkerError("gone")

    with pytest.raises(errors.WorkerError):
        results_of(works_of([blob, blob]), network)
