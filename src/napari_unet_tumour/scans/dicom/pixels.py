"""The pixels of a DICOM file: how they are stored, read plainly or through a decoder, and their real values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError, UnsupportedError
from napari_unet_tumour.scans.checks import damaged, decoding, unreadable
from napari_unet_tumour.scans.dicom.encoding import syntax_of
from napari_unet_tumour.scans.dicom.values import integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomHeader, DicomPlane

CODECS = "pip install 'napari-unet-tumour[codecs]'"


def pixels(head: DicomHeader) -> NDArray[Any]:
    """Return the stored values of all frames, (n, rows, columns) or (n, rows, columns, 3), not rescaled.

    Bits that belong to no pixel (old overlays) are cleared, signs put right, and a Modality LUT is applied.

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
        return _cleared(head, values.reshape(-1, *head.shape))
    return _decoded(head)


def rescale(plane: DicomPlane, stored: NDArray[Any], whole: bool) -> NDArray[Any]:
    """Return real values: MONOCHROME1 turned round, slope and intercept applied to what `pixels` gave."""
    values = stored
    if plane.head.photometric == "MONOCHROME1":
        # Lowest plus highest value: -1 where values are signed.
        ends = -1 if plane.head.signed and not plane.head.lut else 2 ** (plane.head.lut or plane.head.bits) - 1
        values = (ends - values.astype(np.int64)).astype(values.dtype)
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


def _cleared(head: DicomHeader, values: NDArray[Any]) -> NDArray[Any]:
    """Keep the bits that belong to the pixel: from HighBit - BitsStored + 1 to HighBit, the sign extended."""
    spare = values.dtype.itemsize * 8 - head.bits
    if values.dtype.kind not in "iu" or spare <= 0:
        return values
    kept: NDArray[Any] = values.astype(values.dtype.newbyteorder("="), copy=not values.flags.writeable)
    if head.signed and kept.dtype.kind == "u":
        kept = kept.view(kept.dtype.str.replace("u", "i"))
    shift = 0 if head.shift and _is_low(kept, spare, head.shift) else head.shift
    if not head.signed and not shift:
        kept &= kept.dtype.type((1 << head.bits) - 1)
        return kept
    kept <<= spare - shift
    kept >>= spare
    return kept


def _is_low(values: NDArray[Any], spare: int, shift: int) -> bool:
    """Tell whether values fill the lowest bits although HighBit names higher ones, as some exports have it."""
    return bool((values << spare >> spare == values).all() and (values & ((1 << shift) - 1)).any())


def _decoded(head: DicomHeader) -> NDArray[Any]:
    """Let pydicom decode: compressed, colour and odd encodings; palettes become 8-bit colours."""
    import pydicom
    import pydicom.pixels

    decode: Any = pydicom.pixels
    with decoding(head.path):
        found = pydicom.dcmread(head.path, force=True)
        values = _cleared(head, _stored(head, found))
        if head.lut:
            values = decode.apply_modality_lut(values, found)
        if head.photometric == "PALETTE COLOR":
            colours = decode.apply_color_lut(values, found)
            values = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        last = values.shape[-1:] if len(head.shape) == 3 or head.photometric == "PALETTE COLOR" else ()
        return values.reshape(-1, *head.shape[:2], *last)


def _stored(head: DicomHeader, found: Any) -> NDArray[Any]:
    """Return the stored values of a whole data set, with pydicom's decoders or, packed in 12 bits, by hand."""
    import pydicom.pixels

    decode: Any = pydicom.pixels
    syntax, allocated = syntax_of(found), integer(found, "BitsAllocated", 16)
    if not found.file_meta.get("TransferSyntaxUID") and syntax is not None and "PixelData" in found:
        if found["PixelData"].is_undefined_length:
            raise _no_decoder(head, None)
        found.file_meta.TransferSyntaxUID = syntax
    if allocated == 12 and syntax is not None and not syntax.is_compressed and len(head.shape) == 2:
        return _unpacked(head, found.PixelData)
    if allocated not in (1, 8, 16, 32, 64):
        raise UnsupportedError(f"{head.path.name} packs pixels in {allocated} bits: export it again with 16")
    try:
        values: NDArray[Any] = decode.pixel_array(found, correct_unused_bits=not head.shift)
    except (NotImplementedError, RuntimeError, AttributeError) as error:
        raise _no_decoder(head, syntax) from error
    return values


def _unpacked(head: DicomHeader, data: bytes) -> NDArray[Any]:
    """Return pixels that are packed two in three bytes, lowest bits first (PS3.5 8.1.1), as uint16."""
    rows, columns = head.shape
    frames = len(data) * 2 // 3 // (rows * columns)
    if not frames:
        raise damaged(head.path)
    used = -(-frames * rows * columns * 3 // 2)
    low = np.frombuffer(data[:used].ljust(-(-used // 3) * 3, b"\0"), np.uint8).reshape(-1, 3).astype(np.uint16)
    pairs = np.stack([low[:, 0] | (low[:, 1] & 15) << 8, low[:, 1] >> 4 | low[:, 2] << 4], axis=1)
    return pairs.ravel()[: frames * rows * columns]


def _no_decoder(head: DicomHeader, syntax: Any) -> ScanError:
    import pydicom.pixels

    decode = pydicom.pixels
    if syntax is None:
        return UnsupportedError(f"{head.path.name} is stored in a way that is not known: export it again uncompressed")
    with suppress(NotImplementedError):
        if not syntax.is_compressed or decode.get_decoder(syntax).is_available:  # type: ignore[attr-defined]
            if not syntax.is_compressed:
                return damaged(head.path)
            return ScanError(f"{head.path.name} ({syntax.name}) is damaged, or needs another codec: {CODECS}")
    return ScanError(f"{head.path.name} is compressed as {syntax.name}, which needs a codec: {CODECS}")
