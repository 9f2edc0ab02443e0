"""Layers with the same pixels in one window: each has its own corrections."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels, Layer

_lock = threading.Lock()


@dataclass
class _Claim:
    """A name that a pair of layers has for its corrections."""

    name: str
    content: str
    image: ref[Image]
    mask: ref[Labels] | None


_claims: list[_Claim] = []


def name_for(content: str, image: Image, mask: Labels | None, layers: Sequence[Layer]) -> str:
    """Return under which name the corrections of an image with a mask are kept. Any thread.

    Parameters
    ----------
    content : str
        Content id of the image: another window, and another day, finds the corrections by it.
    layers : sequence of Layer
        All layers of the window. A copy of the image there, or another mask on it, has another name.
    """
    with _lock:
        _claims[:] = [one for one in _claims if one.image() is not None and not (one.mask and one.mask() is None)]
        alike = [one for one in _claims if one.content == content]
        for one in alike:
            if one.image() is image and (one.mask is None or mask is None or one.mask() is mask):
                one.mask = one.mask if mask is None else ref(mask)
                return one.name
        taken = {one.name for one in alike if _is_in(one, layers)}
        name, number = content, 1
        while name in taken:
            number += 1
            name = f"{content}-{number}"
        _claims.append(_Claim(name, content, ref(image), None if mask is None else ref(mask)))
        return name


def claim(name: str, image: Image, mask: Labels) -> None:
    """Note that an image's corrections, begun without a mask, are those of this one."""
    with _lock:
        for one in _claims:
            if one.name == name and one.image() is image:
                one.mask = ref(mask)


def _is_in(claim: _Claim, layers: Sequence[Layer]) -> bool:
    wanted = [claim.image(), *([] if claim.mask is None else [claim.mask()])]
    return all(any(layer is one for layer in layers) for one in wanted)
