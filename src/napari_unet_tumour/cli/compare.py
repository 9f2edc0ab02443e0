"""compare: how well two masks of one place agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet_tumour.cli._output import print_line, table, warn

if TYPE_CHECKING:
    import argparse

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.measure import MaskComparison
    from napari_unet_tumour.scans.scan import Scan


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "compare",
        help="Dice, HD95 and volume difference of two masks",
        description="Compare two masks of one place, per label: Dice, HD95 (the 95th percentile of the distance "
        "between the borders) and volumes; in ml and mm where both files know their spacing, else in pixels. The grids "
        "may differ: the masks are brought together by place. Research use only: this is not a medical device.",
    )
    command.add_argument("first", metavar="A", help="a mask, e.g. of the first reader or of an earlier date")
    command.add_argument("second", metavar="B", help="the mask that is compared with it")
    command.add_argument("--csv", metavar="OUT", help="write a row per label as CSV")
    command.add_argument("--json", metavar="OUT", help="write the same as JSON")
    command.add_argument(
        "--difference",
        metavar="OUT",
        help="write where they differ as a mask, e.g. NIfTI: 1 both, 2 only A, 3 only B, 4 both as different labels",
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour import measure, scans
    from napari_unet_tumour.cli._paths import ready_file

    outputs = [ready_file(one) for one in (args.csv, args.json)]
    difference = ready_file(args.difference)
    first, second = _read(args.first, args.second)
    found = measure.compare_masks(first, second)
    for path, suffix in zip(outputs, (".csv", ".json"), strict=True):
        if path:
            measure.write_agreement(path, found, suffix)
    if difference:
        scans.write_mask(difference, found.difference, found.grid, measure.difference_names(found))
    _print(found)
    return 0


def _read(first: str, second: str) -> tuple[Scan, Scan]:
    """Read both masks; contours are filled in on the grid of the other mask."""
    from pathlib import Path

    from napari_unet_tumour import scans
    from napari_unet_tumour.scans.dicom.rtstruct import is_rtstruct

    contours = [Path(one).exists() and is_rtstruct(Path(one)) for one in (first, second)]
    if contours == [True, False]:
        other = scans.read_mask(second)
        return scans.read_mask(first, contours_on=other), other
    one = scans.read_mask(first)
    return one, scans.read_mask(second, contours_on=None if contours[0] else one)


def _print(found: MaskComparison) -> None:
    volume = f"({found.volume_units})"
    head = ("label", "Dice", f"HD95 ({found.units})", f"A {volume}", f"B {volume}", f"B - A {volume}", "change")
    frames = any(one.frame for one in found.rows)
    rows = [
        (
            one.name + f" at {' '.join(map(str, one.frame))}" * frames,
            f"{one.dice:.4f}",
            "-" if one.hd95 is None else f"{one.hd95:.4g}",
            *(f"{size:.4g}" for size in (one.volume_first, one.volume_second, one.difference)),
            "new" if one.difference_percent is None else f"{one.difference_percent:+.1f} %",
        )
        for one in found.rows
    ]
    print_line(f"A: {found.first}\nB: {found.second}")
    if rows:
        table(head, rows)
    else:
        print_line("both masks are empty")
    for note in found.notes:
        warn(f"note: {note}")
