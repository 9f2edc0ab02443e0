"""A second network: learns the corrected scan's style of tumour, and changes nothing of other scans."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_unet_tumour.api import load_model
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import ReviewedContext, ReviewedSlice
from napari_unet_tumour.engine.finetuning.finetune import finetune, iter_finetune
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.finetuning.style_gate import styles_of
from napari_unet_tumour.engine.inference.segment import iter_segment, iter_segment_planes
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.engine.normalisation import robust_zscore
from napari_unet_tumour.engine.training.learner import precision_of
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.settings import FinetuneSettings, SegmentSettings

SETTINGS = FinetuneSettings(seconds=60, device="cpu")
# The network of these tests has seen nothing but noise: it needs larger steps than a trained one.
QUICK = HyperParameters(judged=False, pace=3e-3, moves=40, pair=4, moved=1.0)


@pytest.fixture(scope="module", autouse=True)
def _near():
    """A network that has learnt nothing tells styles less well: scans lie nearer to the training's, and wider apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_unet_tumour.engine.finetuning.style_gate.FAR", 4.0)
        patch.setattr("napari_unet_tumour.engine.networks.gated_branch.NEAR", 20.0)
        yield


@pytest.fixture(scope="module")
def volume(draw):
    """Slices (12, 1, H, W) of one scan of another style, and their masks: a lesion through slices 3 to 8."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: draw.side, : draw.side]
    head = (y - 32) ** 2 + (x - 32) ** 2 < 28**2
    lesion = np.stack([((y - 30) ** 2 + (x - 36) ** 2 < 7**2) & (3 <= n <= 8) for n in range(12)])
    noise = rng.normal(0, 4, (12, draw.side, draw.side))
    return (255 - head * (80 + noise) - 90 * lesion)[:, None].astype(np.float32), lesion.astype(np.uint8)


@pytest.fixture(scope="module")
def corrected(volume, draw):
    planes, masks = volume
    return [
        replace(one, image=planes[n], mask=masks[n], slice=n)
        for one, n in zip(draw.corrections(2), (5, 7), strict=True)
    ]


@pytest.fixture(scope="module")
def tuned(lite, volume, corrected):
    context = np.delete(volume[0], [5, 7], axis=0)
    return finetune(lite, corrected, SETTINGS, context=context, recipe=QUICK)


def gated(model):
    """Return a model that has a gate; skip where the small network of these tests cannot get one."""
    if "gates" not in model.spec.arguments and precision_of("auto", torch.device("cpu")) == torch.float32:
        # The shipped model gets its gate in float32 too, see test_the_shipped_model_tells_the_scan_from_others.
        pytest.skip("no bfloat16 here: in float32 the styles of these tests' small network are too alike for a gate")
    return model


@pytest.fixture(scope="module")
def second(tuned):
    return gated(load(tuned.data))


def found(model, planes, masks=()):
    steps = iter_segment_planes(model, planes, SegmentSettings(device="cpu"), ReviewedContext(masks=dict(masks)))
    return exhaust(steps)[:, 0] >= 128


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_it_has_one_gate_and_the_parents_own_weights(second, tuned, lite):
    assert second.spec.arguments["gates"] == 1
    assert second.spec.parent == lite.hash
    assert tuned.blend == QUICK.moved
    state = second.net.state_dict()
    assert all(
        torch.allclose(state[name], value, rtol=1e-2, atol=1e-3) for name, value in lite.net.state_dict().items()
    )


def test_the_corrected_lesion_is_found_in_the_other_slices(second, lite, volume):
    planes, masks = volume
    rest = [n for n in range(12) if n not in (5, 7)]
    known = {n: masks[n] for n in (5, 7)}
    assert dice(found(lite, planes)[rest], masks[rest] > 0) < 0.2
    assert dice(found(second, planes, known)[rest], masks[rest] > 0) > 0.7


def test_an_island_far_from_it_is_not_drawn(second, volume):
    planes, masks = volume
    planes = planes.copy()
    y, x = np.mgrid[: planes.shape[2], : planes.shape[3]]
    island = (y - 20) ** 2 + (x - 18) ** 2 < 4**2
    planes[0, 0] -= 90 * island
    assert not found(second, planes, {n: masks[n] for n in (5, 7)})[0].any()


@pytest.mark.slow
def test_the_shipped_model_tells_the_scan_from_others(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("napari_unet_tumour.engine.finetuning.style_gate.FAR", 9.0)
    monkeypatch.setattr("napari_unet_tumour.engine.networks.gated_branch.NEAR", 1.3)
    base, (scan, truth) = load_model(), phantom(shape=(16, 256, 256))
    planes = np.asarray(scan.array)[:, None]
    some = [ReviewedSlice("s", n, planes[n], truth[n]) for n in np.flatnonzero(truth.any((1, 2)))[1:6:4]]
    tuned = finetune(base, some, replace(SETTINGS, steps=1), context=planes, recipe=HyperParameters(moved=0.01))
    net = load(tuned.data).net

    def opened(images):
        styles = styles_of(net, robust_zscore(torch.from_numpy(images.astype(np.float32))))
        return net.second.opened(styles, net.corrector.get_buffer("style_precision")) / 0.01

    assert opened(planes[5:11]).min() > 0.8
    assert opened(planes.max() - planes[5:11]).max() < 0.1


def test_a_whole_scan_goes_the_same_way(second, volume):
    planes = volume[0][:, 0]
    layout = layout_of(planes.shape)
    steps, ticks = iter_segment(second, planes, layout, SegmentSettings(device="cpu", min_object_size=1)), []
    answer = exhaust(steps, ticks.append)
    assert sorted(n for tick in ticks for n in tick.values["planes"]) == list(range(12))
    assert ticks[-1].done == ticks[-1].total == 12
    assert np.array_equal(answer.probability[:, 0] >= 128, found(second, volume[0]))


def test_a_further_round_goes_on_from_it_with_one_more_gate(second, volume, corrected):
    context = np.delete(volume[0], [5, 7], axis=0)
    again = load(finetune(second, corrected, SETTINGS, context=context, recipe=QUICK).data)
    assert again.spec.arguments["gates"] == 2
    assert again.spec.parent == second.hash


@pytest.mark.slow
def test_the_same_seed_and_steps_give_the_same_model(lite, volume, corrected):
    context = np.delete(volume[0], [5, 7], axis=0)
    settings = replace(SETTINGS, steps=3)
    one, other = (finetune(lite, corrected, settings, context=context) for _ in range(2))
    assert one.steps == 3
    assert one.data == other.data


@pytest.mark.slow
def test_few_slices_or_a_usual_scan_get_an_expert(lite, corrected, draw):
    few = load(finetune(lite, corrected, SETTINGS).data)
    assert "gates" not in few.spec.arguments
    assert few.spec.arguments["experts"] == 1
    usual = np.stack([draw.drawn(n)[0] for n in range(700, 712)])
    some = [replace(one, image=draw.drawn(720 + n)[0]) for n, one in enumerate(corrected)]
    alike = finetune(lite, some, SETTINGS, context=usual)
    assert not alike.data or "gates" not in load(alike.data).spec.arguments


def test_one_lesion_and_a_slice_without_get_an_expert(lite, volume, corrected):
    planes, masks = volume
    empty = replace(corrected[1], image=planes[11], mask=masks[11], slice=11)
    context = np.delete(planes, [5, 11], axis=0)
    tuned = load(finetune(lite, [corrected[0], empty], SETTINGS, context=context, recipe=QUICK).data)
    assert "gates" not in tuned.spec.arguments
    both = load(finetune(lite, [*corrected, empty], SETTINGS, context=context, recipe=QUICK).data)
    assert gated(both).spec.arguments["gates"] == 1


def test_best_so_far_is_at_hand(lite, volume, corrected, draw, monkeypatch):
    monkeypatch.setattr("napari_unet_tumour.engine.finetuning.finetune.KEEP_EVERY", 0.0)
    context = np.delete(volume[0], [5, 7], axis=0)
    ticks, _ = draw.finished(iter_finetune(lite, corrected, SETTINGS, context=context, recipe=replace(QUICK, moves=4)))
    best = [tick.values["best"] for tick in ticks if "best" in tick.values]
    assert gated(load(best[-1].data)).spec.arguments["gates"] == 1
