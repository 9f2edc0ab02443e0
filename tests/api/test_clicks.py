import numpy as np
import pytest

from napari_unet_tumour import load_model, segment
from napari_unet_tumour.api.clicks import marks_of, read_clicks, sorted_marks, with_clicks
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import SegmentSettings

TWO = ModelSpec("two", "unet", labels=("background", "core", "rim"))


@pytest.fixture
def volume(blob):
    """(5, 64, 64) uint8: a bright piece in slices 1 to 3, and a grey one, which the network does not mark."""
    made = np.random.default_rng(0).integers(0, 60, (5, 64, 64)).astype(np.uint8)
    made[1:4, 12:22, 30:50] = np.random.default_rng(1).integers(210, 230, (3, 10, 20))
    made[1:4, 40:56, 10:26] = np.random.default_rng(2).integers(105, 120, (3, 16, 16))
    return made


def test_a_click_adds_what_the_network_left_out(bright, volume):
    plain = segment(volume, bright)
    found = segment(volume, bright, clicks=[(2, 48, 18, +1)])
    assert not plain.mask[2, 40:56, 10:26].any()
    assert found.mask[2, 42:54, 12:24].mean() > 0.9
    assert found.mask[2, 12:22, 30:50].all()
    for n in (0, 1, 3, 4):
        np.testing.assert_array_equal(found.mask[n], plain.mask[n])
        np.testing.assert_array_equal(found.probability[n], plain.probability[n])


def test_a_click_removes(bright, volume):
    found = segment(volume, bright, clicks=[(2, 17, 40, -1)])
    assert not found.mask[2, 17, 40]
    assert found.mask[1, 17, 40]
    assert found.mask[2].sum() < 200


def test_mask_and_probability_agree_at_any_threshold(bright, volume):
    for threshold in (0.1, 0.5, 0.9):
        settings = SegmentSettings(threshold=threshold, flip_tta=False)
        found = segment(volume, bright, settings, clicks=[(2, 48, 18, +1)])
        level = max(1, round(threshold * 255))
        np.testing.assert_array_equal(found.mask[2] > 0, found.probability[2, 0] >= level)


def test_no_clicks_change_nothing(bright, volume):
    one, other = segment(volume, bright), segment(volume, bright, clicks=[], boxes=[])
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.probability, other.probability)


def test_outline_follows_the_lesion(bright, volume):
    found = segment(volume, bright, clicks=[(2, 48, 18, 1)], outline=True)
    lesion = found.mask[:, 40:56, 10:26]
    assert all(lesion[n].mean() > 0.8 for n in (1, 2, 3))
    assert not lesion[0].any()
    assert not lesion[4].any()


def test_a_box(bright, volume):
    found = segment(volume, bright, boxes=[(2, 39, 9, 2, 57, 27)])
    assert found.mask[2, 44:52, 14:22].mean() > 0.8
    assert not found.mask[2, 45:, 40:].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_places_are_those_of_the_array_whatever_the_slices(bright, axis):
    ball = np.random.default_rng(0).integers(0, 60, (40, 50, 60)).astype(np.uint8)
    place = (12, 20, 40)
    grid = np.ogrid[:40, :50, :60]
    inside = sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)) <= 64
    ball[inside] = np.random.default_rng(1).integers(105, 120, ball.shape)[inside]
    found = segment(ball, bright, axis=axis, clicks=[(*place, 1)])
    assert found.mask[place]
    assert set(np.flatnonzero(found.mask.any(tuple({0, 1, 2} - {axis})))) == {place[axis]}
    shown = [slice(None)] * 3
    shown[axis] = place[axis]
    mask, truth = found.mask[tuple(shown)] > 0, inside[tuple(shown)]
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8


def test_a_flat_image_and_a_series(bright, blob):
    grey = np.where(blob > 127, 110, blob).astype(np.uint8)
    assert segment(grey, bright, clicks=[(17, 40, 1)]).mask[17, 40]
    series = np.stack([grey, grey])[:, None]
    found = segment(Scan(series, "tzyx"), bright, clicks=[(1, 0, 17, 40, 1)])
    assert found.mask[1, 0, 17, 40]
    assert not found.mask[0].any()


@pytest.mark.parametrize(
    ("clicks", "boxes", "words"),
    [
        ([(0, 99, 3, 1)], [], "click 1 lies at 0, 99, 3, outside the scan of 5 x 64 x 64"),
        ([(0, 3, 3, 1), (-1, 3, 3, 1)], [], "click 2 lies at -1"),
        ([(0, float("nan"), 3, 1)], [], "no number"),
        ([(0, "a", 3, 1)], [], "no number"),
        ([(0, 3, 3, 0)], [], "sign '0'"),
        ([(0, 3, 3, 2)], [], "sign '2'"),
        ([(3, 3, 1)], [], "3 parts"),
        ([(0, 3, 3, 1, 9)], [], "label '9', the model bright knows 1 tumour"),
        ([(0, 3, 3, 1, "liver")], [], "label 'liver'"),
        ([], [(0, 3, 3, 1, 9, 9)], "two slices"),
        ([], [(0, 3, 3)], "box 1 has 3 parts"),
        ([], [(0, 3, 3, 0, 3, 300)], "box 1 lies at"),
    ],
)
def test_what_makes_no_sense_is_one_line(bright, volume, clicks, boxes, words):
    with pytest.raises(ScanError, match=words) as caught:
        segment(volume, bright, clicks=clicks, boxes=boxes)
    assert "\n" not in str(caught.value)
    assert ": " in str(caught.value)


