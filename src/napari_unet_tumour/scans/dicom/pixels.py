"""The pixels of a DICOM file: how they are stored, read plainly or through a decoder, and their real values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.checks import damaged, decoding, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomHeader, DicomPlane

CODECS = "pip install 'napari-unet-tumour[codecs]'"
# Whole numbers, float32 and float64 pixels, in either byte order.
PIXEL_TAGS = tuple(bytes(b) for n in (0x10, 8, 9) for b in ((0xE0, 0x7F, n, 0), (0x7F, 0xE0, 0, n)))


def pixels(head: DicomHeader) -> NDArray[Any]:
    """Return the stored values of all frames, (n, rows, columns) or (n, rows, columns, 3), not rescaled.

    Raises
    ------
    ScanError
        The file is cut, or compressed in a way that needs another package.
    """
    if head.dtype is not None:
        try:
            count = (head.path.stat().st_size - head.at) // head.dtype.itemsize
            size = int(np.prod(head.shape))
            values = np.fromfile(head.path, head.dtype, count // size * size, offset=head.at)
        except OSError as error:
            raise unreadable(head.path, error) from error
        return values.reshape(-1, *head.shape)
    return _decoded(head)


def rescale(plane: DicomPlane, stored: NDArray[Any], whole: bool) -> NDArray[Any]:
    """Return real values: sign bits put right, MONOCHROME1 turned round, slope and intercept applied."""
    values = _signed(plane.head, stored)
    if plane.head.photometric == "MONOCHROME1":
        ends = (
            (-(2 ** (plane.head.bits - 1)), 2 ** (plane.head.bits - 1) - 1)
            if plane.head.signed
            else (0, 2**plane.head.bits - 1)
        )
        values = (sum(ends) - values.astype(np.int64)).astype(values.dtype)
    if not whole:
        real: NDArray[Any] = values.astype(np.float32) * np.float32(plane.slope)
        real += np.float32(plane.intercept)
        return real
    return (
        values.astype(values.dtype.newbyteorder("="), copy=False) if plane.intercept == 0 else _shifted(values, plane)
    )


def _shifted(values: NDArray[Any], plane: DicomPlane) -> NDArray[Any]:
    """Add a whole intercept in the smallest signed dtype that holds the sums."""
    shift = int(plane.intercept)
    low, high = int(values.min()) + shift, int(values.max()) + shift
    kind = next(k for k in (np.int16, np.int32, np.int64) if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    shifted: NDArray[Any] = values.astype(kind)
    shifted += kind(shift)
    return shifted


def _signed(head: DicomHeader, values: NDArray[Any]) -> NDArray[Any]:
    """Extend the sign of values that fill only the lower bits."""
    spare = values.dtype.itemsize * 8 - head.bits
    if not head.signed or spare <= 0 or values.dtype.kind != "i":
        return values
    native: NDArray[Any] = values.astype(values.dtype.newbyteorder("="))
    return np.asarray((native << spare) >> spare)


def raw_dtype(found: Any, start: bytes) -> tuple[np.dtype[Any] | None, int]:
    """Return how plain grey pixels are stored, and the length of the element's own header; None for all else."""
    syntax = syntax_of(found)
    bits = int(found.get("BitsAllocated") or 0)
    grey = (
        int(found.get("SamplesPerPixel") or 1) == 1
        and str(found.get("PhotometricInterpretation", "MONO"))[:4] == "MONO"
    )
    if syntax is None or syntax.is_compressed or syntax.is_deflated or not grey or bits not in (8, 16, 32):
        return None, 0
    tag, kind = start[:4], start[4:6]
    length, skip = (start[4:8], 8) if syntax.is_implicit_VR else (start[8:12], 12)
    said = syntax.is_implicit_VR or kind in (b"OW", b"OB")
    if tag not in PIXEL_TAGS[:2] or length == b"\xff\xff\xff\xff" or not said or (bits == 8 and tag[0] == 0x7F):
        return None, 0
    sign = "i" if int(found.get("PixelRepresentation") or 0) == 1 else "u"
    return np.dtype(f"{'<' if syntax.is_little_endian else '>'}{sign}{bits // 8}"), skip


def syntax_of(found: Any) -> Any:
    """Return how the file is encoded; None where it does not say or nobody knows it."""
    syntax: Any = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
    return syntax if syntax is not None and syntax.is_transfer_syntax and not syntax.is_private else None


def _decoded(head: DicomHeader) -> NDArray[Any]:
    """Let pydicom decode: compressed, colour and odd encodings; palettes become 8-bit colours."""
    import pydicom
    import pydicom.pixels

    decode: Any = pydicom.pixels
    with decoding(head.path):
        found = pydicom.dcmread(head.path, force=True)
        try:
            values: NDArray[Any] = decode.pixel_array(found)
        except (NotImplementedError, RuntimeError, AttributeError) as error:
            raise _no_decoder(head, found) from error
        if head.photometric == "PALETTE COLOR":
            colours = decode.apply_color_lut(values, found)
            values = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        last = values.shape[-1:] if len(head.shape) == 3 or head.photometric == "PALETTE COLOR" else ()
        return values.reshape(-1, *head.shape[:2], *last)


def _no_decoder(head: DicomHeader, found: Any) -> ScanError:
    import pydicom.pixels

    syntax, decode = syntax_of(found), pydicom.pixels
    if syntax is None:
        return ScanError(f"{head.path.name} is stored in a way that is not known: export it again uncompressed")
    with suppress(NotImplementedError):
        if not syntax.is_compressed or decode.get_decoder(syntax).is_available:  # type: ignore[attr-defined]
            if not syntax.is_compressed:
                return damaged(head.path)
            return ScanError(f"{head.path.name} ({syntax.name}) is damaged, or needs another codec: {CODECS}")
    return ScanError(f"{head.path.name} is compressed as {syntax.name}, which needs a codec: {CODECS}")
