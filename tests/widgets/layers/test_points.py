import numpy as np
from napari.layers import Points

from napari_unet_tumour.widgets.layers.points import draw_points, set_points


def counted(layer, monkeypatch):
    """Count how often a layer is sliced, drawn and given a thumbnail."""
    seen = []
    layer.events.set_data.connect(lambda event: seen.append("drawn"))
    for name in ("set_view_slice", "_update_thumbnail"):
        call = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda call=call, name=name: (seen.append(name), call()))
    return seen


def test_points_are_sliced_and_drawn_once(monkeypatch):
    layer = Points(np.zeros((0, 3)), size=3)
    seen = counted(layer, monkeypatch)
    looks = {"face_color": ["red", "lime"], "border_color": ["red", "lime"], "symbol": ["disc", "diamond"], "size": 5}
    set_points(layer, np.array([[0.0, 1, 2], [0, 3, 4]]), **looks)
    assert seen == ["set_view_slice", "drawn"]
    assert layer.data.tolist() == [[0, 1, 2], [0, 3, 4]]
    assert layer.face_color.tolist() == layer.border_color.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]
    assert (layer.size.tolist(), [str(symbol) for symbol in layer.symbol]) == ([5, 5], ["disc", "diamond"])
    assert layer.extent.data[1].tolist() == [0, 3, 4]

    seen.clear()
    set_points(layer, np.zeros((0, 3)), draw=False, **looks)
    assert (seen, len(layer.data)) == (["set_view_slice"], 0)
    draw_points(layer)
    assert seen == ["set_view_slice", "drawn"]


def test_a_point_that_goes_leaves_nothing_selected():
    layer = Points(np.zeros((2, 3)))
    layer.selected_data = {1}
    set_points(layer, np.zeros((1, 3)))
    assert not layer.selected_data
