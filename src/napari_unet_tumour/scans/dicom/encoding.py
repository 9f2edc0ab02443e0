"""How a DICOM file encodes its pixels: transfer syntax, dtype, Modality LUT; read from the header alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_unet_tumour.scans.dicom.values import integer, number, numbers, text, value_of

# Whole numbers, float32 and float64 pixels, in either byte order.
PIXEL_TAGS = tuple(bytes(b) for n in (0x10, 8, 9) for b in ((0xE0, 0x7F, n, 0), (0x7F, 0xE0, 0, n)))


def raw_dtype(found: Any, start: bytes) -> tuple[np.dtype[Any] | None, int]:
    """Return how plain grey pixels are stored, and the length of the element's own header; None for all else."""
    syntax = syntax_of(found)
    bits = integer(found, "BitsAllocated", 0)
    grey = (
        integer(found, "SamplesPerPixel", 1) == 1 and (text(found, "PhotometricInterpretation") or "MONO")[:4] == "MONO"
    )
    packed = syntax is None or syntax.is_compressed or syntax.is_deflated
    if packed or not grey or bits not in (8, 16, 32) or lut_bits(found):
        return None, 0
    tag, kind = start[:4], start[4:6]
    length, skip = (start[4:8], 8) if syntax.is_implicit_VR else (start[8:12], 12)
    said = syntax.is_implicit_VR or kind in (b"OW", b"OB")
    if tag not in PIXEL_TAGS[:2] or length == b"\xff\xff\xff\xff" or not said or (bits == 8 and tag[0] == 0x7F):
        return None, 0
    sign = "i" if number(found, "PixelRepresentation") == 1 else "u"
    return np.dtype(f"{'<' if syntax.is_little_endian else '>'}{sign}{bits // 8}"), skip


def lut_bits(found: Any) -> int:
    """Return how many bits the entries of the file's Modality LUT have, 0 without one."""
    table = found.get("ModalityLUTSequence")
    described = numbers(value_of(table[0], "LUTDescriptor")) if table else ()
    return int(described[2]) if len(described) == 3 else 0


def syntax_of(found: Any) -> Any:
    """Return how the file is encoded, as it was read where it does not say; None where nobody knows it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax: Any = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
    if not syntax:
        implicit, little = found.original_encoding
        return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return syntax if syntax.is_transfer_syntax and not syntax.is_private else None
