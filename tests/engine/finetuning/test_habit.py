"""The reader's habit in a fine-tuning: from the network's own answers, kept only where it helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import ReviewedSlice
from napari_unet_tumour.engine.finetuning import habit
from napari_unet_tumour.engine.finetuning.context import prepare_context
from napari_unet_tumour.engine.finetuning.finetune import finetune
from napari_unet_tumour.engine.finetuning.habit import iter_habit
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import with_labels
from napari_unet_tumour.postprocess.outline_habit import SAY
from napari_unet_tumour.settings import FinetuneSettings

SETTINGS = FinetuneSettings(seconds=60, steps=1, device="cpu")


def reviewed(draw, rim=True, scan="scan", **more):
    """Return corrected slices with a rim around a dark core, of which a person outlines the rim, or all."""
    found = []
    for one in draw.corrections(4, coarse=False, **more):
        core = ndimage.binary_erosion(one.mask, iterations=3)
        mask = (one.mask.astype(bool) & ~(core & rim)).astype(np.uint8)
        found.append(ReviewedSlice(scan, one.slice, one.image - 90 * core, mask, one.held_out))
    return found


@pytest.fixture
def sees_whole(monkeypatch):
    """Let the network outline the whole tumour, whatever its weights."""

    def answered(model, slices, settings):
        found = []
        for one in slices:
            whole = ndimage.binary_fill_holes(one.mask == 1)
            found.append((one, np.round(255 * ndimage.gaussian_filter(whole.astype(float), 1)).astype(np.uint8)[None]))
        yield
        return found

    monkeypatch.setattr(habit, "_iter_answered", answered)


def learnt(model, corrections):
    desk = prepare_context(model, corrections, SETTINGS, None, (), None, HyperParameters())
    return exhaust(iter_habit(desk))


def test_the_model_file_has_the_habit_and_every_scan_adds_to_it(lite, draw, sees_whole):
    first = load(finetune(lite, reviewed(draw)[:2], SETTINGS).data)
    assert [one["scan"] for one in first.spec.habit["scans"]] == ["scan"]
    assert first.spec.carry["network"] == SAY
    second = learnt(first, reviewed(draw, scan="other", first=200))
    assert [one["scan"] for one in second["scans"]] == ["scan", "other"]
    assert lite.spec.habit == {}


def test_a_habit_that_makes_held_out_slices_worse_does_not_stay(lite, draw, sees_whole):
    rims, whole = reviewed(draw), reviewed(draw, rim=False, held_out={3})
    assert learnt(lite, rims)
    assert learnt(lite, [*rims[:3], whole[3]]) == {}


def test_slices_without_a_lesion_leave_the_parents_habit(lite, draw, sees_whole):
    known = replace(lite, spec=replace(lite.spec, habit=learnt(lite, reviewed(draw))))
    empty = [replace(one, mask=np.zeros_like(one.mask)) for one in reviewed(draw, scan="other")]
    assert learnt(known, empty) == known.spec.habit


def test_other_networks_and_several_labels_have_none(small_model, lite_of_two, draw, sees_whole):
    assert learnt(small_model, reviewed(draw)) == {}
    assert learnt(lite_of_two, reviewed(draw)) == {}
    known = replace(lite_of_two.spec, labels=("background", "tumour"), habit={"weights": [1.0]})
    assert with_labels(known, ["core"], "parent").habit == {}


def test_it_is_learnt_from_the_network_without_what_earlier_corrections_taught(lite, draw):
    tuned = load(finetune(lite, draw.corrections(2), replace(SETTINGS, steps=4)).data)
    x = torch.from_numpy(np.stack([draw.drawn(300, coarse=True)[0]]))
    with torch.no_grad():
        assert not torch.allclose(tuned.net(x), lite.net(x), atol=0.1)
        assert torch.allclose(habit._plain(tuned).net(x), lite.net(x), atol=0.02)  # float16 in the file
    assert tuned.net.corrector.experts == 1


def test_a_version_remembers_the_part_that_it_was_tuned_with(lite, draw, sees_whole):
    contrast = replace(lite, spec=replace(lite.spec, channels=("T1ce",)))
    tuned = load(finetune(contrast, reviewed(draw)[:2], replace(SETTINGS, part="enhancing")).data).spec
    assert tuned.part == tuned.defaults["part"] == "enhancing"
    assert tuned.habit
    # A later fine-tuning keeps it, unless the masks show another part: then what was learnt of this one goes.
    same, other = (
        prepare_context(
            replace(contrast, spec=tuned), reviewed(draw), replace(SETTINGS, part=part), None, (), None,
            HyperParameters(),
        ).model.spec
        for part in ("model", "whole")
    )  # fmt: skip
    assert same == tuned
    assert (other.part, other.habit, other.corrected) == ("whole", {}, [])
    with pytest.raises(ModelError, match="cannot show the enhancing part"):
        prepare_context(lite, reviewed(draw), replace(SETTINGS, part="enhancing"), None, (), None, HyperParameters())
