"""A scan far from a model's training slices is said to be so; one like them is not."""

from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.models.spec import ModelSpec, spec_from_json
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.scans.training_match import (
    ScanMatch,
    distances,
    features_of,
    match_scan,
    other_sequence,
    statistics_of,
)


@pytest.fixture(scope="module")
def heads():
    """(n, H, W) slices of made-up heads."""
    return np.concatenate([phantom(shape=(12, 96, 96), seed=seed)[0].array[2:10] for seed in range(6)]).astype(float)


@pytest.fixture(scope="module")
def spec(heads):
    return ModelSpec("t1ce", "lite-unet", typical=statistics_of(one[None] for one in heads[:40]))


def scan(array, name="scan", **more):
    return Scan(array, "zyx", name=name, **more)


def test_like_slices_are_not_far_in_any_unit(heads, spec):
    for unit, offset in ((1.0, 0.0), (1e-3, 5.0), (4000.0, -100.0)):
        array = heads[40:] * unit + offset
        match = match_scan(scan(array), layout_of(array.shape), spec)
        assert match.unlike < 0.5
        assert not match.is_doubtful
        assert match.message == ""


@pytest.mark.parametrize("change", [lambda a: a.max() - a, lambda a: np.random.default_rng(0).random(a.shape)])
def test_inverted_and_other_pictures_are_far(heads, spec, change):
    array = change(heads[40:])
    match = match_scan(scan(array), layout_of(array.shape), spec)
    assert match.unlike == 1
    assert f"{match.slices} of {match.slices} slices look unlike" in match.message
    assert "contrast-enhanced T1" in match.message


@pytest.mark.parametrize(
    ("name", "more", "named"),
    [
        ("AX T2 FLAIR", {}, "FLAIR"),
        ("t2_tse", {}, "T2"),
        ("AX T1 POST", {}, ""),
        ("AX T1", {}, ""),
        ("AX T1", {"extra": {"contrast_agent": ""}}, "T1 without contrast medium"),
        ("AX T1", {"extra": {"contrast_agent": "Gadovist"}}, ""),
        ("head", {"modality": "CT"}, "CT"),
        ("head", {"modality": "MR"}, ""),
        ("head", {"extra": {"sequence": "DWI"}}, "diffusion (DWI)"),
        ("head", {"extra": {"sequence": "T1", "contrast_agent": ""}}, "T1 without contrast medium"),
        ("head", {"extra": {"sequence": "T1", "contrast_agent": "Gadovist"}}, ""),
        ("head", {"extra": {"sequence": "T1"}}, ""),
        ("AX T1", {"extra": {"sequence": "T1ce", "contrast_agent": ""}}, ""),
        ("AX T1 POST", {"extra": {"sequence": "T2"}}, ""),
    ],
)
def test_a_header_that_names_another_sequence(name, more, named, heads, spec):
    one = scan(heads[40:], name, **more)
    assert other_sequence(one, spec)[0] == named
    match = match_scan(one, layout_of(one.array.shape), spec)
    assert match.is_doubtful == bool(named)
    assert (f"its header says {named}" in match.message) == bool(named)


def test_a_file_that_a_person_named_has_no_header_to_blame(heads, spec):
    layout = layout_of(heads[40:].shape)
    named = match_scan(scan(heads[40:], "case_flair", source="case_flair.nii.gz"), layout, spec)
    assert named.message.startswith("its name says FLAIR")
    header = match_scan(scan(heads[40:], "case", source="case.nii.gz", extra={"sequence": "FLAIR"}), layout, spec)
    assert header.message.startswith("its header says FLAIR")
    assert header.as_dict()["named"] == "FLAIR"
    assert header.as_dict()["doubtful"] is True


def test_a_model_without_statistics_says_nothing_of_grey_values(heads, spec):
    match = match_scan(scan(heads[40:]), layout_of(heads[40:].shape), replace(spec, typical={}))
    assert (match.slices, match.unlike, match.is_doubtful) == (0, 0.0, False)


def test_empty_slices_and_broken_values_tell_nothing(spec):
    for array in (np.zeros((4, 32, 32)), np.full((4, 32, 32), np.nan), np.full((4, 32, 32), np.inf)):
        assert match_scan(scan(array), layout_of(array.shape), spec).slices == 0
    assert features_of(np.eye(64)[None]) is None


def test_too_few_slices_give_no_statistics(heads):
    assert statistics_of(one[None] for one in heads[:5]) == {}


def test_the_statistics_survive_the_model_file(heads, spec):
    again = spec_from_json(spec.to_json(), "x")
    features = np.stack([features_of(one[None]) for one in heads[:3]])
    assert np.array_equal(distances(features, again.typical), distances(features, spec.typical))


@pytest.mark.parametrize("shape", [(16, 200), (300, 90), (33, 31)])
def test_any_shape_of_a_slice(shape):
    found = features_of(np.random.default_rng(0).random((1, *shape)))
    assert found is not None
    assert np.isfinite(found).all()


def test_the_message_says_both():
    said = ScanMatch(10, 0.8, "FLAIR", "contrast-enhanced T1").message
    assert said.startswith("its header says FLAIR and 8 of 10 slices look unlike the training slices")
