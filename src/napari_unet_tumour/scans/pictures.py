"""PNG, JPEG and TIFF files and folders of numbered slices <-> Scan."""

from __future__ import annotations

import re
import struct
import weakref
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import label_pictures
from napari_unet_tumour.scans.checks import check_size, decoding, expect
from napari_unet_tumour.scans.nifti import stem
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffFile

PICTURES = (".png", ".jpg", ".jpeg")
STACKS = (".tif", ".tiff")
# A TIFF with more bytes of pixels stays on disk.
LAZY_FROM = 1 << 30
_ORIENTATION = 0x0112
# By EXIF's number, after rows and columns changed places from 5 on: the steps through rows and columns.
_FLIPPED = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
# The turns that another one undoes; the others undo themselves.
_BACK = {6: 8, 8: 6}
_TO_MM = {"nm": 1e-6, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}


def read_picture(path: Path) -> Scan:
    """Read a PNG or JPEG: grey gives axes "yx", colour "yxc" (3 or 4 channels); palettes and EXIF turns are resolved.

    `extra["exif"]` is the number of the turn, where there is one.

    Raises
    ------
    ScanError
        The file is cut, mislabelled or damaged, or claims absurd sizes.
    """
    with _opened(path) as (picture, turn):
        array = _upright(np.asarray(_plain(picture)), turn)
    extra = {"exif": turn} if turn > 1 else {}
    return Scan(array, "yxc" if array.ndim == 3 else "yx", name=stem(path), source=str(path), extra=extra)


def read_label_picture(path: Path) -> Scan:
    """Read a PNG or JPEG mask by what is seen; see `label_pictures`. EXIF turns are applied as to a scan.

    Raises
    ------
    ScanError
        The picture shows several colours without a palette, or its background is not clear.
    """
    with _opened(path) as (picture, turn):
        array = _upright(_labels(path, picture), turn)
    extra = {"exif": turn} if turn > 1 else {}
    return Scan(array, "yx", name=stem(path), source=str(path), extra=extra)


def _labels(path: Path, picture: Any) -> NDArray[Any]:
    if picture.mode == "P":
        colours = picture.convert("RGBA" if "transparency" in picture.info else "RGB").convert("RGBA")
        indices = np.asarray(picture)
        palette = np.zeros((256, 4), np.uint8)
        palette[indices.ravel()] = np.asarray(colours).reshape(-1, 4)
        return label_pictures.labels_of_palette(path, indices, palette)
    if picture.mode in ("LA", "La", "PA", "RGBa"):
        picture = picture.convert("RGBA")
    if picture.mode in ("L", "RGB") and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    array = np.asarray(_plain(picture))
    if array.ndim == 3 and path.suffix.lower() in PICTURES[1:]:
        array = np.asarray(picture.convert("L"))
    if array.ndim == 3:
        array = label_pictures.labels_of_colours(path, array)
    return label_pictures.labels_of_jpeg(path, array) if path.suffix.lower() in PICTURES[1:] else array


def read_label_tiff(path: Path) -> Scan:
    """Read a TIFF mask: as `read_tiff`, but palettes, colours and transparency give labels by what is seen."""
    import tifffile

    scan = read_tiff(path)
    with decoding(path), tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        if file.is_imagej and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise ScanError(
                f"{path.name} is shown black on white by ImageJ's inverting lookup table, so it is not clear what it "
                "marks: choose Image > Lookup Tables > Invert LUT in ImageJ, and save it again"
            )
        colormap = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    if colormap is not None and scan.axes[-2:] == "yx":
        palette = np.full((colormap.shape[1], 4), 255, np.uint8)
        palette[:, :3] = (colormap >> 8).T
        return replace(scan, array=label_pictures.labels_of_palette(path, np.asarray(scan.array), palette))
    if scan.axes.endswith("c") and scan.array.shape[-1] in (2, 3, 4):
        array = label_pictures.labels_of_colours(path, np.asarray(scan.array))
        return replace(scan, array=array, axes=scan.axes[:-1])
    return scan


