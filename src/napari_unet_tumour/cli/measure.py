"""measure: print a lesion report of a scan and its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.cli._options import add_series
from napari_unet_tumour.cli._output import print_line, table, warn
from napari_unet_tumour.models import registry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.measure import Comparison, Report
    from napari_unet_tumour.scans.scan import Scan


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "measure",
        help="volume, diameters and brightness of every lesion of a mask",
        description="Measure every lesion (connected in 3D) of a mask: volume, longest diameters within a slice, "
        "brightness and position; in ml and mm if the scan has a spacing, else in pixels. "
        "Research use only: this is not a medical device.",
    )
    command.add_argument("scan", metavar="SCAN", help="the scan: a picture, a NIfTI file or a folder")
    command.add_argument("mask", metavar="MASK", help="its mask; a mask on another grid is resampled by position")
    command.add_argument("--csv", metavar="OUT", help="write a row per lesion and per label as CSV")
    command.add_argument("--json", metavar="OUT", help="write everything as JSON, with the ends of the diameters")
    command.add_argument("--html", metavar="OUT", help="write a report with a picture of each lesion, as one HTML file")
    command.add_argument(
        "--sr",
        metavar="OUT.dcm",
        help="write a DICOM structured report, and beside it OUT_seg.dcm with a segment per lesion; for DICOM scans",
    )
    command.add_argument("--earlier", metavar="MASK", help="compare with this earlier mask (on its own grid)")
    command.add_argument(
        "--axis", type=int, metavar="N", help="array axis of the slices (default: the largest spacing)"
    )
    add_series(command)
    command.add_argument("--pixels", action="store_true", help="count pixels, if the file's spacing is wrong")
    command.add_argument(
        "--model", metavar="NAME|FILE", help="the model that made the mask: recorded, and its label names are used"
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour import measure, scans
    from napari_unet_tumour.cli._paths import ready_file
    from napari_unet_tumour.postprocess.enhancing_part import NAME

    targets = {kind: ready_file(getattr(args, kind)) for kind in ("csv", "json", "html", "sr")}
    options: dict[str, Any] = {"slice_axis": args.axis, "units": "pixel" if args.pixels else None}
    if args.model:
        entry = registry.find(args.model)
        options |= {"labels": entry.spec.labels, "model": entry.name, "model_hash": entry.hash}
    scan = scans.read(args.scan, args.series)
    if targets["sr"]:
        measure.check_dicom_sr(targets["sr"], scan)
    mask = scans.read_mask(args.mask, contours_on=scan)
    if NAME in mask.extra.get("names", ()):  # the model's own name is that of the whole
        options["labels"] = mask.extra["names"]
    report = measure.measure(mask, scan, **options)
    change = None
    if args.earlier:
        old = scans.read_mask(args.earlier)
        # The earlier mask has no scan here: it is measured with its own geometry and without brightness.
        earlier = measure.measure(old, **options | {"slice_axis": _same_axis(args.axis, report.axes, old.axes)})
        change = measure.compare(report, earlier)
    _write(targets, report, change, mask, scan)
    _print(report, change)
    return 0


def _write(
    targets: Mapping[str, Path | None], report: Report, change: Comparison | None, mask: Scan, scan: Scan
) -> None:
    """Write the files that are asked for."""
    from napari_unet_tumour import measure
    from napari_unet_tumour.measure.geometry import image_of
    from napari_unet_tumour.scans.placement import put_on_scan

    if targets["csv"]:
        measure.write_csv(targets["csv"], report, change)
    if targets["json"]:
        measure.write_json(targets["json"], report, change)
    placed = put_on_scan(mask, scan).mask if targets["html"] or targets["sr"] else mask
    if targets["html"]:
        measure.write_html(targets["html"], report, placed, image_of(scan, placed.array, placed.name), change)
    if targets["sr"]:
        written = measure.write_dicom_sr(targets["sr"], report, placed, scan, change)
        print_line(f"written: {', '.join(str(one) for one in written)}")


def _same_axis(axis: int | None, axes: str, others: str) -> int | None:
    """Return the axis of another array with the same letter; None without one, or without an axis."""
    letter = "" if axis is None else axes[axis]
    return others.index(letter) if letter and letter in others else None


def _print(report: Report, change: Comparison | None) -> None:
    length, volume = report.units, report.volume_units
    frames = bool(report.lesions) and report.lesions[0].frame != ()
    head = (
        "lesion",
        "label",
        f"volume ({volume})",
        f"longest ({length})",
        "perpendicular",
        "product",
        "slices",
        "mean",
    )
    rows = [
        (str(o.number), o.name + f" at {o.frame}" * frames, *_numbers(o.volume, o.longest, o.perpendicular, o.product),
         str(o.slices), *_numbers(o.brightness.mean))
        for o in report.lesions
    ]  # fmt: skip
    if rows:
        table(head, rows)
    for total in report.totals:
        print_line(f"{total.name}: {plural(total.lesions, 'lesion')}, {_numbers(total.volume)[0]} {volume}")
    if not rows:
        print_line("no lesion in the mask")
    for one in change.changes if change else ():
        figures = f"volume {_percent(one.volume_change)}, product {_percent(one.product_change)}: {one.category}"
        print_line(f"{one.name} since {change.earlier_mask if change else ''}: {figures}")
    for note in (*report.notes, *(change.notes if change else ()), *([change.caveat] if change else [])):
        warn(f"note: {note}")


def _numbers(*values: float | None) -> list[str]:
    return ["-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.4g}" for value in values]


def _percent(value: float | None) -> str:
    return "new" if value is None else f"{value:+.0f} %"