def test_odd_clicks_get_a_sane_answer(bright, volume):
    rng = np.random.default_rng(0)
    many = [(2, int(rng.integers(64)), int(rng.integers(64)), int(rng.choice([-1, 1]))) for _ in range(200)]
    found = segment(volume, bright, clicks=many)
    for (z, y, x), sign in {one[:3]: one[3] for one in many}.items():
        assert bool(found.mask[z, y, x]) == (sign > 0)
    assert not segment(volume, bright, clicks=[(2, 48, 18, 1), (2, 48, 18, -1)]).mask[2, 48, 18]
    blank = np.zeros_like(volume)
    assert 1 <= segment(blank, bright, clicks=[(2, 48, 18, 1)]).mask.sum() < 30
    holes = volume.astype(np.float32)
    holes[2, 30:60] = np.nan
    assert segment(holes, bright, clicks=[(2, 48, 18, 1)]).mask[2, 48, 18]
    assert segment(volume, bright, clicks=np.array([(2.4, 48.0, 17.6, 1.0)])).mask[2, 48, 18]


def test_several_labels_by_name_and_number():
    layout = layout_of((5, 64, 64), "zyx")
    marks = marks_of([(1, 2, 3, 1, "rim"), (1, 2, 4, -1, 2), (1, 2, 5, 1)], [], 3)
    found = sorted_marks(marks, layout, TWO)
    assert {key: len(one.clicks) for key, one in found.items()} == {(1, 2): 2, (1, 1): 1}


def test_a_click_for_one_label_takes_pixels_from_another(bright, volume):
    from dataclasses import replace

    from napari_unet_tumour.api.segment import clicks_of
    from napari_unet_tumour.engine.inference.segment import Segmentation

    model = clicks_of(load_model(bright))
    model = replace(model, spec=replace(model.spec, labels=TWO.labels))
    mask = np.zeros(volume.shape, np.uint8)
    mask[2, 40:56, 10:26] = 2
    probability = np.zeros((5, 2, 64, 64), np.uint8)
    probability[2, 1, 40:56, 10:26] = 255
    start = Segmentation(mask, probability, TWO.labels)
    layout = layout_of(volume.shape, "zyx")
    settings = SegmentSettings()
    done = with_clicks(start, marks_of([(2, 48, 18, 1, "core")], [], 3), volume[:, None], layout, model, settings)
    assert done.mask[2, 48, 18] == 1
    assert (start.mask == mask).all()
    removed = with_clicks(start, marks_of([(2, 48, 18, -1, "core")], [], 3), volume[:, None], layout, model, settings)
    assert (removed.mask[2] == mask[2]).all()


def test_a_file_of_clicks(tmp_path, bright, volume):
    path = tmp_path / "clicks.csv"
    path.write_text(
        "z, y, x, sign, label, y2, x2\n2,48,18,+1,tumour,,\n\n2,17,40,-1,,,\n1,39,9,1,1,57,27\n", "utf-8-sig"
    )
    marks = read_clicks(path, 3)
    assert [(m.place, m.sign, bool(m.corner)) for m in marks] == [
        ((2, 48, 18), 1, False), ((2, 17, 40), -1, False), ((1, 39, 9), 1, True)
    ]  # fmt: skip
    assert marks[2].corner == (1, 57, 27)
    assert len(sorted_marks(marks, layout_of(volume.shape, "zyx"), load_model(bright).spec)) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("z,y,sign\n1,2,1\n", "no column x"),
        ("z,y,x,sign\n", "no rows"),
        ("z,y,x,sign\n1,2,three,1\n", "line 2 has a place that is no number"),
        ("z,y,x,sign\n1,2,3,maybe\n", "line 2 has the sign 'maybe'"),
        ("z,y,x,sign,y2,x2\n1,2,3,1,5,\n", "no number"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(tmp_path, text, words):
    path = tmp_path / "clicks.csv"
    path.write_text(text)
    with pytest.raises(ScanError, match=words) as caught:
        read_clicks(path, 3)
    assert "clicks.csv" in str(caught.value)
    with pytest.raises(ScanError, match=r"no\.csv"):
        read_clicks(tmp_path / "no.csv", 3)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ScanError, match="no text file"):
        read_clicks(tmp_path / "b.csv", 3)
