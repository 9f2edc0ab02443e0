"""The images that a derived object refers to: slices in files of their own, or frames of files of several."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.scans.dicom import repair

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane
    from napari_unet_tumour.scans.scan import Scan

# Of kinds that have one frame by the standard; files of several frames are found all the same.
_SINGLE = {f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("1", "1.1", "1.1.1", "2", "4", "6.1", "7", "128")}
# The frame of a slice that no file holds.
_NO_FRAME = -1


@dataclass(frozen=True, eq=False)
class SourceImage:
    """What a plane of a mask was drawn on.

    Parameters
    ----------
    header : pydicom.Dataset
        That of a single image, with identifiers of its own; of an enhanced file that of the whole file.
    storage, instance : str
        What the reference says: kind and identifier of the file; "" where a slice is missing in the series.
    frame : int
        Number from 1 in a file of several frames, else 0.
    """

    header: Any
    storage: str
    instance: str
    frame: int = 0

    def refer(self, item: Any) -> Any:
        """Return a copy of a reference that refers to this image."""
        item = copy.deepcopy(item)  # highdicom uses the same items in several sequences
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.storage, self.instance
        if self.frame and self.storage not in _SINGLE:
            item.ReferencedFrameNumber = self.frame
        return item


def source_frames(path: Path, mask: NDArray[Any], scan: Scan) -> tuple[list[DicomPlane], NDArray[Any]]:
    """Return the source series' planes and, in the same order, the mask's (n, rows, columns) as uint8 or uint16.

    A slice that is missing in the series is among them where something is drawn on it.

    Raises
    ------
    OutputError
        The mask holds no labels, or the scan is not read from a DICOM series of one plane a place.
    """
    if mask.dtype.kind not in "iub":
        raise OutputError(f"{path.name}: a DICOM mask holds labels, not probability: choose .nii.gz")
    source = scan.extra.get("dicom")
    if source is None:
        raise OutputError(
            f"{path.name}: {scan.name!r} is no DICOM series, so it cannot have a DICOM mask: choose .nii.gz"
        )
    if source["times"] > 1:
        raise OutputError(f"{path.name}: {scan.name!r} repeats in time: choose .nii.gz for its mask")
    turned = mask.transpose(np.argsort(source["order"])) if "order" in source else mask.reshape(-1, *mask.shape[-2:])
    _check_place(path, [plane for plane in source["planes"] if plane is not None])
    filled = [plane or _stand_in(source, n) for n, plane in enumerate(source["planes"])]
    there = [n for n, plane in enumerate(source["planes"]) if plane is not None or turned[n].any()]
    planes, frames = [filled[n] for n in there], turned[there]
    if planes[0].head is planes[-1].head and all(plane.frame != _NO_FRAME for plane in planes):
        in_file = np.argsort([plane.frame for plane in planes], kind="stable")
        planes, frames = [planes[n] for n in in_file], frames[in_file]
    return planes, np.ascontiguousarray(frames.astype(np.uint16 if frames.max(initial=0) > 255 else np.uint8))


def _check_place(path: Path, planes: list[DicomPlane]) -> None:
    """Raise OutputError where slices have no place or no size, without which a mask of them would mean nothing."""
    placed = all(plane.position is not None and plane.orientation is not None for plane in planes)
    if len(planes) > 1 and not placed:
        raise OutputError(f"{path.name}: the slices of the series have no place in the patient: choose .nii.gz")
    if placed and planes[0].spacing is None:
        raise OutputError(f"{path.name}: the header of the series gives no pixel spacing: choose .nii.gz")


def _stand_in(source: Any, n: int) -> DicomPlane:
    """Return a plane where the series lacks one."""
    first: DicomPlane = next(plane for plane in source["planes"] if plane is not None)
    place = source["lps"][:3, 3] + n * source["lps"][:3, 2]
    return replace(first, frame=_NO_FRAME, position=tuple(place.tolist()))


def source_images(path: Path, planes: Sequence[DicomPlane]) -> list[SourceImage]:
    """Return the image of every plane; raises OutputError, see `repair.read_headers`."""
    from pydicom.uid import generate_uid

    real = [plane for plane in planes if plane.frame != _NO_FRAME]
    headers = repair.read_headers(path, real)
    held = Counter(plane.head.path for plane in real)
    shared = Counter(str(header.SOPInstanceUID) for header in headers.values())
    if len(headers) == 1 and "PerFrameFunctionalGroupsSequence" in headers[real[0].head.path]:
        (header,) = headers.values()
        return [SourceImage(header, header.SOPClassUID, header.SOPInstanceUID, plane.frame + 1) for plane in real]
    distance = repair.slice_distance(planes)
    found = []
    for plane in planes:
        header = headers[plane.head.path]
        single = repair.of_plane(header, plane, planes[0], distance)
        missing, several = plane.frame == _NO_FRAME, held[plane.head.path] > 1
        if missing or several or shared[str(header.SOPInstanceUID)] > 1:
            single.SOPInstanceUID = generate_uid()
        instance = "" if missing else str(header.SOPInstanceUID)
        found.append(SourceImage(single, str(header.SOPClassUID), instance, plane.frame + 1 if several else 0))
    return found


def headers_of(images: Sequence[SourceImage]) -> list[Any]:
    """Return the headers of images, each once."""
    return [*{id(image.header): image.header for image in images}.values()]


def evidence_of(images: Sequence[SourceImage]) -> list[Any]:
    """Return a header per source file, with the identifiers of the file itself: what a report names as its evidence."""
    from pydicom import Dataset

    once = {image.instance: image for image in images if image.instance}
    found = []
    for image in once.values():
        header = Dataset()
        header.update(image.header)
        header.SOPClassUID, header.SOPInstanceUID = image.storage, image.instance
        found.append(header)
    return found


def refer_to_files(made: Any, images: Sequence[SourceImage]) -> None:
    """Have a segmentation refer to the files themselves, where its sources had identifiers of their own."""
    own = {str(image.header.SOPInstanceUID): image for image in images}
    if all(uid == image.instance for uid, image in own.items()):
        return
    for frame in made.PerFrameFunctionalGroupsSequence:
        for derivation in frame.get("DerivationImageSequence") or []:
            items = [(own[str(item.ReferencedSOPInstanceUID)], item) for item in derivation.SourceImageSequence]
            derivation.SourceImageSequence = [image.refer(item) for image, item in items if image.instance]
        kept = [one for one in frame.get("DerivationImageSequence") or [] if one.SourceImageSequence]
        frame.DerivationImageSequence = kept  # required, and empty where a slice is missing
    for series in made.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = _files(series.ReferencedInstanceSequence, own)
    if "SourceImageSequence" in made:
        made.SourceImageSequence = _files(made.SourceImageSequence, own)


def _files(items: Sequence[Any], own: dict[str, SourceImage]) -> list[Any]:
    """Return references to the files of images, one each."""
    images = [(own[str(item.ReferencedSOPInstanceUID)], item) for item in items]
    once = {image.instance: (image, item) for image, item in images if image.instance}
    return [replace(image, frame=0).refer(item) for image, item in once.values()]
