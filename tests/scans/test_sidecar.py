"""What a JSON file beside a NIfTI file says of its sequence."""

import json

import pytest

from napari_unet_tumour.scans import read


@pytest.mark.parametrize(
    ("beside", "facts"),
    [
        ({"SeriesDescription": "AX FLAIR"}, {"sequence": "FLAIR"}),
        (
            {"ProtocolName": "t1_se", "ContrastBolusIngredient": "GADOLINIUM"},
            {"sequence": "T1", "contrast_agent": "GADOLINIUM"},
        ),
        ({"EchoTime": 0.1, "RepetitionTime": 5}, {"sequence": "T2"}),
        ({"EchoTime": "0.1", "RepetitionTime": [5]}, {}),
        ({"SeriesDescription": None}, {}),
        ([1, 2], {}),
        ("no JSON", {}),
        (None, {}),
    ],
)
def test_the_file_beside_tells_the_sequence(nifti_file, beside, facts):
    path = nifti_file.with_name("head.json")
    if beside is not None:
        path.write_text("{" if beside == "no JSON" else json.dumps(beside))
    extra = read(nifti_file).extra
    assert {name: extra[name] for name in ("sequence", "contrast_agent") if name in extra} == facts
