"""One file from reading to writing, as in a local worker."""

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour import scans
from napari_unet_tumour.api import cohort, scan_job
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models import registry
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import SegmentSettings


@pytest.fixture
def order(tmp_path, bright, blob):
    Image.fromarray(blob).save(tmp_path / "a.png")
    outputs = scan_job.Outputs(tmp_path / "out" / "a_mask.png", ("background", "tumour"), True)
    return scan_job.ScanJob(tmp_path / "a.png", outputs, {}, None, None, True)


def run(order, hash_=None, **settings):
    entry = registry.find("bright")
    return exhaust(scan_job.iter_segment_file(str(entry.path), hash_ or entry.hash, order, SegmentSettings(**settings)))


def test_a_scan_is_read_segmented_written_and_measured(order, blob):
    done = run(order)
    mask, probability = (np.asarray(scans.read(path).array) for path in order.outputs.files())
    np.testing.assert_array_equal(mask > 0, blob > 127)
    assert ((probability > 127) == (mask > 0)).all()
    assert (done.item, done.planes, done.notes) == (order.path, 1, ())
    assert done.row["volume"] == (blob > 127).sum()
    assert done.fingerprint == cohort.fingerprint(order.path)
    assert str(order.outputs.mask) in done.line


def test_a_scan_too_large_for_memory_is_left_alone(order, tmp_path):
    assert run(order, memory=0) is None
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_replaced_is_refused(order, tmp_path):
    with pytest.raises(ModelError, match=r"bright\.safetensors was replaced in the meantime: run it again"):
        run(order, "another")
    assert not (tmp_path / "out").exists()


def test_a_stack_does_not_fit_into_a_png(order, tmp_path):
    volume = np.zeros((3, 32, 32), np.uint8)
    scans.write_mask(tmp_path / "v.tif", volume, Scan(volume, "zyx"), ())
    stack = scan_job.ScanJob(tmp_path / "v.tif", order.outputs, {}, None, None, False)
    with pytest.raises(ScanError, match=r"v\.tif has 3 slices, a PNG holds one: choose --format nifti or tiff"):
        run(stack)
