"""finetune from the command line, with the shipped model on the sample head."""

import json

import nibabel
import numpy as np
import pytest

import napari_unet_tumour
from napari_unet_tumour import cli
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import read_spec
from napari_unet_tumour.phantom import phantom


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A folder with a sample head, its truth and a PAIRS.csv that names reviewed slices."""
    folder = tmp_path_factory.mktemp("pairs")
    scan, truth = phantom(seed=3, shape=(10, 128, 128))
    lesion = [int(n) for n in np.flatnonzero(truth.any((1, 2)))]
    for name, array in (("scan", scan.array), ("mask", truth)):
        turned = np.ascontiguousarray(np.asarray(array).transpose(2, 1, 0))
        nibabel.save(
            nibabel.Nifti1Image(turned.astype(np.int16), np.diag([-2, -2, 12, 1.0])), folder / f"{name}.nii.gz"
        )
    slices = ";".join(map(str, [*lesion[:3], 0]))
    (folder / "pairs.csv").write_text(f"scan,mask,group,slices\nscan.nii.gz,mask.nii.gz,p1,{slices}\n")
    return folder


def run(folder, *more, out="new.safetensors"):
    words = ["finetune", "--pairs", folder / "pairs.csv", "--out", folder / out, "--seconds", 5, *more]
    return cli.main([str(word) for word in words])


def test_a_new_model_and_its_scores(corrected, capsys):
    code = run(corrected, "--json", corrected / "found.json")
    found = json.loads((corrected / "found.json").read_text())
    parent = registry.find("default")
    assert found["parent"] == {"name": parent.name, "hash": parent.hash}
    assert len(found["held_out"]) == 1
    assert {row["scan"] for row in found["reference"]} == {"sample head"}
    said = capsys.readouterr()
    if code == 0:
        assert read_spec(corrected / "new.safetensors").parent == parent.hash
        assert read_spec(corrected / "new.safetensors").scores["scored_slices"] == 1
        assert "new.safetensors" in said.out
        assert found["held_out"][0]["after"]["dice"] >= found["held_out"][0]["before"]["dice"]
    else:
        assert not (corrected / "new.safetensors").exists()
        assert "the model stays as it is" in said.err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("scan,mask,slices\nscan.nii.gz,mask.nii.gz,99\n", "scan.nii.gz has no slice 99 (0 to 9)"),
        ("scan,mask,slices\nscan.nii.gz,mask.nii.gz,a\n", "slices must look like 3;4;9"),
        ("scan,mask\nscan.nii.gz,nowhere.nii.gz\n", "does not exist"),
    ],
)
def test_bad_tables(corrected, tmp_path, capsys, table, said):
    for name in ("scan.nii.gz", "mask.nii.gz"):
        (tmp_path / name).symlink_to(corrected / name)
    (tmp_path / "pairs.csv").write_text(table)
    assert run(tmp_path) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "new.safetensors").exists()


def test_another_suffix_is_refused_before_any_work(corrected, capsys):
    assert run(corrected, out="new.pt") == 1
    assert "must end in .safetensors" in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_labels(corrected, tmp_path_factory):
    """The sample head with a bright ball beside the lesion, as label 2."""
    folder = tmp_path_factory.mktemp("two")
    scan, truth = (nibabel.load(corrected / f"{name}.nii.gz") for name in ("scan", "mask"))
    grey, mask = np.asarray(scan.dataobj).copy(), np.asarray(truth.dataobj).copy()
    lesion = np.argwhere(mask)
    middle = [int(n) for n in lesion.mean(0)]
    x, y, z = np.indices(mask.shape)
    ball = ((x - (128 - middle[0])) ** 2 + (y - middle[1]) ** 2 < 8**2) & (abs(z - middle[2]) < 3) & (mask == 0)
    grey[ball], mask[ball] = grey.max(), 2
    for name, array in (("scan", grey), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), scan.affine), folder / f"{name}.nii.gz")
    slices = ";".join(str(n) for n in sorted(set(np.argwhere(ball)[:, 2].tolist()))[:2])
    (folder / "pairs.csv").write_text(f"scan,mask,slices\nscan.nii.gz,mask.nii.gz,{slices}\n")
    return folder


def test_an_unknown_label_is_an_error_that_says_how(two_labels, capsys):
    assert run(two_labels) == 1
    said = capsys.readouterr().err
    assert "mask.nii.gz has the values 2, the model knows 0 to 1 (background, tumour)" in said
    assert "--add-class NAME" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_add_class_learns_it(two_labels):
    # Time enough on a busy machine too.
    assert run(two_labels, "--add-class", "ball", "--seconds", "60", out="ball.safetensors") == 0
    spec = read_spec(two_labels / "ball.safetensors")
    assert spec.labels == ("background", "tumour", "ball")
    assert spec.parent == registry.find("default").hash, "the model in between is kept nowhere"
    found = napari_unet_tumour.segment(two_labels / "scan.nii.gz", two_labels / "ball.safetensors").mask.T
    truth = np.asarray(nibabel.load(two_labels / "mask.nii.gz").dataobj)
    assert 2 * ((found == 2) & (truth == 2)).sum() / ((found == 2).sum() + (truth == 2).sum()) > 0.7


@pytest.mark.parametrize(("names", "said"), [(["tumour"], "is taken"), ([""], "needs a name")])
def test_bad_names_of_classes(two_labels, capsys, names, said):
    assert run(two_labels, *(word for name in names for word in ("--add-class", name))) == 1
    assert said in capsys.readouterr().err
