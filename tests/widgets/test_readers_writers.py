from __future__ import annotations

import itertools

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
from napari.layers import Labels
from PIL import Image

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.scans import read, read_mask
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets import readers_writers
from napari_unet_tumour.widgets.layers import geometry

PLACE = ("scale", "translate", "affine", "units", "axis_labels", "metadata", "name")


def save(path, array, affine, unit="mm"):
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def turned(angle: float) -> np.ndarray:
    affine = np.diag([-0.9, 0.8, 5.0, 1.0])
    affine[:3, 3] = (10.0, 20.0, -30.0)
    spin = np.eye(4)
    spin[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return spin @ affine


@pytest.fixture
def array() -> np.ndarray:
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("angle", [0.0, 0.3])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_nifti_to_layers_to_mask_to_nifti_keeps_every_voxel_in_place(tmp_path, array, order, signs, angle):
    affine = np.zeros((4, 4))
    affine[list(order), range(3)] = np.multiply(signs, (0.9, 0.8, 5.0))
    affine[:, 3] = (-10, 20, 30, 1)
    spin = np.eye(4)
    spin[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = save(tmp_path / "head.nii.gz", array, spin @ affine)
    data, about, _ = readers_writers.read_layers(str(path))[0]
    layer = Labels((np.asarray(data) % 7 == 3).astype(np.uint8), **{k: v for k, v in about.items() if k in PLACE})
    one, two = SimpleITK.ReadImage(path), nibabel.load(path)
    for value in (0, 57, 209):
        voxel = np.argwhere(array == value)[0]
        place = layer.data_to_world(np.argwhere(np.asarray(data) == value)[0])[::-1]
        assert place == pytest.approx(one.TransformIndexToPhysicalPoint([int(v) for v in voxel]), abs=1e-3)
        assert place == pytest.approx(np.array([-1, -1, 1]) * (two.affine @ [*voxel, 1])[:3], abs=1e-3)
    (saved,) = readers_writers.write_labels(str(tmp_path / "m.nii.gz"), *layer.as_layer_data_tuple()[:2])
    back = nibabel.load(saved)
    np.testing.assert_array_equal(back.affine, two.affine)
    np.testing.assert_array_equal(np.asarray(back.dataobj), array % 7 == 3)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::2])
def test_dicom_to_layers_to_mask_to_dicom_seg_keeps_every_voxel_in_place(tmp_path, array, order, signs):
    turn = np.zeros((3, 3))
    turn[list(order), range(3)] = signs
    spin = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    row, column = (spin @ turn).T[:2]
    slices(tmp_path / "s", array, (*row, *column), (10.0, 20.0, 30.0))
    data, about, _ = readers_writers.read_layers(str(tmp_path / "s"))[0]
    layer = Labels((np.asarray(data) == 57).astype(np.uint8), **{k: v for k, v in about.items() if k in PLACE})
    (saved,) = readers_writers.write_labels(str(tmp_path / "m.dcm"), *layer.as_layer_data_tuple()[:2])
    found = highdicom.seg.segread(saved).get_volume(combine_segments=True)
    k, r, c = np.argwhere(array == 57)[0]
    place = np.array([10, 20, 30]) + row * 0.8 * c + column * 0.9 * r + np.cross(row, column) * 4 * k
    assert (found.affine @ [*np.argwhere(found.array)[0], 1])[:3] == pytest.approx(place, abs=1e-3)
    assert layer.data_to_world(np.argwhere(layer.data)[0])[::-1] == pytest.approx(place, abs=1e-3)
    assert found.array.sum() == 1


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_a_voxel_lies_at_its_patient_position(make_napari_viewer, tmp_path, array, angle):
    viewer = make_napari_viewer()
    path = save(tmp_path / "head.nii.gz", array, turned(angle))
    (layer,) = viewer.open(path, plugin="napari-unet-tumour")
    for value in (0, 57, 209):
        voxel = np.argwhere(array == value)[0]
        index = np.argwhere(np.asarray(layer.data) == value)[0]
        right, front, up = (turned(angle) @ [*voxel, 1])[:3]
        assert layer.data_to_world(index) == pytest.approx([up, -front, -right], abs=1e-4)
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    assert layer.axis_labels == ("z", "y", "x")
    assert layer.name == "head"


