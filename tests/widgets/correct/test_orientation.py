"""A scan in any orientation, opened from its file: segmented, corrected, reviewed, and saved in its place."""

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

pytestmark = pytest.mark.usefixtures("instant")
SPACING = (1.5, 1.0, 3.0)


def scan_in(codes):
    """Return an image of a head in RAS+ as a scanner writes it in another orientation."""
    data = np.full((20, 24, 6), 40, np.uint8)
    for n in range(6):
        data[4 + n : 9 + n, 5:11, n] = 220
    image = nibabel.Nifti1Image(data, np.diag([*SPACING, 1.0]))
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(codes)))


@pytest.mark.parametrize("codes", ["LAS", "RPI", "LPS"])
def test_a_scan_is_segmented_corrected_and_saved_where_it_lies(opened, tmp_path, codes):
    image = scan_in(codes)
    data = np.asarray(image.dataobj)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    one = opened(lambda viewer: viewer.open(tmp_path / "scan.nii.gz", plugin="napari-unet-tumour"))
    layer = one.viewer.layers[0]
    one.panel.scope.value = "this"
    one.viewer.dims.set_current_step(0, 4)
    seen = np.array(layer._slice.image.raw)
    mask = one.run()
    assert np.array_equal(mask._slice.image.raw, seen > 127)
    assert mask.data.sum() == (seen > 127).sum(), "no other slice is segmented"

    _, correct = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    one.wait(lambda: correct.session is not None)
    one.click(correct._panel.segment)
    one.wait(lambda: not correct.running)
    assert np.array_equal(mask.data, layer.data > 127)
    shown = correct.session.case.on_screen(one.viewer)
    mask.brush_size = 1
    mask.paint((shown, 1, 2), 1)
    one.click(correct._panel.tick)
    assert correct.session.reviewed() == [shown]
    assert f"Slice {shown + 1}: reviewed" in str(correct._panel.status.value)

    mask.save(str(tmp_path / "mask.nii.gz"), plugin="napari-unet-tumour")
    saved = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.allclose(saved.affine, image.affine)
    found = np.asarray(saved.dataobj)
    drawn = np.argwhere(found != (data > 127))
    assert len(drawn) == 1
    place = (image.affine @ [*drawn[0], 1])[:3]
    assert np.allclose(place, layer_place(layer, (shown, 1, 2)))


def layer_place(layer, index):
    """Return where a voxel of a layer lies, (x, y, z) in mm as NIfTI counts it; napari's axes run left and back."""
    return np.asarray(layer.data_to_world(index))[::-1] * (-1, -1, 1)
