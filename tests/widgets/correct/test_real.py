"""The Correct and fine-tune widget with the engine's own learning."""

import numpy as np

from napari_unet_tumour.models import registry


def test_the_engine_learns_and_nothing_changes_before_accept(opened, scan):
    data = scan(8, 64, 64)
    truth = data > 175  # the network says 127
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget="Correct and fine-tune")
    one.wait(lambda: one.widget.session is not None)
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    mask = one.viewer.layers[-1]
    for n in (1, 3, 5):
        one.widget.go(n)
        one.widget.session.case.write(one.viewer, {n: truth[n].astype(np.uint8)})
        one.click(one.panel.tick)
    one.widget.go(7)
    one.panel.seconds.value = 4
    one.click(one.panel.run)
    one.wait(lambda: not one.widget.state.learning)
    for n in range(8):
        assert np.array_equal(mask.data[n], truth[n] if n in (1, 3, 5) else data[n] > 127)
    if one.widget.state.result is None:  # so small a network may find nothing better in the time
        assert "model and mask are as they were" in one.status
        assert [entry.name for entry in registry.entries()] == ["known"]
        return
    one.click(one.panel.accept)
    one.wait(lambda: one.status.endswith("reviewed slices are as they were."))
    assert all(np.array_equal(mask.data[n], truth[n]) for n in (1, 3, 5))
    assert registry.find().spec.parent == registry.find("known").hash