def read_tiff(path: Path) -> Scan:
    """Read a TIFF: pages, ImageJ stacks and OME-TIFF, with their axes and, where given, the spacing.

    Raises
    ------
    ScanError
        The file is cut or mislabelled, claims absurd sizes, or is compressed in a way that needs "imagecodecs".
    """
    import tifffile

    expect(path, "TIFF")
    with decoding(path), tifffile.TiffFile(path) as file:
        _check_chain(path, file)
        series = file.series[0]
        lazy = series.size * series.dtype.itemsize >= LAZY_FROM
        check_size(path, series.shape, series.dtype.itemsize, compressed=True, held=not lazy)
        spacing = _spacing(file)
        turn = _turn_of(file.pages[0])
        array, axes = _tidy(path, _on_disk(series) if lazy else _pages(path, series), series.axes)
    if lazy:
        return _with_spacing(path, array, axes, spacing)
    with decoding(path):
        check_size(path, array.shape, array.itemsize)
    if turn > 1 and axes in ("yx", "yxc"):
        if spacing is not None and turn > 4:
            spacing = {**spacing, "y": spacing["x"], "x": spacing["y"]}
        scan = _with_spacing(path, _upright(array, turn), axes, spacing)
        return replace(scan, extra={**scan.extra, "exif": turn})
    return _with_spacing(path, array, axes, spacing)


def _check_chain(path: Path, file: TiffFile) -> None:
    """Raise ScanError where a page of a damaged file leads back to an earlier one: tifffile would read for ever."""
    kind, handle, seen = file.tiff, file.filehandle, set()
    handle.seek(8 if kind.is_bigtiff else 4)
    with suppress(struct.error):  # the chain ends in the middle: that is told where the page is read
        while at := struct.unpack(kind.offsetformat, handle.read(kind.offsetsize))[0]:
            if at in seen:
                raise ScanError(f"{path.name}: its pages run in a circle, the file is damaged: export it again")
            if at >= handle.size:
                return
            seen.add(at)
            handle.seek(at)
            tags = struct.unpack(kind.tagnoformat, handle.read(kind.tagnosize))[0]
            handle.seek(at + kind.tagnosize + tags * kind.tagsize)


def _with_spacing(path: Path, array: Any, axes: str, spacing: dict[str, float] | None) -> Scan:
    affine = None if spacing is None else np.diag([*(spacing[a] for a in axes if a in "zyx"), 1.0])
    units = "pixel" if affine is None else "mm"
    # A TIFF may say how large its voxels are, never where they lie.
    extra = {"spacing_only": True}
    return Scan(array=array, axes=axes, affine=affine, units=units, name=stem(path), source=str(path), extra=extra)


def read_folder(path: Path) -> Scan:
    """Read a folder of numbered PNG, JPEG or TIFF slices as one stack, in the order of their numbers.

    Raises
    ------
    ScanError
        There are no such files, or they differ in size or colour.
    """
    known = (f for f in path.iterdir() if f.suffix.lower() in PICTURES + STACKS and not f.name.startswith("."))
    files = sorted((f for f in known if f.is_file()), key=_by_number)
    if not files:
        raise ScanError(
            f"{path.name} holds no scan: choose a folder with DICOM files or numbered PNG, JPEG or TIFF slices"
        )
    first = _read_slice(files[0])
    check_size(path, (len(files), *first.array.shape), first.array.dtype.itemsize)
    stack = np.empty((len(files), *first.array.shape), first.array.dtype)
    for n, file in enumerate(files):
        one = first.array if n == 0 else _read_slice(file).array
        if one.shape != first.array.shape or one.dtype != first.array.dtype:
            raise ScanError(
                f"{file.name} is {one.shape} {one.dtype} and {files[0].name} is {first.array.shape} "
                f"{first.array.dtype}: keep slices of one kind in a folder, or open them one by one"
            )
        stack[n] = one
    return Scan(array=stack, axes="z" + first.axes, name=path.name, source=str(path))


def write_picture(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str] = ()) -> None:
    """Write a 2D mask as a grey PNG: 0 and 255 for one label, the label values for several; turned as its scan is."""
    from PIL import Image

    if mask.ndim != 2:
        raise OutputError(f"{path.name} can hold one slice, this mask has {mask.shape}: choose .tif or .nii.gz")
    values = mask.astype(np.uint8)
    if len(labels) == 2 and values.max(initial=0) <= 1:
        values = values * np.uint8(255)
    turn = scan.extra.get("exif", 1)
    more: dict[str, Any] = {}
    if turn > 1:
        values = _upright(values, _BACK.get(turn, turn))
        more["exif"] = Image.Exif()
        more["exif"][_ORIENTATION] = turn
    with atomic(path) as beside:
        Image.fromarray(np.ascontiguousarray(values)).save(beside, format="PNG", **more)


