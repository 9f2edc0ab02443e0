"""What a picture of a mask shows -> label values: palettes, colours and transparency, never turned round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MARKED = np.uint8(255)


def labels_of_palette(path: Path, indices: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the labels of a picture with a palette, by what is seen.

    Parameters
    ----------
    path : Path
        The file, for errors.
    indices : numpy.ndarray
        (rows, columns) unsigned.
    palette : numpy.ndarray
        (n, 4) red, green, blue, opacity.

    Returns
    -------
    numpy.ndarray
        Grey values where the palette is grey; of colours the indices, where index 0 is the background: black, clear,
        or the darkest of the colours that occur. Black and one colour are background and mask, in any order.

    Raises
    ------
    ScanError
        The palette does not begin with the background of the colours that occur.
    """
    used = np.unique(indices)
    colours = palette[np.minimum(used, len(palette) - 1)]
    if len(used) > 1 and (colours == colours[0]).all():
        raise ScanError(
            f"{path.name} has a palette that shows all its labels in one colour: save it in grey values, "
            "0 for the background"
        )
    opacity = colours[:, 3].astype(int)
    # As in `_seen`: a mask may be exported half clear.
    clear = opacity * 2 <= opacity.max(initial=0)
    if not opacity.any():
        raise _wholly_transparent(path)
    if clear.any() and (~clear).sum() <= 1:
        return np.where(np.isin(indices, used[~clear]), MARKED, 0).astype(np.uint8)
    colours = np.where(clear[:, None], 0, colours)
    if (colours[:, :3] == colours[:, :1]).all():
        values = np.zeros(int(used.max(initial=0)) + 1, np.uint8)
        values[used] = colours[:, 0]
        return np.asarray(values[indices])
    light = colours[:, :3].astype(int).sum(axis=1)
    # White may well be paper, as black is night: without black nobody can tell.
    paper = light.min() > 0 and light.max() > 750
    if not paper and ((used[0] == 0 and light[0] == light.min()) or (used[0] != 0 and light.min() > 0)):
        return indices
    if len(used) == 2 and light.min() == 0:
        return np.where(indices == used[np.argmin(light)], 0, MARKED).astype(np.uint8)
    raise ScanError(
        f"{path.name} has a palette whose first colour is not the background, so its labels are not clear: "
        "save it in grey values, 0 for the background"
    )


def labels_of_colours(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of a picture with channels last: grey colours, or a mask in the transparency.

    Parameters
    ----------
    path : Path
        The file, for errors.
    values : numpy.ndarray
        (..., 2, 3 or 4): grey or colours, with the opacity last where there are 2 or 4.

    Returns
    -------
    numpy.ndarray
        The grey values. Where all that is seen has one colour and the rest is clear, what is seen is the mask (255).

    Raises
    ------
    ScanError
        The picture shows several colours, or has shades that its transparency hides.
    """
    if values.shape[-1] in (2, 4):
        opacity, colours = values[..., -1], values[..., :-1]
        most = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
        if (opacity < most).any():
            return _seen(path, colours, opacity)
        values = colours
    if (values != values[..., :1]).any():
        raise ScanError(f"{path.name} is a colour picture, not a mask: save it in grey values or with a palette")
    return np.ascontiguousarray(values[..., 0])


def _seen(path: Path, colours: NDArray[Any], opacity: NDArray[Any]) -> NDArray[Any]:
    grey = not (colours != colours[..., :1]).any()
    varies = (colours != colours.reshape(-1, colours.shape[-1])[0]).any()
    # Half of the highest opacity: a mask that was exported half clear, with soft edges.
    visible = opacity * 2.0 > opacity.max(initial=0)
    if not opacity.any():
        if varies:
            raise _wholly_transparent(path)
        return np.zeros(opacity.shape, np.uint8)
    shown = colours[visible]
    if (shown == shown[0]).all():
        return np.where(visible, MARKED, 0).astype(np.uint8)
    if grey:
        return np.where(visible, colours[..., 0], 0).astype(colours.dtype)
    raise ScanError(f"{path.name} is a colour picture, not a mask: save it in grey values or with a palette")


def _wholly_transparent(path: Path) -> ScanError:
    return ScanError(f"{path.name} is wholly transparent, with a picture under it: save it without transparency")


def labels_of_jpeg(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return 0 and 255 for a grey picture that JPEG has blurred; raises ScanError where it shows anything between."""
    if ((values > 63) & (values < 192)).mean() > 0.02:
        raise ScanError(f"{path.name} holds grey values, so it is no mask: save 0 and 255, as PNG")
    return np.asarray((values > 127) * MARKED, np.uint8)
