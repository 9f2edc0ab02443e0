"""The report as a page: what stands in it, and pictures that lie right."""

import base64
import io
import re
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour import scans
from napari_unet_tumour.cli import main
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.measure import compare, html_report, measure, write_html
from napari_unet_tumour.measure.key_image import LONGEST, OUTLINE, key_image
from napari_unet_tumour.scans.scan import Scan


def case(affine=None):
    mask = np.zeros((6, 30, 40), np.uint8)
    mask[2:4, 5:11, 22:36] = 1
    mask[5, 20:24, 4:10] = 2
    place = np.diag([5.0, 2, 1, 1]) if affine is None else affine
    place[:3, 3] = 10
    return Scan(mask, "zyx", place, "mm", "mask"), mask * 40.0 + 10


def picture_of(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def pixels(picture, colour):
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)])
    return np.argwhere((np.abs(picture - wanted) < 6).all(axis=-1))


class Checker(HTMLParser):
    """Collects text and sees that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in ("meta", "img", "br") else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(text):
    parser = Checker()
    parser.feed(text)
    assert parser.open == []
    return " ".join(parser.text)


def test_a_page_with_pictures_tables_change_and_origin():
    mask, image = case()
    options = {"labels": ("background", "tumour", "edge <b>"), "model": "t1ce", "model_hash": "abc123"}
    report = measure(mask.array, Scan(image, "zyx", mask.affine, "mm", "head"), **options)
    text = html_report(report, mask, image, compare(report, report))
    read = checked(text)
    for part in (
        "head",
        "t1ce (abc123)",
        "not a medical device",
        "edge <b>",
        "stable disease",
        report.version,
        f"{report.lesions[0].longest:.4g} x ",
    ):
        assert part in read
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(images) == 2
    assert "http" not in text
    assert picture_of(base64.b64decode(images[0])).max() > 100


@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("columns", [1, -1])
def test_pictures_are_seen_as_radiologists_do(rows, columns):
    """Whichever way the array runs: the patient's left is on the right, the back below, with square pixels."""
    mask, image = case(np.diag([5.0, 2.0 * rows, 1.0 * columns, 1]))
    lesion = measure(mask, Scan(image, "zyx", mask.affine, "mm")).lesions[0]
    report = measure(mask)
    picture = picture_of(key_image(report, lesion, mask, image))
    assert picture.shape[:2] == (420, 280)
    outline = pixels(picture, OUTLINE)
    row, column = outline.mean(axis=0)
    front, left = (5 + 11) / 2 / 30, (22 + 36) / 2 / 40
    assert row / 420 == pytest.approx(front if rows > 0 else 1 - front, abs=0.02)
    assert column / 280 == pytest.approx(left if columns > 0 else 1 - left, abs=0.02)
    assert len(pixels(picture, LONGEST)) > 20


def test_a_mask_without_a_place_and_an_empty_one_have_a_page():
    flat = Scan(np.zeros((9, 9), np.uint8), "yx", name="flat")
    assert "No lesion" in checked(html_report(measure(flat), flat))
    flat.array[2:5, 3:7] = 1
    text = checked(html_report(measure(flat), flat))
    assert "pixels" in text


def test_the_command_writes_it_whole_or_not_at_all(tmp_path, capsys):
    mask, image = case()
    for name, array in (("scan", image), ("mask", mask.array)):
        scans.write_mask(tmp_path / f"{name}.nii.gz", array, mask, ())
    turned = nibabel.load(tmp_path / "mask.nii.gz").as_reoriented([[2, 1], [0, -1], [1, 1]])
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    paths = [str(tmp_path / name) for name in ("scan.nii.gz", "turned.nii.gz")]
    assert main(["measure", *paths, "--html", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "turned" in checked(text)
    assert text.count("<img ") == 2
    report = measure(mask)
    with pytest.raises(OutputError, match="cannot be written"):
        write_html(tmp_path / "r.html" / "x.html", report, mask)
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == text
