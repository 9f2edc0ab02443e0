"""A mask layer comes on screen in steps: what napari draws over it while a person draws follows a moment later."""

import numpy as np
from napari.components import ViewerModel

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.widgets.layers import labels
from napari_unet_tumour.widgets.layers.adding import LATER


def visuals(viewer, mask):
    """Return the visuals of the overlays that come later, where they are made."""
    made = viewer.window._qt_viewer.canvas._layer_overlay_to_visual[mask]
    return [made[mask._overlays[name]] for name in LATER if mask._overlays[name] in made]


def added(one):
    """Add a mask to a window."""
    image = one.viewer.add_image(np.zeros((3, 20, 20)), name="scan", scale=(2, 1, 1))
    layout = layout_of(image.data.shape)
    return labels.add_mask(one.viewer, image, layout, ["background", "tumour"])


def test_the_visuals_for_drawing_follow(opened):
    one = opened()
    viewer, mask = one.viewer, added(one)
    heard = []
    mask.events.connect(lambda event: heard.append(event.type))
    assert mask in viewer.layers
    assert not visuals(viewer, mask), "none is made in the step that adds the layer"
    one.qtbot.waitUntil(lambda: len(visuals(viewer, mask)) == len(LATER))
    for visual in visuals(viewer, mask):
        assert visual.node.transform.matrix[3, :2].tolist() == [0.5, 0.5], "it lies where the layer lies"
    assert not {"scale", "affine", "data", "set_data"} & {*heard}, "nobody hears of a change of the mask"
    mask.mode = "paint"
    mask.paint((1, 4, 4), 1)
    assert mask.data[1, 4, 4] == 1


def test_a_layer_that_goes_at_once_leaves_nothing(opened):
    one = opened()
    viewer, mask = one.viewer, added(one)
    viewer.layers.remove(mask)
    one.qtbot.wait(200)
    assert not any(mask._overlays[name].visible for name in LATER)


def test_a_mask_that_lies_on_its_image_is_not_placed_again():
    viewer, array = ViewerModel(), np.zeros((4, 20, 20), np.float32)
    image = viewer.add_image(array, scale=(5, 1, 1), affine=np.diag([1, 1, 2, 1.0]), units=("mm",) * 3)
    layout = layout_of(array.shape)
    mask = labels.add_mask(viewer, image, layout, ["background", "tumour"])
    labels.describe(mask, image)
    moved = []
    for name in ("scale", "translate", "affine", "units"):
        getattr(mask.events, name).connect(lambda event, name=name: moved.append(name))
    assert labels.add_mask(viewer, image, layout, ["background", "tumour"]) is mask
    assert moved == []
    image.translate = (0, 3, 4)
    labels.add_mask(viewer, image, layout, ["background", "tumour"])
    assert moved == ["translate"]
    np.testing.assert_array_equal(mask.translate, image.translate)
