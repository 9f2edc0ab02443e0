"""The change since an earlier mask, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.measure.types import Total

RESPONSE, PROGRESSION = -50.0, 25.0  # per cent of the sum of products, RANO
CAVEAT = (
    "The category follows from the sums of products in these two masks alone. RANO also asks for the clinical state, "
    "steroids, T2/FLAIR, new lesions and a confirming scan, and measures progression from the smallest earlier sum. "
    "Research use only: not a medical device."
)


@dataclass(frozen=True)
class Change:
    """How one label changed.

    Parameters
    ----------
    label, name, frame
        What is compared.
    lesions_before, lesions_now : int
        Number of lesions.
    volume_before, volume_now, product_before, product_now : float
        In the reports' units; the products are sums over the five largest.
    volume_change, product_change : float or None
        Per cent of the earlier value; None where that was 0.
    category : str
        "complete response", "partial response", "stable disease", "progressive disease" or "no lesion".
    """

    label: int
    name: str
    frame: tuple[int, ...]
    lesions_before: int
    lesions_now: int
    volume_before: float
    volume_now: float
    volume_change: float | None
    product_before: float
    product_now: float
    product_change: float | None
    category: str


@dataclass(frozen=True)
class Comparison:
    """The changes of all labels, the earlier scan and mask, and the limits of the category."""

    changes: tuple[Change, ...]
    earlier_scan: str
    earlier_mask: str
    notes: tuple[str, ...] = ()
    caveat: str = CAVEAT


def compare(now: Report, earlier: Report) -> Comparison:
    """Compare two reports of one patient, label by label.

    Parameters
    ----------
    now, earlier : Report
        Both in millimetres, or both in pixels of the same size.

    Returns
    -------
    Comparison

    Raises
    ------
    ScanError
        If one counts millimetres and the other pixels.
    """
    if (now.units, now.volume_units) != (earlier.units, earlier.volume_units):
        raise ScanError(
            f"the earlier mask is measured in {_units(earlier)} and this one in {_units(now)}: "
            "give both a known spacing, or measure both in pixels"
        )
    before = {(t.frame, t.label): t for t in earlier.totals}
    after = {(t.frame, t.label): t for t in now.totals}
    changes = tuple(_change(before.get(key), after.get(key)) for key in sorted({*before, *after}))
    notes = [f"{c.name}: {c.lesions_before} lesions before, {c.lesions_now} now. {_NEW}" for c in changes if _more(c)]
    if now.units == "pixels":
        notes.append("Sizes are in pixels: the changes hold only if both scans have the same pixel size.")
    return Comparison(changes, earlier.scan, earlier.mask, tuple(notes))


_NEW = "A new lesion is progression whatever the sums say."


def _more(change: Change) -> bool:
    return change.lesions_now > change.lesions_before > 0


def _units(report: Report) -> str:
    return f"{report.units} and {report.volume_units}" if report.units != report.volume_units else report.units


def _change(before: Total | None, now: Total | None) -> Change:
    one = now or before
    assert one is not None
    product_before, product_now = (0.0 if t is None else t.product_sum for t in (before, now))
    volume_before, volume_now = (0.0 if t is None else t.volume for t in (before, now))
    return Change(
        label=one.label,
        name=one.name,
        frame=one.frame,
        lesions_before=0 if before is None else before.lesions,
        lesions_now=0 if now is None else now.lesions,
        volume_before=volume_before,
        volume_now=volume_now,
        volume_change=_percent(volume_before, volume_now),
        product_before=product_before,
        product_now=product_now,
        product_change=_percent(product_before, product_now),
        category=category_of(product_before, product_now),
    )


def _percent(before: float, now: float) -> float | None:
    return 100 * (now - before) / before if before else None


def category_of(before: float, now: float) -> str:
    """Return the RANO category for two sums of products; the limits are inclusive (-50 %, +25 %).

    Examples
    --------
    >>> category_of(400.0, 200.0), category_of(400.0, 500.0), category_of(400.0, 499.0)
    ('partial response', 'progressive disease', 'stable disease')
    """
    change = _percent(before, now)
    if change is None:
        return "progressive disease" if now else "no lesion"
    if not now:
        return "complete response"
    if change <= RESPONSE + 1e-9:
        return "partial response"
    return "progressive disease" if change >= PROGRESSION - 1e-9 else "stable disease"
