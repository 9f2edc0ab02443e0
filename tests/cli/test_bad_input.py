"""Bad files on the command line: one clear line that names the file, exit code 1, never a patient's name."""

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import MPEG2MPML, UID, generate_uid

from napari_unet_tumour.cli import main

OWN = Path(pydicom.__file__).parent / "data" / "test_files"
NAME = {"PatientName": "Doe^Jane", "SeriesDescription": "head of Jane Doe"}


def dicom(path, *gone, syntax=None, **changes):
    """A small MR slice of Jane Doe with some elements changed or left out."""
    found = pydicom.dcmread(OWN / "MR_small.dcm")
    for key, value in {**NAME, **changes}.items():
        setattr(found, key, value)
    for key in gone:
        delattr(found, key)
    if syntax is not None:
        found.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(exist_ok=True)
    found.save_as(path, implicit_vr=False, little_endian=True)
    return path


def several(folder, *changes):
    series = generate_uid()
    for n, change in enumerate(changes):
        place = {"ImagePositionPatient": [0, 0, 5 * n], "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": series}
        dicom(folder / f"{n}.dcm", **{**place, **change})
    return folder


def film(path):
    dicom(path, syntax=MPEG2MPML, PixelData=pydicom.encaps.encapsulate([b"\0" * 20]))
    return path


def cut(path, content, length):
    path.write_bytes(content[:length])
    return path


def nifti(path, change=lambda header: None, data=b""):
    header = nibabel.Nifti2Header()
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"], header["dim"] = b"n+2", 544, [3, 5, 6, 7, 1, 1, 1, 1]
    header["sform_code"], header["srow_x"], header["srow_y"], header["srow_z"] = 1, *(np.eye(3, 4) * 2)
    change(header)
    content = header.binaryblock + b"\0" * 4 + (data or bytes(210))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def picture(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    return path


def archive(path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.dcm", bytes(1_000_000))
    path.write_bytes(content.getvalue())
    return path


BAD = {
    "cut.dcm": (lambda p: cut(p, (OWN / "MR_small.dcm").read_bytes(), -3000), "is cut or damaged"),
    "locked.dcm": (lambda p: dicom(p, "PixelData", EncryptedAttributesSequence=[pydicom.Dataset()]), "is encrypted"),
    "bare.dcm": (lambda p: dicom(p, "PixelData"), "holds no pixels"),
    "film.dcm": (film, "needs a codec: pip install 'napari-unet-tumour[codecs]'"),
    "odd.dcm": (lambda p: dicom(p, syntax="1.2.3.4.5"), "is stored in a way that is not known"),
    "maker.dcm": (lambda p: dicom(p, syntax="1.2.840.113619.5.2"), "is stored in a way that is not known"),
    "absurd.dcm": (lambda p: dicom(p, Rows=65535, Columns=65535, NumberOfFrames=60_000), "more than this machine"),
    "zip.dcm": (archive, "holds ZIP data"),
    "mixed": (
        lambda p: several(p, {}, {"SeriesInstanceUID": generate_uid()}),
        "holds 2 series (0: MR series 1 (1 slices); 1: MR series 1 (1 slices)): choose one by its number (--series N)",
    ),
    "sizes": (lambda p: several(p, {}, {}, {"Rows": 32, "PixelData": bytes(4096)}), "holds 2 series"),
    "lying.nii": (lambda p: nifti(p, lambda h: h["dim"].__setitem__(1, -5)), "lying.nii "),
    "nan.nii": (lambda p: nifti(p, lambda h: h["srow_x"].__setitem__(0, np.nan)), "has a broken affine"),
    "cut.nii.gz": (lambda p: cut(p, nifti(p).read_bytes(), -9), "is cut or damaged"),
    "huge.nii.gz": (lambda p: nifti(p, lambda h: h["dim"].__setitem__(slice(1, 4), 60_000)), "more than this machine"),
    "bomb.nii.gz": (lambda p: nifti(p, lambda h: h["dim"].__setitem__(slice(1, 4), 900)), "is cut or damaged"),
    "zip.nii.gz": (archive, "holds ZIP data"),
    "bomb.png": (lambda p: picture(p, 12_000, 12_000), "is cut or damaged"),
    "huge.png": (lambda p: picture(p, 60_000, 60_000), "claims more pixels"),
    "old.mat": (lambda p: cut(p, b"MATLAB 5.0 MAT-file" + b" " * 600, 600), "save it with '-v7.3'"),
    "scan.zip": (archive, "has a suffix that is not known"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_line_that_names_it(tmp_path, capfd, name):
    make, words = BAD[name]
    path = make(tmp_path / name)
    assert main(["measure", str(path), str(path)]) == 1
    said = capfd.readouterr()
    lines = (said.out + said.err).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert name in lines[0]
    assert words in lines[0]
    assert "doe" not in lines[0].lower()


def test_a_series_is_chosen_by_its_number(tmp_path, capsys):
    folder = several(tmp_path / "two", {}, {}, {"Rows": 32, "PixelData": bytes(4096), "SmallestImagePixelValue": 0})
    mask = tmp_path / "m.nii.gz"
    for series, shape in (("0", (64, 64, 2)), ("1", (64, 32, 1))):
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), mask)
        assert main(["measure", str(folder), str(mask), "--series", series]) == 0
        assert "1 lesion" in capsys.readouterr().out
    assert main(["measure", str(folder), str(mask), "--series", "5"]) == 1
    assert "choose a number from 0 to 1" in capsys.readouterr().err


def test_palettes_open(capsys):
    palette = OWN / "examples_palette.dcm"
    assert main(["measure", str(palette), str(palette)]) == 1
    assert "has colours or channels, so it is no mask: save one channel of label values" in capsys.readouterr().err
