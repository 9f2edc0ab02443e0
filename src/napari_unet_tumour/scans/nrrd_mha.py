"""NRRD (.nrrd) and MetaImage (.mha) files, as 3D Slicer and ITK-SNAP save them, -> Scan."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.checks import check_size, damaged, decoding, expect, unreadable
from napari_unet_tumour.scans.nifti import stem
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LONGEST_HEADER = 1 << 20
_NRRD_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2", "ushort": "u2",
    "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4",
    "int32_t": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "float": "f4",
    "double": "f8", "longlong": "i8", "long long": "i8", "int64": "i8", "int64_t": "i8", "uint64": "u8",
    "uint64_t": "u8",
}  # fmt: skip
_MHA_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
}  # fmt: skip
# How many of the patient's axes point the other way than in left-posterior-superior.
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip


def read_nrrd(path: Path) -> Scan:
    """Read a 3D NRRD with its pixels in the same file, raw or gzipped; axes "zyx", LPS+ in mm where it says.

    Raises
    ------
    ScanError
        The file is cut or damaged, or is laid out in a way that is not read here.
    """
    expect(path, "NRRD")
    with decoding(path):
        text, at = _header(path, b"\n\n")
        fields: dict[str, str] = dict(re.findall(r"^([^#:\n]+): ?(.*)$", text.replace("\r", ""), re.MULTILINE))
        shape = tuple(int(n) for n in fields["sizes"].split())
        packing = fields.get("encoding", "raw").lower()
        if len(shape) != 3 or packing not in ("raw", "gzip", "gz") or "data file" in fields or "datafile" in fields:
            raise _unread(path, "NRRD")
        order = ">" if fields.get("endian", "little").lower() == "big" else "<"
        dtype = np.dtype(order + _NRRD_TYPES[fields["type"].strip()])
        values = _values(path, at, shape, dtype, None if packing == "raw" else 31)
        signs = _SPACES.get(fields.get("space", "").lower())
        directions = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
        if signs is None or len(directions) != 3:
            return _scan(path, values, None)
        lps = np.eye(4)
        lps[:3, :3] = np.array([[float(v) for v in d.split(",")] for d in directions]).T
        lps[:3, 3] = [float(v) for v in fields.get("space origin", "(0,0,0)").strip(" ()").split(",")]
        return _scan(path, values, np.diag([*signs, 1]) @ lps)


def read_metaimage(path: Path) -> Scan:
    """Read a 3D MetaImage with its pixels in the same file, raw or compressed; axes "zyx", LPS+ in mm.

    Raises
    ------
    ScanError
        The file is cut or damaged, or is laid out in a way that is not read here.
    """
    with decoding(path):
        text, at = _header(path, b"ElementDataFile = LOCAL\n")
        fields: dict[str, str] = dict(re.findall(r"^(\w+) *= *(.*?) *$", text.replace("\r", ""), re.MULTILINE))
        shape = tuple(int(n) for n in fields["DimSize"].split())
        if len(shape) != 3 or int(fields.get("ElementNumberOfChannels", 1)) != 1:
            raise _unread(path, "MetaImage")
        big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
        dtype = np.dtype((">" if big else "<") + _MHA_TYPES[fields["ElementType"]])
        packed = fields.get("CompressedData", "False").lower() == "true"
        values = _values(path, at, shape, dtype, 15 if packed else None)
        lps = np.eye(4)
        turn = np.array([float(v) for v in fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split()]).reshape(3, 3)
        lps[:3, :3] = turn.T * [float(v) for v in fields.get("ElementSpacing", "1 1 1").split()]
        lps[:3, 3] = [float(v) for v in fields.get("Offset", fields.get("Position", "0 0 0")).split()]
        return _scan(path, values, lps)


def _header(path: Path, end: bytes) -> tuple[str, int]:
    """Return the text up to `end`, and where the pixels start."""
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST_HEADER)
    except OSError as error:
        raise unreadable(path, error) from error
    found = re.search(end.replace(b"\n", b"\r?\n").replace(b" ", b" *"), start)
    if found is None:
        raise ScanError(f"{path.name} has no readable header with its pixels behind it: save it as one file")
    return start[: found.end()].decode("ascii", "replace"), found.end()


def _values(path: Path, at: int, shape: tuple[int, ...], dtype: np.dtype[Any], window: int | None) -> NDArray[Any]:
    """Return pixels (z, y, x); `window` is zlib's, None for raw ones."""
    check_size(path, shape, dtype.itemsize, compressed=window is not None)
    count = int(np.prod(shape))
    if window is None:
        values = np.fromfile(path, dtype, count, offset=at)
    else:
        # No more than the header says is unpacked, whatever the file holds.
        unpack = zlib.decompressobj(window)
        data = unpack.decompress(path.read_bytes()[at:], count * dtype.itemsize)
        # Only at its end the checksum is compared.
        if not unpack.eof:
            unpack.decompress(unpack.unconsumed_tail, 1)
        if not unpack.eof:
            raise damaged(path)
        values = np.frombuffer(data, dtype)
    if values.size != count:
        raise damaged(path)
    return values.reshape(shape[::-1]).astype(dtype.newbyteorder("="), copy=False)


def _scan(path: Path, values: NDArray[Any], lps: NDArray[np.float64] | None) -> Scan:
    extra = {"labels": path.name.lower().endswith(".seg.nrrd")}
    if lps is None:
        return Scan(values, "zyx", name=stem(path), source=str(path), extra=extra)
    if not geometry.is_usable(lps):
        raise ScanError(f"{path.name} has a broken position or spacing: repair its header first")
    order = geometry.closest_order(lps)
    affine = geometry.from_lps(lps, order)
    units = "pixel" if geometry.is_featureless(affine) else "mm"
    turned = values.transpose([2 - axis for axis in order])
    return Scan(turned, "zyx", affine, units, stem(path), str(path), extra=extra)


def _unread(path: Path, kind: str) -> ScanError:
    return ScanError(f"{path.name} is a {kind} of a kind that is not read here: save it as one 3D grey file")
