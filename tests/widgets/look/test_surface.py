"""The surface of a mask in the View panel: where it lies, and that it follows the mask."""

import numpy as np

PLACE = {"scale": (3.0, 1.0, 0.5), "translate": (10.0, 20.0, -5.0), "units": ("mm",) * 3}


def add(viewer):
    viewer.add_image(np.zeros((12, 30, 40), np.uint8), name="scan", **PLACE)
    mask = np.zeros((12, 30, 40), np.uint8)
    mask[4:8, 10:20, 10:20], mask[4:8, 22:26, 22:26] = 1, 3
    viewer.add_labels(mask, name="mask", **PLACE)


def extent(layer):
    """Return where the triangles begin and end in the world."""
    corners = np.array([layer.data_to_world(at) for at in layer.data[0]])
    return corners.min(0).tolist(), corners.max(0).tolist()


def test_a_surface_follows_its_mask(opened):
    one = opened(add, "View")
    viewer, mask = one.viewer, one.viewer.layers["mask"]
    said = one.panel.surface_note
    sliders = [tuple(one) for one in viewer.dims.range]
    one.panel.surface.value = True
    one.wait(lambda: "triangles" in said.value)
    assert said.value.startswith("2 labels, ")
    assert [layer.name for layer in viewer.layers] == ["scan", "mask", "mask surface"]
    assert viewer.layers.selection.active is mask
    surface = viewer.layers["mask surface"]
    assert np.allclose(
        extent(surface), ([20.5, 29.5, -0.25], [32.5, 45.5, 7.75])
    )  # half a voxel around the outermost voxels
    assert [tuple(one) for one in viewer.dims.range] == sliders
    assert not surface.visible
    viewer.dims.ndisplay = 3
    assert surface.visible
    colours = surface.colormap.map(np.array([0.25, 0.75]))
    assert np.allclose(colours[:, :3], [mask.get_color(1)[:3], mask.get_color(3)[:3]])
    viewer.dims.ndisplay = 2
    mask.data_setitem(tuple(np.nonzero(mask.data == 3)), 0)
    mask.data_setitem((np.array([10]), np.array([1]), np.array([1])), 1)  # the answer before is dropped
    one.wait(lambda: said.value.startswith("1 label, "))
    assert np.allclose(extent(surface)[0], [20.5, 20.5, -4.75])
    mask.undo()
    mask.undo()
    one.wait(lambda: said.value.startswith("2 labels, "))
    mask.name, mask.translate = "other", (0, 0, 0)
    assert surface.name == "other surface"
    one.wait(lambda: np.allclose(extent(surface)[0], [10.5, 9.5, 4.75]))
    everything = tuple(np.nonzero(mask.data))
    mask.data_setitem(everything, 0)
    one.wait(lambda: said.value == "No surface of 'other': it is empty: draw or segment something first")
    mask.undo()
    one.wait(lambda: "triangles" in said.value)
    one.panel.surface.value = False
    assert [layer.name for layer in viewer.layers] == ["scan", "other"]
    mask.paint((1, 1, 1), 1)
    one.panel.surface.value = True
    viewer.layers.remove(mask)
    assert not one.panel.surface.value
    one.qtbot.wait(600)
    assert [layer.name for layer in viewer.layers] == ["scan"]
    one.panel.surface.value = True
    assert said.value == "There is no mask yet."
    viewer.add_labels(np.zeros((30, 40), np.uint8), name="flat")
    one.panel.surface.value = True
    assert said.value == "No surface of 'flat': it is flat; choose a mask with several slices"
    assert not one.panel.surface.value
