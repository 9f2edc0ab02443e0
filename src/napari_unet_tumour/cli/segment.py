"""segment SCAN...: masks of many scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet_tumour import shelf
from napari_unet_tumour.cli._flags import add_model, add_settings, settings_of
from napari_unet_tumour.cli._show import count, meter, say, warn
from napari_unet_tumour.errors import JobError, ModelError, OutputError, ScanError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from napari_unet_tumour.api.many import Large, Network, Refused, Segmented, Work
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.cli._flags import Commands
    from napari_unet_tumour.cli._outputs import Outputs
    from napari_unet_tumour.cli._show import Meter
    from napari_unet_tumour.settings import SegmentSettings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "segment",
        help="outline the tumour in scans",
        description="Write SCAN_mask for every scan. One that fails is named, the others are done, exit code 1. "
        "For several scans summary.csv says how each went; a second run does only what is not finished.",
    )
    command.add_argument("scans", nargs="+", metavar="SCAN", help="a file, a pattern such as '*.nii.gz', or a folder")
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
    command.add_argument("--probability", action="store_true", help="write SCAN_probability too, one file a label")
    command.add_argument(
        "--workers", type=int, default=1, metavar="N", help="local processes that share the scans (default: 1)"
    )
    add_model(command)
    add_settings(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.cli import _files
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.cli._outputs import Outputs

    paths = _files.expand(args.scans)
    entry = shelf.find(args.model)
    settings = settings_of(args, entry.spec)
    suffix = _files.suffix_for(args.format)
    out = _files.ready_folder(args.out)
    targets = _files.targets(paths, out, suffix)
    outputs = {path: Outputs(target, entry.spec.labels, args.probability) for path, target in targets.items()}
    cohort = Cohort(out, outputs, entry, settings, axis=args.axis)
    with meter(len(paths), "scan") as shown, cohort.summary():
        shown.before(len(paths) - len(cohort.left))
        if cohort.left:
            network = choose_network(entry, settings, args)
            shown.where = network.where
            shown.start()
            _segment_all(cohort, args.axis, network, settings, shown)
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


def _segment_all(cohort: Cohort, axis: int | None, network: Network, settings: SegmentSettings, shown: Meter) -> None:
    """Segment and write what is left; a scan that fails is named on stderr."""
    from napari_unet_tumour.api.many import iter_segment_apart, iter_segment_many, read_ahead

    inputs = {path.resolve() for path in cohort.outputs}

    def load(path: Path) -> Work[Path]:
        cohort.look(path)
        return _load(path, cohort.outputs[path], inputs, axis)

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


def _load(path: Path, outputs: Outputs, inputs: set[Path], axis: int | None) -> Work[Path]:
    from napari_unet_tumour import scans
    from napari_unet_tumour.api.many import Work
    from napari_unet_tumour.api.masking import layout_for

    for one in (outputs.mask, *outputs.probabilities()):
        if one.resolve() in inputs:
            raise ScanError(f"{path.name} would get its result written over the input {one}: choose another --out")
    scan = scans.read(path)
    for note in scan.extra.get("notes", ()):
        warn(f"note: {path}: {note}")
    layout = layout_for(scan, axis)
    if outputs.mask.suffix == ".dcm" and "dicom" not in scan.extra:
        raise ScanError(f"{path.name} is no DICOM series, so it cannot have a DICOM-SEG: choose --format nifti")
    if outputs.mask.suffix == ".png" and len(layout.mask_shape) > 2:
        raise ScanError(
            f"{path.name} has {count(layout.planes, 'slice')}, a PNG holds one: choose --format nifti or tiff"
        )
    return Work(path, scan, layout)
