"""segment SCAN...: outline the tumour in scans and write the masks."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.cli._options import add_model, add_series, add_settings, settings_of
from napari_unet_tumour.cli._output import meter, print_line, warn
from napari_unet_tumour.errors import JobError, ModelError, OutputError, ScanError
from napari_unet_tumour.models import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_unet_tumour.api.batch import ScanFailed, ScanPredictor, Segmented, TooLarge
    from napari_unet_tumour.api.scan_job import Finished
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.cli._output import ProgressMeter
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings

    Result = Segmented[Path] | ScanFailed[Path] | TooLarge[Path] | Finished

Made = TypeVar("Made")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "segment",
        help="outline the tumour in scans",
        description="Write SCAN_mask for every scan. If a scan fails, its error is printed, the others are segmented, "
        "and the exit code is 1. For several scans, summary.csv lists the results, and a second run only segments "
        "what is not finished.",
    )
    command.add_argument("scans", nargs="*", metavar="SCAN", help="a file, a pattern such as '*.nii.gz', or a folder")
    command.add_argument(
        "--channels", nargs="+", action="append", default=[], type=_channel, metavar="NAME=FILE",
        help="one scan in several files, for a model with several channels, e.g. T1=a.nii.gz FLAIR=b.nii.gz; the mask "
        "has the grid of the first file; repeat for further scans"
    )  # fmt: skip
    command.add_argument("--out", default=".", metavar="DIR", help="where the masks go (default: the current folder)")
    command.add_argument(
        "--format",
        choices=("nifti", "png", "tiff", "dicom-seg", "dicom-labelmap", "rtstruct", "zarr"),
        help="file format of the masks (default: that of the scan); rtstruct: contours for planning systems",
    )
    command.add_argument(
        "--axis", type=int, metavar="N", help="array axis to slice along; 0, 1, 2 = z, y, x of a volume "
        "(default: the axis with clearly the largest spacing, else the first)"
    )  # fmt: skip
    add_series(command)
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="overwrite files that are not known as results of the same scan",
    )
    command.add_argument("--probability", action="store_true", help="also write SCAN_probability, one file per label")
    command.add_argument(
        "--json", metavar="OUT",
        help="write a row per scan as JSON: mask, lesions, volume, and how much of it looks unlike the training slices"
    )  # fmt: skip
    command.add_argument(
        "--clicks", metavar="CLICKS.csv",
        help="clicks in one scan where a tumour is or is not: columns z, y, x (array indices), "
        "sign (+1, -1) and optionally label; a row with y2 and x2 is a box"
    )  # fmt: skip
    command.add_argument("--outline", action="store_true", help="follow each clicked tumour to the neighbouring slices")
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
    from napari_unet_tumour.api.result_index import ResultIndex
    from napari_unet_tumour.api.scan_job import Outputs, ScanJob
    from napari_unet_tumour.cli import _paths
    from napari_unet_tumour.cli._cohort import Cohort
    from napari_unet_tumour.postprocess.enhancing_part import label_names

    if not args.scans and not args.channels:
        args.refuse("give a SCAN, or --channels NAME=FILE ...")
    entry = registry.find(args.model)
    parts = _parts(args.channels, entry.spec)
    paths = [*_paths.expand(args.scans), *parts]
    settings = settings_of(args, entry.spec)
    if args.clicks and len(paths) > 1:
        args.refuse("--clicks is for one scan: give one SCAN")
    if args.outline and not args.clicks:
        args.refuse("--outline follows what was clicked: give --clicks CLICKS.csv too")
    as_json = _paths.ready_file(args.json)
    suffix = _paths.suffix_for(args.format)
    out = _paths.ready_folder(args.out)
    written = ResultIndex(out)
    targets = _paths.targets(paths, out, suffix, written.owners())
    scan_jobs = {
        path: ScanJob(
            path, Outputs(target, label_names(entry.spec, settings.part), args.probability), parts.get(path, {}),
            args.axis, args.series, len(paths) > 1 or as_json is not None
        )
        for path, target in targets.items()
    }  # fmt: skip
    more = {"axis": args.axis, "series": args.series, "channels": _stamps(parts)}
    cohort = Cohort(out, scan_jobs, entry, settings, written, overwrite=args.overwrite, **more)
    with meter(len(paths), "scan") as shown, cohort.summary():
        shown.before(len(paths) - len(cohort.left))
        if cohort.left:
            network = choose_network(entry, settings, args)
            shown.where = network.where
            shown.start()
            _segment_all(cohort, network, settings, shown, _clicking(args, entry, settings))
    if as_json:
        _write_json(as_json, cohort, settings.part)
    if cohort.failed == len(paths) == 1:
        return 1
    warn(_summary_of(cohort, shown))
    return 1 if cohort.failed else 0


def _write_json(path: Path, cohort: Cohort, part: str) -> None:
    from napari_unet_tumour.cli._paths import write_text

    model = {"name": cohort.entry.name, "hash": cohort.entry.hash}
    write_text(path, json.dumps({"model": model, "part": part, "scans": cohort.rows()}, indent=1, allow_nan=False))


def _summary_of(cohort: Cohort, shown: ProgressMeter) -> str:
    earlier = len(cohort.scan_jobs) - len(cohort.left)
    rest = f", {cohort.failed} failed" if cohort.failed else ""
    rest += f", {earlier} of them before this run" if earlier else ""
    done = f"{plural(shown.scans, 'scan')} done{rest}: {plural(shown.slices, 'slice')} in {shown.seconds:.1f} s"
    return f"{done} ({shown.speed:.1f} slices/s on {shown.where})" if shown.slices else done


def _parts(groups: list[list[tuple[str, str]]], spec: ModelSpec) -> dict[Path, dict[str, Path]]:
    """Return the files by channel of each scan in several files, under the path of its first file."""
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
    """Return name, size and modification time of all files of scans in several files."""
    files = [file for named in parts.values() for file in named.values() if file.exists()]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def choose_network(entry: registry.ModelEntry, settings: SegmentSettings, args: argparse.Namespace) -> ScanPredictor:
    """Return the predictor that the flags ask for: in this process, on local workers, or on a cluster."""
    from napari_unet_tumour.api.batch import cluster_predictor, local_predictor, worker_pool_predictor
    from napari_unet_tumour.api.segment import load_for

    if args.scheduler:
        return cluster_predictor(entry, settings, args.scheduler, insecure=args.insecure)
    if getattr(args, "workers", 1) > 1 and not getattr(args, "clicks", None):
        return worker_pool_predictor(entry, settings, args.workers)
    return local_predictor(load_for(entry, settings), settings)


def _clicking(
    args: argparse.Namespace, entry: registry.ModelEntry, settings: SegmentSettings
) -> Callable[[Result], Result]:
    """Return a function that applies the clicks of --clicks to the result of a scan."""
    from napari_unet_tumour.api.batch import Segmented, TooLarge
    from napari_unet_tumour.api.clicks import read_clicks, sorted_marks, with_clicks
    from napari_unet_tumour.api.segment import load_clicks

    def clicked(one: Result) -> Result:
        if not args.clicks:
            return one
        if isinstance(one, TooLarge):
            raise ScanError(f"{one.work.item.name} is too large for clicks: cut out the part around the tumour first")
        if not isinstance(one, Segmented):
            return one
        work = one.work
        marks = read_clicks(args.clicks, len(work.layout.mask_shape))
        sorted_marks(marks, work.layout, entry.spec)
        model = load_clicks(entry)
        if not entry.spec.clicks:
            warn(f"note: the model {entry.spec.name} takes no clicks: grey values and distances answer them")
        return replace(
            one, found=with_clicks(one.found, marks, work.planes(), work.layout, model, settings, args.outline)
        )

    return clicked


def _segment_all(
    cohort: Cohort,
    network: ScanPredictor,
    settings: SegmentSettings,
    shown: ProgressMeter,
    clicked: Callable[[Result], Result],
) -> None:
    """Segment and write the scans that are left; the errors of failed scans are printed on stderr."""
    from napari_unet_tumour.api.batch import iter_parallel, iter_segment_many, read_ahead

    inputs = {path.resolve() for one in cohort.scan_jobs.values() for path in (one.path, *one.parts.values())}
    load = _checked(cohort, inputs, cohort.load)
    works = read_ahead(cohort.left, load, lambda path: path)
    spec = cohort.entry.spec
    ones: Iterator[Result]
    try:
        if network.workers:
            ones = iter_parallel(cohort.left, _on_workers(cohort, network, settings, inputs), network.workers)
        else:
            ones = iter_segment_many(works, network, settings, spec, shown.update, leave_large=True)
        for one in ones:
            try:
                line, slices = cohort.finish(clicked(one), network, shown)
                print_line(line)
                shown.finish(slices)
            except (ScanError, ModelError, OutputError, JobError) as error:
                cohort.fail(_item(one), _named(_item(one), error))
                warn(f"error: {_named(_item(one), error)}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {shown.scans} of {plural(len(cohort.scan_jobs), 'scan')} done") from None
    finally:
        works.close()


def _checked(cohort: Cohort, inputs: set[Path], act: Callable[[Path], Made]) -> Callable[[Path], Made]:
    """Return `act` with a check that no result of the scan overwrites an input or another file."""

    def check_first(path: Path) -> Made:
        for one in cohort.scan_jobs[path].outputs.files():
            if one.resolve() in inputs:
                raise ScanError(f"{path.name} would get its result written over the input {one}: choose another --out")
        cohort.check_free(path)
        return act(path)

    return check_first


def _on_workers(
    cohort: Cohort, network: ScanPredictor, settings: SegmentSettings, inputs: set[Path]
) -> Callable[[Path], Result]:
    """Return a function that segments a scan on a worker: by path if the worker can read its files, else by array."""
    from napari_unet_tumour import jobs
    from napari_unet_tumour.api.batch import ScanFailed, Segmented, TooLarge, to_segmentation

    spec, entry = cohort.entry.spec, cohort.entry

    def by_arrays(path: Path) -> Result:
        work = cohort.load(path)
        if work.is_large(spec, settings):
            return TooLarge(work)
        return Segmented(work, to_segmentation(network.planes(work.planes()), work.layout, settings, spec))

    def by_file(path: Path) -> Result:
        cohort.claim(path)
        arguments = (str(entry.path), entry.hash, cohort.scan_jobs[path], settings)
        done: Finished | None = jobs.run("segment_file", *arguments, scheduler=network.local_workers, retries=1)
        return TooLarge(cohort.load(path)) if done is None else done

    segment = _checked(cohort, inputs, by_file if network.local_workers else by_arrays)

    def one(path: Path) -> Result:
        try:
            return segment(path)
        except (ScanError, ModelError, OutputError, JobError) as error:
            return ScanFailed(path, error)

    return one


def _item(one: Result) -> Path:
    return one.item if hasattr(one, "item") else one.work.item


def _named(path: Path, error: Exception) -> str:
    """Return the error's message with the full path of the file in front, once."""
    from napari_unet_tumour.api.pairs import stem

    text = str(error)
    for known in (str(path), path.name, stem(path)):
        if text.startswith(f"{known} "):
            return f"{path}{text.removeprefix(known)}"
    return text if str(path) in text else f"{path}: {text}"
