"""Folders of pairs: every format, persons, classes, and one clear error before any training."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_unet_tumour.engine.training.dataset import iter_dataset
from napari_unet_tumour.engine.training.negatives import iter_negatives
from napari_unet_tumour.engine.training.plan import parts_of
from napari_unet_tumour.engine.training.test_scores import native_of
from napari_unet_tumour.errors import TrainingError, UNetTumourError


def read(folder, tiny, exhaust, cases=True, **change):
    settings = replace(tiny, **change)
    return exhaust(iter_dataset(folder / "images", folder / "masks", settings, folder / "cases.csv" if cases else None))


def put(folder, name, array):
    Image.fromarray(array).save(folder / name)


def test_reads_every_pair_once_in_the_order_of_names(folder, tiny, exhaust):
    ticks, examples = read(folder, tiny, exhaust)
    assert [tick.done for tick in ticks] == list(range(1, 25))
    assert [source.name for source in examples.sources[:4]] == ["0", "1", "10", "11"]
    assert examples.images.shape == (24, 1, 64, 64)
    assert examples.images.dtype == examples.masks.dtype == torch.uint8
    assert set(examples.masks.unique().tolist()) == {0, 1}
    assert {source.person for source in examples.sources} == {f"P{n}" for n in range(8)}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".nii.gz"])
def test_every_format(make_folder, tiny, exhaust, suffix):
    folder = make_folder("other", persons=2)
    for kind in ("images", "masks"):
        for path in sorted((folder / kind).iterdir()):
            array = np.asarray(Image.open(path))
            new = path.with_name(path.stem + suffix)
            if suffix == ".nii.gz":
                nibabel.save(nibabel.Nifti1Image(array.T[..., None], np.diag([-1, -1, 1, 1])), new)
            elif suffix == ".tif":
                tifffile.imwrite(new, array)
            elif suffix == ".jpg":
                Image.fromarray(array).save(new, quality=95)
            if suffix != ".png":
                path.unlink()
    _, plain = read(make_folder("plain", persons=2), tiny, exhaust)
    _, examples = read(folder, tiny, exhaust, cases=suffix != ".nii.gz")
    apart = (examples.images.float() - plain.images.float()).abs().mean()
    assert apart < (4 if suffix == ".jpg" else 1e-3)
    assert (examples.masks != plain.masks).float().mean() < 0.01


def test_a_volume_gives_its_slices_and_is_a_person(tmp_path, tiny, exhaust, draw_head):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name in ("a", "b"):
        heads = [draw_head(rng) for _ in range(4)]
        image = np.stack([h[0] for h in heads], -1).astype(np.float32) * 3.5
        image[..., 3] = 0
        for kind, array in (("images", image), ("masks", np.stack([h[1] // 255 for h in heads], -1))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / kind / f"{name}.nii.gz")
    _, examples = read(tmp_path, tiny, exhaust, cases=False)
    assert [(s.name, s.plane, s.person) for s in examples.sources[:3]] == [("a", 0, "a"), ("a", 1, "a"), ("a", 2, "a")]
    assert len(examples) == 6
    assert examples.images.dtype == torch.float32


def test_other_sizes_keep_their_aspect_and_their_truth(make_folder, tiny, exhaust):
    folder = make_folder("wide", persons=1, slices=1)
    image, mask = np.zeros((100, 200), np.uint8) + 9, np.zeros((100, 200), np.uint8)
    image[20:60, 40:120], mask[20:60, 40:120] = 200, 255
    put(folder / "images", "0.png", image)
    put(folder / "masks", "0.png", mask)
    _, examples = read(folder, tiny, exhaust)
    seen = examples.masks[0].bool()
    rows, columns = (torch.nonzero(seen.any(axis)).flatten().tolist() for axis in (1, 0))
    # 64 / 200 of the size, in the middle of the square.
    assert (rows[0], rows[-1]) == pytest.approx((16 + 20 * 0.32, 16 + 60 * 0.32 - 1), abs=1)
    assert (columns[0], columns[-1]) == pytest.approx((40 * 0.32, 120 * 0.32 - 1), abs=1)
    assert examples.images[0, 0][seen].float().mean() > 150
    native, truth = native_of(examples, 0, 1)
    assert np.array_equal(native[0], image)
    assert np.array_equal(truth, mask // 255)


def test_colour_images_and_alpha(make_folder, tiny, exhaust):
    folder = make_folder("colour", persons=1)
    for path in (folder / "images").iterdir():
        grey = np.asarray(Image.open(path))
        put(folder / "images", path.name, np.dstack([grey, grey // 2, grey, np.full_like(grey, 255)]))
    _, examples = read(folder, tiny, exhaust, channels=3)
    assert examples.images.shape[1] == 3
    _, examples = read(folder, tiny, exhaust, channels=1)
    assert examples.images.shape[1] == 1


def test_label_values_and_their_names(make_folder, tiny, exhaust):
    folder = make_folder("labels", persons=3)
    for n, path in enumerate(sorted((folder / "masks").iterdir())):
        put(folder / "masks", path.name, (np.asarray(Image.open(path)) // 255 * (1 + n % 3)).astype(np.uint8))
    _, examples = read(folder, tiny, exhaust, labels=("glioma", "meningioma", "pituitary"))
    assert examples.labels == ("background", "glioma", "meningioma", "pituitary")
    assert set(examples.masks.unique().tolist()) == {0, 1, 2, 3}
    _, examples = read(folder, tiny, exhaust)
    assert examples.labels[1:] == ("label 1", "label 2", "label 3")
    with pytest.raises(TrainingError, match="'edema' is empty"):
        read(folder, tiny, exhaust, labels=("a", "b", "c", "edema"))


def test_classes_come_from_the_cases_file(folder, tiny, exhaust):
    _, examples = read(folder, tiny, exhaust, classes="tumour")
    assert examples.labels == ("background", "glioma", "meningioma")
    for source, mask in zip(examples.sources, examples.masks, strict=True):
        assert set(mask.unique().tolist()) == {0, examples.labels.index(source.kind)}
    assert set(np.unique(native_of(examples, 0, 1)[1])) == {0, examples.labels.index(examples.sources[0].kind)}


def test_classes_that_nobody_gave(folder, tiny, exhaust):
    with pytest.raises(TrainingError, match="no class is given for 0"):
        read(folder, tiny, exhaust, classes="grade")


def test_no_pairs(tmp_path, tiny, exhaust):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(TrainingError, match="hold no images"):
        read(tmp_path, tiny, exhaust, cases=False)
    with pytest.raises(TrainingError, match="is not a folder"):
        read(tmp_path / "nowhere", tiny, exhaust, cases=False)


def test_unequal_names_are_listed(folder, tiny, exhaust):
    (folder / "masks" / "3.png").rename(folder / "masks" / "3_mask.png")
    with pytest.raises(TrainingError, match=r"2 of 25 names .*3.png has no mask; 3_mask.png has no image"):
        read(folder, tiny, exhaust)


def test_masks_that_are_not_masks(folder, tiny, exhaust):
    grey = np.asarray(Image.open(folder / "images" / "5.png"))
    put(folder / "masks", "5.png", grey)
    with pytest.raises(TrainingError, match=r"5.png holds grey values .*no mask"):
        read(folder, tiny, exhaust)
    put(folder / "masks", "5.png", (grey > 100).astype(np.uint8) * 128 + (grey > 150).astype(np.uint8) * 100)
    with pytest.raises(TrainingError, match=r"the values 0, .*228, 255"):
        read(folder, tiny, exhaust)


def test_a_colour_mask(folder, tiny, exhaust):
    put(folder / "masks", "5.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(UNetTumourError, match=r"5.png is a colour picture"):
        read(folder, tiny, exhaust)


def test_sizes_that_differ(folder, tiny, exhaust):
    put(folder / "masks", "5.png", np.zeros((64, 60), np.uint8))
    with pytest.raises(TrainingError, match=r"5.png is 64 x 60 and its image is 64 x 64"):
        read(folder, tiny, exhaust)


def test_a_gap_in_the_labels_and_masks_of_nothing(folder, tiny, exhaust):
    for path in (folder / "masks").iterdir():
        put(folder / "masks", path.name, np.zeros((64, 64), np.uint8))
    with pytest.raises(TrainingError, match="no mask marks anything"):
        read(folder, tiny, exhaust)
    put(folder / "masks", "1.png", np.full((64, 64), 1, np.uint8))
    put(folder / "masks", "2.png", np.full((64, 64), 3, np.uint8))
    with pytest.raises(TrainingError, match="label 2 is empty"):
        read(folder, tiny, exhaust)


def test_a_mask_that_deflates_to_almost_nothing(make_folder, tiny, exhaust):
    folder = make_folder("large", persons=1, slices=1, side=512)
    mask = np.zeros((512, 512), np.uint8)
    mask[200:240, 200:230] = 255
    put(folder / "masks", "0.png", mask)
    Image.fromarray(mask).save(folder / "masks" / "0.png", optimize=True)
    assert len(read(folder, tiny, exhaust)[1]) == 1


def test_a_damaged_image_is_named(folder, tiny, exhaust):
    (folder / "images" / "5.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(UNetTumourError, match=r"5\.png"):
        read(folder, tiny, exhaust)


def test_cases_that_do_not_fit(folder, tiny, exhaust):
    good = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(good.replace("0.png,P0", "x.png,P0"))
    with pytest.raises(TrainingError, match=r"says nothing of 1 images \(0.png\)"):
        read(folder, tiny, exhaust)
    (folder / "cases.csv").write_text(good.replace("file,", "name,"))
    with pytest.raises(TrainingError, match="no column 'file'"):
        read(folder, tiny, exhaust)
    (folder / "cases.csv").write_text(good.replace("2.png,P0", "2.png,"))
    with pytest.raises(TrainingError, match="names no person"):
        read(folder, tiny, exhaust)
    (folder / "cases.csv").unlink()
    with pytest.raises(TrainingError, match="cannot be read"):
        read(folder, tiny, exhaust)


def test_the_split_follows_what_is_known(folder, tiny, exhaust):
    assert parts_of(read(folder, tiny, exhaust)[1], tiny).how == "person"
    unnamed = read(folder, tiny, exhaust, cases=False)[1]
    assert parts_of(unnamed, tiny).how == "slice"
    with pytest.raises(TrainingError, match="needs persons"):
        parts_of(unnamed, replace(tiny, split="person"))


def test_too_few_persons_and_a_class_missing_from_training(make_folder, tiny, exhaust):
    one = read(make_folder("one", persons=1, slices=9), tiny, exhaust)[1]
    with pytest.raises(TrainingError, match="too few persons"):
        parts_of(one, tiny)
    two = read(make_folder("two", persons=3), tiny, exhaust, classes="tumour")[1]
    with pytest.raises(TrainingError, match="is empty in the training part"):
        parts_of(two, tiny)


def test_negatives(folder, tiny, exhaust, tmp_path):
    _, found = exhaust(iter_negatives(folder / "images", tiny))
    assert found.shape == (24, 1, 64, 64)
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainingError, match="holds no images"):
        exhaust(iter_negatives(tmp_path / "none", tiny))


def test_a_mask_in_another_axis_order_is_put_onto_its_image(tmp_path, tiny, exhaust, draw_head):
    heads = [draw_head(np.random.default_rng(n)) for n in range(4)]
    image, mask = (np.stack([head[k] for head in heads], -1) for k in (0, 1))
    for name, kind in (("plain", None), ("turned", "RAS")):
        for part in ("images", "masks"):
            (tmp_path / name / part).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(image, np.diag([-1, -1, 5, 1])), tmp_path / name / "images/a.nii.gz")
        one = nibabel.Nifti1Image(mask // 255, np.diag([-1, -1, 5, 1]))
        nibabel.save(nibabel.as_closest_canonical(one) if kind else one, tmp_path / name / "masks/a.nii.gz")
    _, plain = read(tmp_path / "plain", tiny, exhaust, cases=False)
    ticks, turned = read(tmp_path / "turned", tiny, exhaust, cases=False)
    assert plain.masks.any()
    assert torch.equal(plain.masks, turned.masks)
    assert ticks[-1].message == "note: a.nii.gz: The mask was moved onto the scan's grid (rows and columns flipped)."
    for n in range(len(turned)):
        np.testing.assert_array_equal(native_of(turned, n, 1)[1], native_of(plain, n, 1)[1])
