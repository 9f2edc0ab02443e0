"""What a worker is asked for a case of a list, and what its answer changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.api.scan_job import Outputs, ScanJob
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.worklist.store import NEW, SEGMENTED

if TYPE_CHECKING:
    from napari_unet_tumour.api.scan_job import Finished
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.worklist.store import Case, Worklist

TASK = "segment_file"
TOO_LARGE = "too large for memory at once: open it and use Segment"


def task_for(worklist: Worklist, key: str, entry: ModelEntry, part: str | None = None) -> tuple[Any, ...]:
    """Return the arguments of the worker's task `TASK` that writes the network's mask of a case.

    Parameters
    ----------
    part : str, optional
        Which part of the tumour the mask shows, see `SegmentSettings`; by default as the model says.

    Raises
    ------
    OutputError
        There is no room for the mask.
    """
    mask = worklist.network_path(key)
    try:
        mask.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{mask.parent} cannot be written ({error.strerror}): free some space") from error
    settings = SegmentSettings(**entry.spec.defaults | ({} if part is None else {"part": part}))
    job = ScanJob(
        worklist[key].path, Outputs(mask, label_names(entry.spec, settings.part), False), {}, None, None, True
    )
    return str(entry.path), entry.hash, job, settings


def note_segmented(worklist: Worklist, key: str, result: Finished | None) -> Case:
    """Note what a worker has made of a case; one that a person has changed meanwhile keeps its state.

    Raises
    ------
    OutputError
        The list cannot be written.
    """
    if worklist[key].state != NEW:
        return worklist[key]
    if result is None:
        return worklist.update(key, problem=TOO_LARGE)
    row = result.row
    return worklist.update(
        key, state=SEGMENTED, lesions=row["lesions"], volume=row["volume"], volume_units=row["volume_unit"], problem=""
    )