def test_the_mouse_reads_the_value_of_the_voxel_under_it(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(save(tmp_path / "head.nii", array, turned(0)), plugin="napari-unet-tumour")
    for value in (3, 150):
        index = np.argwhere(np.asarray(layer.data) == value)[0]
        position = layer.data_to_world(index)
        viewer.dims.set_point(range(3), position)
        assert layer.get_value(position, world=True) == value
        assert np.asarray(layer._slice.image.raw)[tuple(index[1:])] == value


def test_masks_open_as_labels_and_scans_as_images(tmp_path, array):
    binary = (array > 99).astype(np.float64)
    names = {"Pre_Mask": "labels", "seg": "labels", "tumour-label-2": "labels", "Unmasked": "image", "head": "image"}
    for name, kind in names.items():
        save(tmp_path / f"{name}.nii.gz", binary, turned(0))
        (found,) = readers_writers.read_layers(str(tmp_path / f"{name}.nii.gz"))
        assert found[2] == kind, name
    save(tmp_path / "mask.nii.gz", binary * 0.5, turned(0))
    assert readers_writers.read_layers(str(tmp_path / "mask.nii.gz"))[0][2] == "image"
    marked = nibabel.Nifti1Image(binary.astype(np.uint8), turned(0))
    marked.header.set_intent("label")
    nibabel.save(marked, tmp_path / "other.nii")
    assert readers_writers.read_layers(str(tmp_path / "other.nii"))[0][2] == "labels"


def test_a_mask_saved_from_the_viewer_lies_on_its_source(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    path = save(tmp_path / "seg.nii.gz", (array > 99).astype(np.uint8), turned(0.0))
    (layer,) = viewer.open(path, plugin="napari-unet-tumour")
    layer.data[0, 0, 0] = 7
    (saved,) = viewer.layers.save(str(tmp_path / "out.nii.gz"), plugin="napari-unet-tumour")
    back = nibabel.load(saved)
    np.testing.assert_array_equal(back.affine, nibabel.load(path).affine)
    assert np.asarray(back.dataobj)[0, 0, 0] == 7


def test_a_labels_layer_of_another_hand_is_written_by_its_transforms(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    scan = read(save(tmp_path / "head.nii", array, turned(0)))
    mask = (np.asarray(scan.array) % 5 == 0).astype(np.int64)
    viewer.add_labels(mask, affine=scan.affine, units="mm", name="mine")
    (saved,) = viewer.layers.save(str(tmp_path / "m.nii.gz"), plugin="napari-unet-tumour")
    back = read_mask(saved)
    np.testing.assert_array_equal(back.array, mask)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-4)
    assert back.units == "mm"


def test_a_layer_that_was_moved_is_written_where_it_is_now(tmp_path, array):
    data, meta, _ = readers_writers.read_layers(str(save(tmp_path / "seg.nii", array.astype(np.uint8), turned(0))))[0]
    assert geometry.scan_of(data, meta).extra
    moved = {**meta, "translate": tuple(np.add(meta["translate"], (3, 0, 0)))}
    scan = geometry.scan_of(data, moved)
    assert not scan.extra
    assert scan.world[0, 3] == pytest.approx(meta["translate"][0] + 3)


def test_flat_labels_are_written(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    viewer.add_labels(np.eye(5, dtype=int))
    for suffix in (".png", ".tif", ".nii"):
        (saved,) = viewer.layers.save(str(tmp_path / f"m{suffix}"), plugin="napari-unet-tumour")
        np.testing.assert_array_equal(np.asarray(read_mask(saved).array).reshape(5, 5) > 0, np.eye(5) > 0, suffix)


def test_the_samples_open(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-unet-tumour", "head")
    viewer.open_sample("napari-unet-tumour", "head-with-truth")
    image, again, truth = viewer.layers
    np.testing.assert_array_equal(image.data, again.data)
    np.testing.assert_array_equal(truth.data, phantom()[1])
    np.testing.assert_allclose(truth.scale, image.scale)
    assert tuple(viewer.dims.axis_labels) == ("z", "y", "x")


def test_colours_channels_and_time_open(make_napari_viewer):
    viewer = make_napari_viewer()
    places = np.diag([5.0, 0.9, 0.8, 1.0])
    cases = [
        (Scan(np.zeros((4, 5, 3), np.uint8), "yxc"), 1),
        (Scan(np.zeros((2, 4, 5, 3), np.uint8), "zyxc", places, "mm"), 1),
        (Scan(np.zeros((2, 2, 4, 5), np.uint8), "czyx", places, "mm"), 2),
        (Scan(np.zeros((2, 3, 4, 5), np.float32), "tzyx", places, "mm"), 1),
    ]
    for scan, count in cases:
        data, about, kind = readers_writers.layer_of(scan)
        added = getattr(viewer, f"add_{kind}")(data, **about)
        added = added if isinstance(added, list) else [added]
        assert len(added) == count
        assert added[0].scale[-2:] == pytest.approx(scan.spacing[-2:])
        viewer.layers.clear()


def test_contrast_is_robust_and_the_scanners_window_wins_where_the_pixels_can_be_seen():
    values = np.random.default_rng(0).normal(100, 10, (10, 64, 64))
    values[0, 0, 0], values[0, 0, 1] = 1e9, np.nan
    low, high = readers_writers.contrast(Scan(values, "zyx"))
    assert 60 < low < 90 < 110 < high < 150
    assert readers_writers.contrast(Scan(values, "zyx", extra={"window": (100.0, 80.0)})) == (60.0, 140.0)
    assert readers_writers.contrast(Scan(values, "zyx", extra={"window": (40.0, 80.0)})) == (low, high), "all white"
    assert readers_writers.contrast(Scan(np.full((3, 3), 4), "yx")) == (4.0, 5.0)
    assert readers_writers.contrast(Scan(np.full((3, 3), np.nan), "yx")) == (0.0, 1.0)


def test_metadata_says_where_a_layer_comes_from(tmp_path, array):
    path = save(tmp_path / "head.nii", array, turned(0))
    about = readers_writers.read_layers(str(path))[0][1]["metadata"]
    assert (about["source"], about["units"], about["orientation"]) == (str(path), "mm", "SAL")


def slices(folder, array, orientation, start=(0.0, 0.0, 0.0), **more):
    """Write a DICOM series along the normal of `orientation`, 4 mm apart."""
    import warnings

    import pydicom

    example = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    normal = np.cross(orientation[:3], orientation[3:])
    folder.mkdir(exist_ok=True)
    series = pydicom.uid.generate_uid()
    for n, plane in enumerate(array):
        example.Rows, example.Columns = plane.shape
        example.SeriesInstanceUID, example.SOPInstanceUID = series, pydicom.uid.generate_uid()
        example.PixelSpacing, example.SliceThickness = [0.9, 0.8], 4
        example.RescaleIntercept, example.SeriesDescription = 0, "brain"
        example.ImageOrientationPatient = list(orientation)
        example.ImagePositionPatient = list(np.add(start, normal * 4 * n))
        example.PixelData = plane.tobytes()
        for key, value in more.items():
            setattr(example, key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example.save_as(folder / f"{n}.dcm")


def test_a_dicom_folder_shows_the_slices_as_they_were_taken(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    for number, orientation in enumerate([(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)]):
        folder = tmp_path / str(number)
        slices(folder, array, orientation, (10.0, 20.0, 30.0), WindowCenter=50, WindowWidth=100)
        (layer,) = viewer.open(folder, plugin="napari-unet-tumour")
        assert (layer.name, layer.metadata["modality"]) == ("brain", "CT")
        assert tuple(layer.contrast_limits) == (0.0, 100.0)
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        for k, r, c in ((0, 0, 0), (3, 2, 5)):
            index = np.argwhere(np.asarray(layer.data) == array[k, r, c])[0]
            place = np.array([10, 20, 30]) + row * 0.8 * c + column * 0.9 * r + np.cross(row, column) * 4 * k
            assert layer.data_to_world(index) == pytest.approx(place[::-1], abs=1e-3)
        assert sorted(np.asarray(layer._slice.image.raw).shape) == [6, 7]
        viewer.layers.clear()


def test_a_mask_is_saved_as_dicom_seg_beside_its_series(make_napari_viewer, tmp_path, array):
    slices(tmp_path / "s", array, (1, 0, 0, 0, 1, 0))
    data, about, _ = readers_writers.read_layers(str(tmp_path / "s"))[0]
    mask = (np.asarray(data) > 150).astype(np.uint8)
    readers_writers.write_labels(str(tmp_path / "m.dcm"), mask, about)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(tmp_path / "m.dcm", plugin="napari-unet-tumour")
    assert type(layer).__name__ == "Labels"
    assert np.asarray(layer.data).sum() == mask.sum()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_an_oblique_scan_can_be_straightened_to_draw_on_and_is_saved_where_it_lies(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    path = save(tmp_path / "head.nii.gz", array, turned(0.3))
    (image,) = viewer.open(path, plugin="napari-unet-tumour")
    before = image.data_to_world((3, 2, 1))
    assert "affine" in readers_writers.read_layers(str(path))[0][1]
    geometry.straighten()
    np.testing.assert_array_equal(image.affine.affine_matrix, np.eye(4))
    np.testing.assert_allclose(image.scale, (5.0, -0.8, 0.9), atol=1e-5)
    mask = viewer.add_labels(np.zeros(image.data.shape, np.uint8), scale=image.scale, translate=image.translate)
    viewer.dims.set_point(range(3), image.data_to_world((2, 0, 0)))
    mask.selected_label, mask.brush_size = 1, 1
    mask.paint(mask.world_to_data(image.data_to_world((2, 4, 3))), 1)
    assert np.argwhere(mask.data).tolist() == [[2, 4, 3]]
    (saved,) = readers_writers.write_labels(str(tmp_path / "m.nii.gz"), *mask.as_layer_data_tuple()[:2])
    back = nibabel.load(saved)
    np.testing.assert_array_equal(back.affine, nibabel.load(path).affine)
    geometry.straighten()
    assert image.data_to_world((3, 2, 1)) == pytest.approx(before)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_cropped_mask_keeps_its_place_on_the_scan_that_is_straightened(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    there = turned(0.3)
    viewer.open(save(tmp_path / "head.nii.gz", array, there), plugin="napari-unet-tumour")
    crop = there.copy()
    crop[:3, 3] = (there @ [1, 2, 3, 1])[:3]
    path = save(tmp_path / "head_mask.nii.gz", (array > 99)[1:, 2:, 3:].astype(np.uint8), crop)
    viewer.open(path, plugin="napari-unet-tumour")
    image, mask = viewer.layers
    for turn in range(3):
        np.testing.assert_allclose(mask.data_to_world((1, 1, 1)), image.data_to_world((4, 3, 2)), atol=1e-4)
        (saved,) = readers_writers.write_labels(str(tmp_path / f"{turn}.nii"), *mask.as_layer_data_tuple()[:2])
        np.testing.assert_allclose(nibabel.load(saved).affine, crop, atol=1e-4)
        geometry.straighten()


def test_a_mask_made_for_a_layer_is_saved_as_dicom_seg(make_napari_viewer, tmp_path, array):
    slices(tmp_path / "s", array, (1, 0, 0, 0, 1, 0))
    viewer = make_napari_viewer()
    (image,) = viewer.open(tmp_path / "s", plugin="napari-unet-tumour")
    mask = viewer.add_labels(
        (np.asarray(image.data) > 99).astype(np.uint8), scale=image.scale, translate=image.translate
    )
    mask.metadata = {"napari-unet-tumour": {"image_layer": str(image.unique_id), "model": "any"}}
    (saved,) = viewer.layers[1:].save(str(tmp_path / "m.dcm"), plugin="napari-unet-tumour")
    assert read_mask(saved).array.sum() == mask.data.sum()


@pytest.mark.parametrize(
    ("chosen", "suffix", "kind"),
    [("RT Structure Set", ".rtstruct.dcm", "RTSTRUCT"), ("DICOM label map", ".labelmap.dcm", "SEG")],
)
def test_file_save_writes_the_kind_that_is_chosen_there(
    make_napari_viewer, tmp_path, array, monkeypatch, chosen, suffix, kind
):
    import pydicom
    from qtpy.QtWidgets import QFileDialog

    slices(tmp_path / "s", array, (1, 0, 0, 0, 1, 0))
    viewer = make_napari_viewer()
    (image,) = viewer.open(tmp_path / "s", plugin="napari-unet-tumour")
    drawn = np.zeros(image.data.shape, np.uint8)
    drawn[1:4, 1:5, 2:6] = 1
    mask = viewer.add_labels(drawn, scale=image.scale, translate=image.translate, units=image.units)

    for typed in ("m", "m.dcm", f"m{suffix}"):

        def choose(*args, filter, typed=typed, **more):
            return str(tmp_path / typed), next(one for one in filter.split(";;") if chosen in one)

        monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
        viewer.layers.selection = {mask}
        viewer.window._qt_viewer._save_layers_dialog(selected=True)
        path = tmp_path / f"m{suffix}"
        assert pydicom.dcmread(path).Modality == kind
        (back,) = viewer.open(path, plugin="napari-unet-tumour")
        assert isinstance(back, Labels)
        # What is cropped to the drawn slices lies where it was drawn.
        at = [back.data_to_world(index) for index in np.argwhere(back.data)]
        np.testing.assert_allclose(at, [image.data_to_world(index) for index in np.argwhere(drawn)], atol=1e-3)
        viewer.layers.remove(back)
        path.unlink()


def test_several_series_are_chosen_by_the_person(make_napari_viewer, tmp_path, array, monkeypatch):
    from qtpy.QtWidgets import QInputDialog

    slices(tmp_path / "a", array, (1, 0, 0, 0, 1, 0))
    slices(tmp_path / "b", array[:3], (1, 0, 0, 0, 1, 0), SeriesDescription="short")
    viewer = make_napari_viewer()
    for answer, names in ((1, ["short"]), (2, ["brain", "short"]), (None, [])):
        monkeypatch.setattr(QInputDialog, "getItem", lambda *args, pick=answer: (args[3][pick or 0], pick is not None))
        added = viewer.open(tmp_path, plugin="napari-unet-tumour")
        assert [layer.name for layer in added] == names
        viewer.layers.clear()


def test_what_is_odd_about_a_series_is_said(make_napari_viewer, tmp_path, array):
    from napari.utils.notifications import notification_manager

    slices(tmp_path / "s", array, (1, 0, 0, 0, 1, 0))
    (tmp_path / "s" / "2.dcm").unlink()
    viewer = make_napari_viewer()
    before = len(notification_manager.records)
    viewer.open(tmp_path / "s", plugin="napari-unet-tumour")
    said = [record.message for record in list(notification_manager.records)[before:]]
    assert said == ["brain: 1 slice is missing and shown empty"]


def test_what_cannot_be_opened_is_left_to_others_or_named(tmp_path):
    assert readers_writers.get_reader(str(tmp_path / "a.xyz")) is None
    assert readers_writers.get_reader(str(tmp_path)) is readers_writers.read_layers
    (tmp_path / "cut.nii").write_bytes(b"x" * 50)
    with pytest.raises(ScanError, match=r"cut\.nii"):
        readers_writers.read_layers(str(tmp_path / "cut.nii"))
    with pytest.raises(OutputError, match="grey image layer"):
        readers_writers.write_image(str(tmp_path / "a.nii"), np.zeros((4, 4, 3)), {"rgb": True})


def test_a_folder_of_slices_opens(tmp_path):
    for n in range(3):
        Image.fromarray(np.full((4, 5), n, np.uint8)).save(tmp_path / f"{n}.png")
    ((data, _, kind),) = readers_writers.get_reader(str(tmp_path))(str(tmp_path))
    assert (data.shape, kind) == ((3, 4, 5), "image")


NAMES = (
    "IM_0001",
    "IMG00001",
    "IM-0001-0001",
    "MR.1.2.840.113.5",
    "1.2.840.113619.2.5",
    "E1.MR",
    "slice",
    "I1",
    "a.IMA",
)


def test_files_named_by_scanners_and_archives_open(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        slices(folder, array[:1], (1, 0, 0, 0, 1, 0))
        (folder / "0.dcm").rename(folder / name)
        (layer,) = viewer.open(str(folder / name), plugin=None)
        np.testing.assert_array_equal(layer.data, array[:1], name)


def test_selected_slices_of_a_series_open_as_one_layer(make_napari_viewer, tmp_path, array):
    viewer = make_napari_viewer()
    for stack, suffix in itertools.product((True, False), (".dcm", "")):
        here = tmp_path / f"{stack}{suffix}"
        here.mkdir()
        slices(here / "s", array, (1, 0, 0, 0, 1, 0))
        slices(here / "t", array[:2], (1, 0, 0, 0, 1, 0), SeriesDescription="other")
        folders = [sorted((here / name).iterdir()) for name in "st"]
        one, other = ([str(file.rename(file.with_suffix(suffix))) for file in files] for files in folders)
        added = viewer.open(one, plugin="napari-unet-tumour", stack=stack)
        assert [layer.data.shape for layer in added] == [array.shape]
        both = viewer.open(one[:3] + other, plugin="napari-unet-tumour", stack=stack)
        assert [len(layer.data) for layer in both] == [3, 2]
        assert len(viewer.open(one[2], plugin="napari-unet-tumour")) == 1
        viewer.layers.clear()
