"""segment SCAN...: masks of many scans."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour import shelf
from napari_unet_tumour.cli._flags import add_model, add_series, add_settings, settings_of
from napari_unet_tumour.cli._show import count, meter, say, warn
from napari_unet_tumour.errors import JobError, ModelError, OutputError, ScanError

if TYPE_CHECKING:
    from napari_unet_tumour.api.many import Large, Network, Refused, Segmented, Work
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.cli._flags import Commands
    from napari_unet_tumour.cli._outputs import Outputs
    from napari_unet_tumour.cli._show import Meter
    from napari_unet_tumour.layout import Layout
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.spec import ModelSpec


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "segment",
        help="outline the tumour in scans",
        description="Write SCAN_mask for every scan. One that fails is named, the others are done, exit code 1. "
        "For several scans summary.csv says how each went; a second run does only what is not finished.",
    )
    command.add_argument("scans", nargs="*", metavar="SCAN", help="a file, a pattern such as '*.nii.gz', or a folder")
    command.add_argument(
        "--channels", nargs="+", action="append", default=[], type=_channel, metavar="NAME=FILE",
        help="one scan in several files, for a model with several channels, e.g. T1=a.nii.gz FLAIR=b.nii.gz; the mask "
        "lies on the grid of the first; repeat it for further scans"
    )  # fmt: skip
    command.add_argument("--out", default=".", metavar="DIR", help="where the masks go (default: the current folder)")
    command.add_argument(
        "--format",
        choices=("nifti", "png", "tiff", "dicom-seg", "zarr"),
        help="of the masks (default: that of the scan)",
    )
    command.add_argument(
        "--axis", type=int, metavar="N", help="array axis to slice along; 0, 1, 2 = z, y, x of a volume "
        "(default: the one with clearly the largest spacing, else the first)"
    )  # fmt: skip
    add_series(command)
    command.add_argument("--probability", action="store_true", help="write SCAN_probability too, one file a label")
    command.add_argument(
        "--workers", type=int, default=1, metavar="N", help="local processes that share the scans (default: 1)"
    )
    add_model(command)
    add_settings(command)
    command.set_defaults(run=_run, refuse=command.error)


def _channel(text: str) -> tuple[str, str]:
    name, sign, file = text.partition("=")
    if not (name and sign and file):
        raise argparse.ArgumentTypeError(f"'{text}' does not look like NAME=FILE")
    return name, file


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.cli import _files
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.cli._outputs import Outputs

    if not args.scans and not args.channels:
        args.refuse("give a SCAN, or --channels NAME=FILE ...")
    entry = shelf.find(args.model)
    parts = _parts(args.channels, entry.spec)
    paths = [*_files.expand(args.scans), *parts]
    settings = settings_of(args, entry.spec)
    suffix = _files.suffix_for(args.format)
    out = _files.ready_folder(args.out)
    targets = _files.targets(paths, out, suffix)
    outputs = {path: Outputs(target, entry.spec.labels, args.probability) for path, target in targets.items()}
    cohort = Cohort(out, outputs, entry, settings, axis=args.axis, series=args.series, channels=_stamps(parts))
    with meter(len(paths), "scan") as shown, cohort.summary():
        shown.before(len(paths) - len(cohort.left))
        if cohort.left:
            network = choose_network(entry, settings, args)
            shown.where = network.where
            shown.start()
            _segment_all(cohort, Given(entry.spec, parts, args.axis, args.series), network, settings, shown)
    if cohort.failed == len(paths) == 1:
        return 1
    warn(_told(cohort, shown))
    return 1 if cohort.failed else 0


def _told(cohort: Cohort, shown: Meter) -> str:
    earlier = len(cohort.outputs) - len(cohort.left)
    rest = f", {cohort.failed} failed" if cohort.failed else ""
    rest += f", {earlier} of them before this run" if earlier else ""
    done = f"{count(shown.scans, 'scan')} done{rest}: {count(shown.slices, 'slice')} in {shown.seconds:.1f} s"
    return f"{done} ({shown.speed:.1f} slices/s on {shown.where})" if shown.slices else done


@dataclass(frozen=True)
class Given:
    """What is known of the scans beside their paths: the model, the files by channel of some, slice axis, series."""

    spec: ModelSpec
    parts: dict[Path, dict[str, Path]]
    axis: int | None
    series: int | None


def _parts(groups: list[list[tuple[str, str]]], spec: ModelSpec) -> dict[Path, dict[str, Path]]:
    """Return the files of each scan that comes in several, by channel, under the first one's path."""
    from napari_unet_tumour.api.channels import named

    found: dict[Path, dict[str, Path]] = {}
    for group in groups:
        names = [name.casefold() for name, _ in group]
        twice = next((name for name, _ in group if names.count(name.casefold()) > 1), "")
        if twice:
            raise ScanError(f"channel {twice} is given twice in one --channels: give --channels for every scan")
        files = {name: Path(file).expanduser() for name, file in named(dict(group), spec).items()}
        first = next(iter(files.values()))
        if first in found:
            raise ScanError(f"{first} comes first in two --channels: begin with different files")
        found[first] = files
    return found