def write_tiff(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str] = ()) -> None:
    """Write an array on the scan's grid as a deflated OME-TIFF with axes and, where known, the spacing."""
    import tifffile

    values = mask.astype(np.uint8) if mask.dtype == np.bool_ else mask
    with atomic(path) as beside:
        tifffile.imwrite(
            beside,
            values,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=_ome(scan),
            software="napari-unet-tumour",
        )


def write_tiles(path: Path, tiles: Iterator[NDArray[np.uint8]], shape: tuple[int, ...], scan: Scan, side: int) -> None:
    """Write an array of any size as `write_tiff` does, from the square tiles of its planes, row by row."""
    import tifffile

    with atomic(path) as beside:
        tifffile.imwrite(
            beside,
            tiles,
            shape=shape,
            dtype=np.uint8,
            tile=(side, side),
            bigtiff=True,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=_ome(scan),
            software="napari-unet-tumour",
        )


def _ome(scan: Scan) -> dict[str, Any]:
    axes = scan.axes.replace("c", "")
    metadata: dict[str, Any] = {"axes": axes.upper()}
    if scan.units == "mm":
        for letter, step in zip((a for a in axes if a in "zyx"), scan.spacing, strict=True):
            metadata |= {f"PhysicalSize{letter.upper()}": step, f"PhysicalSize{letter.upper()}Unit": "mm"}
    return metadata


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int]]:
    """Give a picture that is sound so far, and the number of its EXIF turn."""
    from PIL import Image

    expect(path, *(("PNG",) if path.suffix.lower() == ".png" else ("JPEG",)))
    with decoding(path):
        try:
            picture = Image.open(path)
        except Image.DecompressionBombError as error:
            raise ScanError(f"{path.name} claims more pixels than a picture can have: save it as TIFF") from error
        with picture:
            check_size(path, picture.size, 4)
            # A mask may hold one bit a pixel, and deflates to almost nothing.
            check_size(path, (picture.height, -(-picture.width // 8)), 1, compressed=path.suffix.lower() == ".png")
            yield picture, _turn_in(picture)


def _turn_in(picture: Any) -> int:
    with suppress(Exception):  # a damaged EXIF block does not make the pixels unreadable
        turn = int(picture.getexif().get(_ORIENTATION, 1))
        return turn if 1 <= turn <= 8 else 1
    return 1


def _turn_of(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1


def _upright(array: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return pixels as EXIF's orientation says that they are seen; rows and columns come first."""
    if turn > 4:
        array = array.swapaxes(0, 1)
    rows, columns = _FLIPPED[turn]
    return np.ascontiguousarray(array[::rows, ::columns])


def _plain(picture: Any) -> Any:
    """Resolve palettes and print colours: grey, RGB or RGBA remain."""
    if picture.mode == "P":
        colours = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        return colours.getchannel(0) if _is_grey(colours) else colours
    other = {
        "LA": "L",
        "PA": "RGBA",
        "CMYK": "RGB",
        "YCbCr": "RGB",
        "LAB": "RGB",
        "HSV": "RGB",
        "La": "L",
        "RGBa": "RGBA",
    }
    return picture.convert(other[picture.mode]) if picture.mode in other else picture


def _is_grey(colours: Any) -> bool:
    values = np.asarray(colours)
    return bool((values[..., :3] == values[..., :1]).all() and (values[..., 3:] == 255).all())


def _black_is_0(array: Any, series: Any) -> Any:
    """Return pixels that are stored the other way round, 0 for white, as they are seen."""
    import tifffile

    page = series.keyframe
    if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE or array.dtype.kind not in "bu":
        return array
    return ~array if array.dtype.kind == "b" else (2 ** int(page.bitspersample) - 1) - array


def _pages(path: Path, series: Any) -> NDArray[Any]:
    """Decode one series, with Pillow's libtiff where tifffile needs a codec that is not installed."""
    return _black_is_0(np.asarray(series.asarray()), series) if _has_codec(series) else _libtiff(path, series)


def _has_codec(series: Any) -> bool:
    """Tell whether tifffile itself can decode a series; many compressions need the package imagecodecs."""
    import tifffile

    try:
        _ = tifffile.TIFF.DECOMPRESSORS[series.keyframe.compression]
        _ = tifffile.TIFF.UNPREDICTORS[series.keyframe.predictor]
    except KeyError:
        return False
    return True


def _on_disk(series: Any) -> Any:
    """Return a series as a lazy array, whose tiles or strips are decoded when they are read."""
    import dask.array as da
    import zarr

    store = series.aszarr(level=0)
    found = zarr.open_array(store, mode="r")
    weakref.finalize(found, store.close)
    # Small tiles and strips are read several at once: one task a tile makes dask slow.
    chunks = tuple(
        min(whole, n * -(-1024 // n)) if letter in "YX" else n
        for n, whole, letter in zip(found.chunks, found.shape, series.axes, strict=True)
    )
    return _black_is_0(da.from_zarr(found, chunks=chunks), series)  # type: ignore[no-untyped-call]


def _libtiff(path: Path, series: Any) -> NDArray[Any]:
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as picture:
            pages = [np.array(_plain(page)) for page in ImageSequence.Iterator(picture)]
        stack = np.stack(pages).reshape(series.shape).astype(series.dtype, copy=False)
        # Up to 8 bits Pillow has turned them round.
        return stack if stack.itemsize == 1 else np.asarray(_black_is_0(stack, series))
    except (OSError, ValueError) as error:
        raise ScanError(f"{path.name} is compressed in a way that needs a codec: pip install imagecodecs") from error


def _tidy(path: Path, array: NDArray[Any], found: str) -> tuple[NDArray[Any], str]:
    """Name tifffile's axes with Scan's letters and drop unnamed axes of length 1."""
    # tifffile repeats a letter where it has no better name: only the last one counts.
    known = [x if x in "YXZTCS" and x not in found[i + 1 :] else "Q" for i, x in enumerate(found)]
    keep = [i for i, letter in enumerate(known) if array.shape[i] > 1 or letter != "Q"]
    array = array.reshape([array.shape[i] for i in keep])
    named = ["c" if known[i] == "S" else known[i].lower() for i in keep]
    spare = [letter for letter in "tz" if letter not in named][-named.count("q") or None :]
    named = [letter if letter in "tzyxc" else (spare.pop(0) if spare else "?") for letter in named]
    if "?" in named or len(set(named)) != len(named):
        raise ScanError(
            f"{path.name} has axes {found} of {array.shape}: save fewer axes, at most time, z, y, x, colour"
        )
    if "S" in known and named[-1] != "c":
        array, named = np.moveaxis(array, named.index("c"), -1), [*(n for n in named if n != "c"), "c"]
    return array, "".join(named)


def _spacing(file: Any) -> dict[str, float] | None:
    """Return mm per pixel for "z", "y" and "x" where the file says so in a way that can be trusted."""
    if file.is_ome:
        return _ome_spacing(file.ome_metadata or "")
    if file.is_imagej:
        return _imagej_spacing(file)
    return None


def _ome_spacing(text: str) -> dict[str, float] | None:
    found: dict[str, float] = {}
    for letter in "XYZ":
        size = re.search(rf'PhysicalSize{letter}="([^"]+)"', text)
        unit = re.search(rf'PhysicalSize{letter}Unit="([^"]+)"', text)
        if size:
            found[letter.lower()] = float(size[1]) * _TO_MM.get(unit[1] if unit else "µm", 0.0)
    return _complete(found)


def _imagej_spacing(file: Any) -> dict[str, float] | None:
    about = file.imagej_metadata or {}
    factor = _TO_MM.get(str(about.get("unit", "")).replace("\\u00B5", "µ"), 0.0)
    found = {"z": float(about.get("spacing", 0.0)) * factor}
    for letter, tag in (("x", "XResolution"), ("y", "YResolution")):
        over, under = file.pages[0].tags[tag].value if tag in file.pages[0].tags else (0, 1)
        found[letter] = factor * under / over if over else 0.0
    return _complete(found)


def _complete(found: dict[str, float]) -> dict[str, float] | None:
    """Return spacings for all three axes, or None unless x and y are known and positive."""
    good = {letter: step for letter, step in found.items() if np.isfinite(step) and step > 0}
    return {"z": 1.0, **good} if {"x", "y"} <= set(good) else None


def _read_slice(path: Path) -> Scan:
    return read_tiff(path) if path.suffix.lower() in STACKS else read_picture(path)


def _by_number(path: Path) -> list[tuple[int, int, str]]:
    """Order "slice_2" before "slice_10"."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]
