import numpy as np
import pytest

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure import compare, measure
from napari_unet_tumour.measure.compare import CAVEAT, category_of


def box(rows, columns, label=1, shape=(3, 60, 60)):
    mask = np.zeros(shape, np.uint8)
    mask[1, 2 : 2 + rows, 2 : 2 + columns] = label
    return mask


def report(mask, **options):
    return measure(mask, **({"spacing": (1, 1, 1), "labels": ("background", "tumour")} | options))


@pytest.mark.parametrize(
    ("before", "now", "category"),
    [
        (400, 400, "stable disease"),
        (400, 200, "partial response"),
        (400, 200.1, "stable disease"),
        (400, 500, "progressive disease"),
        (400, 499.9, "stable disease"),
        (400, 0, "complete response"),
        (0, 0, "no lesion"),
        (0, 1, "progressive disease"),
    ],
)
def test_the_category_that_the_figures_give(before, now, category):
    assert category_of(before, now) == category


def test_volume_and_product_changes_in_per_cent():
    found = compare(report(box(20, 40)), report(box(40, 40), mask_name="before"))
    (change,) = found.changes
    assert (change.name, change.lesions_before, change.lesions_now) == ("tumour", 1, 1)
    assert (change.volume_before, change.volume_now, change.volume_change) == pytest.approx((1.6, 0.8, -50))
    products = [report(box(rows, 40)).lesions[0].product for rows in (40, 20)]
    assert [change.product_before, change.product_now] == pytest.approx(products)
    assert change.product_change == pytest.approx(100 * (products[1] / products[0] - 1))
    assert (found.earlier_mask, found.caveat) == ("before", CAVEAT)
    assert "not a medical device" in CAVEAT


def test_gone_and_new_lesions():
    empty = report(np.zeros((3, 60, 60), np.uint8))
    gone = compare(empty, report(box(20, 20))).changes[0]
    assert (gone.category, gone.volume_change, gone.product_change) == ("complete response", -100, -100)
    new = compare(report(box(20, 20)), empty).changes[0]
    assert (new.category, new.volume_change, new.product_change) == ("progressive disease", None, None)
    assert compare(empty, empty).changes[0].category == "no lesion"


def test_more_lesions_than_before_are_noted():
    two = box(20, 20)
    two[1, 40:50, 40:50] = 1
    assert "new lesion is progression" in compare(report(two), report(box(20, 20))).notes[0]
    assert compare(report(box(20, 20)), report(two)).notes == ()


def test_at_most_five_lesions_are_added_up():
    mask = np.zeros((3, 60, 60), np.uint8)
    for i in range(7):
        mask[1, 8 * i : 8 * i + 4, 1 : 5 + i] = 1
    found = report(mask)
    largest = sorted((one.product for one in found.lesions), reverse=True)[:5]
    assert found.totals[0].product_sum == pytest.approx(sum(largest))


def test_every_label_is_compared_even_if_only_one_mask_has_it():
    found = compare(report(box(20, 20, label=2)), report(box(10, 10)))
    assert [(c.label, c.category) for c in found.changes] == [(1, "complete response"), (2, "progressive disease")]


def test_other_grids_compare_and_other_units_do_not():
    earlier = report(box(20, 20), spacing=(2, 0.5, 0.5))
    assert compare(report(box(20, 20)), earlier).changes[0].volume_change == pytest.approx(100)
    with pytest.raises(ScanError, match="measured in pixels"):
        compare(report(box(20, 20)), measure(box(20, 20)))
    assert "same pixel size" in compare(measure(box(9, 9)), measure(box(9, 9))).notes[0]