def _stamps(parts: dict[Path, dict[str, Path]]) -> list[list[str | int]]:
    """Return name, size and time of change of all files of scans in several files."""
    files = [file for named in parts.values() for file in named.values() if file.exists()]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def choose_network(entry: shelf.Entry, settings: SegmentSettings, args: argparse.Namespace) -> Network:
    """Return the network that runs here, on local workers, or on the cluster that the flags name."""
    from napari_unet_tumour import jobs
    from napari_unet_tumour.api.many import network_here, network_there
    from napari_unet_tumour.api.masking import load_model

    if args.scheduler:
        return network_there(entry, settings, args.scheduler, insecure=args.insecure)
    if getattr(args, "workers", 1) > 1:
        return network_there(entry, settings, jobs.crew(args.workers))
    return network_here(load_model(entry.path), settings)


def _segment_all(cohort: Cohort, given: Given, network: Network, settings: SegmentSettings, shown: Meter) -> None:
    """Segment and write what is left; a scan that fails is named on stderr."""
    from napari_unet_tumour.api.many import iter_segment_apart, iter_segment_many, read_ahead

    files = (*cohort.outputs, *(file for files in given.parts.values() for file in files.values()))
    inputs = {path.resolve() for path in files}

    def load(path: Path) -> Work[Path]:
        cohort.look(path)
        return _load(path, cohort.outputs[path], inputs, given)

    works = read_ahead(cohort.left, load, lambda path: path)
    spec = cohort.entry.spec
    try:
        if network.workers:
            ones = iter_segment_apart(cohort.left, load, network, settings, spec)
        else:
            ones = iter_segment_many(works, network, settings, spec.labels, shown.tick, spec)
        for one in ones:
            try:
                line, slices = cohort.finish(one, network, shown)
                say(line)
                shown.finish(slices)
            except (ScanError, ModelError, OutputError, JobError) as error:
                cohort.fail(_item(one), _named(_item(one), error))
                warn(f"error: {_named(_item(one), error)}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {shown.scans} of {count(len(cohort.outputs), 'scan')} done") from None
    finally:
        works.close()


def _item(one: Segmented[Path] | Refused[Path] | Large[Path]) -> Path:
    return one.item if hasattr(one, "item") else one.work.item


def _named(path: Path, error: Exception) -> str:
    """Return the error with the whole path of the file in front, once."""
    from napari_unet_tumour.api.pairs import stem

    text = str(error)
    for known in (str(path), path.name, stem(path)):
        if text.startswith(f"{known} "):
            return f"{path}{text.removeprefix(known)}"
    return text if str(path) in text else f"{path}: {text}"


def _load(path: Path, outputs: Outputs, inputs: set[Path], given: Given) -> Work[Path]:
    from napari_unet_tumour.api.many import Work

    for one in (outputs.mask, *outputs.probabilities()):
        if one.resolve() in inputs:
            raise ScanError(f"{path.name} would get its result written over the input {one}: choose another --out")
    scan, layout = _read(path, given)
    for note in scan.extra.get("notes", ()):
        warn(f"note: {path}: {note}")
    if outputs.mask.suffix == ".dcm" and "dicom" not in scan.extra:
        raise ScanError(f"{path.name} is no DICOM series, so it cannot have a DICOM-SEG: choose --format nifti")
    if outputs.mask.suffix == ".png" and len(layout.mask_shape) > 2:
        raise ScanError(
            f"{path.name} has {count(layout.planes, 'slice')}, a PNG holds one: choose --format nifti or tiff"
        )
    return Work(path, scan, layout)


def _read(path: Path, given: Given) -> tuple[Scan, Layout]:
    """Read a scan, of one file or of a file for each channel, and say how it is sliced."""
    from napari_unet_tumour import scans
    from napari_unet_tumour.api import channels, layout_for

    if path not in given.parts:
        scan = channels.as_channels(scans.read(path, given.series), given.spec)
        return scan, layout_for(scan, given.axis)
    files = channels.read(given.parts[path])
    return channels.stacked(files, given.spec, lambda scan: layout_for(scan, given.axis))
