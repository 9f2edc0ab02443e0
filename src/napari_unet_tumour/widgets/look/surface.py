"""A Surface layer that follows a mask: made in the worker process, again soon after each edit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.lazy import computed
from napari_unet_tumour.look.mesh import Mesh, box_of
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, single_shot_timer
from napari_unet_tumour.widgets.layers.edits import Edits
from napari_unet_tumour.widgets.layers.image_source import KEY, shown_at
from napari_unet_tumour.widgets.layers.world import PLACE, axes_of, world_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_unet_tumour.widgets.common.background import Task

TASK = "napari_unet_tumour.look.mesh:mesh_of"
# So long after the last edit it is made anew.
WAIT_MS = 400
COPIED = ("units", "axis_labels")


class MaskSurface:
    """The surface of one mask at a time.

    Parameters
    ----------
    viewer : ViewerModel
        Where the layer is added.
    owner : QWidget
        With it everything ends.
    said : callable
        Called with what there is to say.
    ended : callable
        Called when the person has removed the mask or the surface.
    """

    def __init__(
        self, viewer: ViewerModel, owner: QWidget, said: Callable[[str], None], ended: Callable[[], None]
    ) -> None:
        self._viewer, self._said, self._ended = viewer, said, ended
        self._inbox = MainThreadQueue(owner)
        self._background = Background(self._inbox.put)
        self._timer = single_shot_timer(owner, WAIT_MS, self._make)
        self._edits = Edits(viewer, self._on_edit)
        self._mask: Any = None
        self.layer: Any = None
        self.complaint = ""
        self._made_at: tuple[int, ...] = ()
        self._empty = False
        viewer.layers.events.removed.connect(self._on_removed)

    # ---- which mask ------------------------------------------------------------------------------------

    def follow(self, mask: Any) -> None:
        """Show the surface of a mask from now on, or of none."""
        self._stop()
        self.complaint = "" if mask is None else _complaint(mask)
        self._said(self.complaint)
        if mask is None or self.complaint:
            return
        self._mask = mask
        self._edits.watch([mask])
        for emitter, call in self._listened():
            emitter.connect(call)
        self._make()

    @property
    def mask(self) -> Any:
        """The mask whose surface is shown, or None."""
        return self._mask

    def _listened(self) -> list[tuple[Any, Any]]:
        events = self._mask.events
        looks = [(events.colormap, self._on_edit), (events.name, self._on_name)]
        looks.append((self._viewer.dims.events.ndisplay, self._show_in_3d))
        if self._mask.ndim > 3:
            looks.append((self._viewer.dims.events.point, self._on_time))
        return [*looks, *((getattr(events, name), self._on_place) for name in PLACE)]

    def _stop(self) -> None:
        """Drop what is under way, and take the layer away."""
        self._timer.stop()
        self._background.cancel()
        self._edits.watch(())
        if self._mask is not None:
            for emitter, call in self._listened():
                emitter.disconnect(call)
        self._mask, layer, self.layer = None, self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def close(self) -> None:
        """Let go of the viewer; the layer goes too."""
        self._stop()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._inbox.close()

    def _on_removed(self, event: Any) -> None:
        if self._mask is not None and event.value in (self._mask, self.layer):
            self._stop()
            self._said("")
            self._ended()

    def _on_edit(self, mask: Any) -> None:
        self._timer.start()

    def _on_name(self, event: Any) -> None:
        if self.layer is not None:
            self.layer.name = _name(self._mask)

    def _on_place(self, event: Any) -> None:
        self._timer.start()

    def _show_in_3d(self, event: Any = None) -> None:
        """Hide the surface where slices are shown: napari would draw it whole above them."""
        if self.layer is not None:
            self.layer.visible = self._viewer.dims.ndisplay == 3 and not self._empty

    def _on_time(self, event: Any) -> None:
        """Show the surface of the time point that is shown."""
        if self._time() != self._made_at:
            self._timer.start()

    def _time(self) -> tuple[int, ...]:
        first = self._mask.ndim - 3
        at = np.nan_to_num(shown_at(self._viewer, self._mask)[:first])
        return tuple(int(n) for n in np.clip(np.round(at), 0, np.array(self._mask.data.shape[:first]) - 1))

    # ---- the surface -----------------------------------------------------------------------------------

    def _make(self) -> None:
        """Have the surface of the mask as it is now made; an older one that is under way is dropped."""
        mask = self._mask
        if mask is None:
            return
        index = self._made_at = self._time()
        unsure = mask.metadata.get(KEY, {}).get("unsure")
        work = partial(_mesh, mask.data[index], world_of(mask)[-4:-1, -4:-1], unsure)
        self._background.start(work, partial(self._show, index), self._show_none)

    def _show_none(self, why: str) -> None:
        self._said(f"No surface of '{self._mask.name}': {why}")
        self._empty = True
        self._show_in_3d()

    def _show(self, index: tuple[int, ...], mesh: Mesh | None) -> None:
        if mesh is None:
            self._show_none("it is empty: draw or segment something first")
            return
        before = np.broadcast_to(np.array(index, np.float32), (len(mesh.vertices), len(index)))
        vertices, scale = _in_world(self._mask, np.hstack([before, mesh.vertices]))
        data = (vertices, mesh.faces, np.searchsorted(mesh.labels, mesh.values))
        self._put(data, scale, [self._mask.get_color(label) for label in mesh.labels])
        count = len(mesh.labels)
        self._said(f"{count} label{'s' * (count != 1)}, {len(mesh.faces):,} triangles. Shown in 3D (Ctrl-Y).")

    def _put(self, data: Any, scale: NDArray[np.float64], colours: list[Any]) -> None:
        """Show triangles, coloured by label."""
        from napari.layers import Surface

        about = {"colormap": _colormap(colours), "contrast_limits": (-0.5, len(colours) - 0.5), "scale": scale}
        if self.layer is None:
            copied = {name: getattr(self._mask, name) for name in COPIED}
            active = self._viewer.layers.selection.active
            self.layer = Surface(data, name=_name(self._mask), shading="smooth", **about, **copied)
            self._viewer.add_layer(self.layer)
            self._viewer.layers.selection.active = active
            self._empty = False
            self._show_in_3d()
            return
        self.layer.data = data
        for name, value in about.items():
            setattr(self.layer, name, value)
        if self._empty:
            self._empty = False
            self._show_in_3d()


def _mesh(data: NDArray[Any], linear: NDArray[np.float64], unsure: int | None, task: Task) -> Mesh | None:
    """Copy what is marked, and have the worker make its surface; None where nothing is marked."""
    box = box_of(data)
    if box is None:
        return None
    start = [part.start for part in box]
    found: Mesh | None = task.ask(TASK, np.array(computed(data[box])), start, data.shape, linear, unsure)
    return found


def _complaint(mask: Any) -> str:
    shape = getattr(mask.data, "shape", ())
    if mask.multiscale or not isinstance(mask.data, np.ndarray):
        return f"No surface of '{mask.name}': it is not in memory; choose it in the Correct panel and press Copy there"
    if mask.ndim < 3 or axes_of(mask)[-3:] != "zyx" or min(shape[-3:]) < 2:
        return f"No surface of '{mask.name}': it is flat; choose a mask with several slices"
    return ""


def _in_world(mask: Any, vertices: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return vertices and the scale of a Surface layer that lie where a mask's voxels lie.

    The scale is the same along all axes of space: with another one the surface would be lit wrongly. It is as long as
    the mask's longest step, so that the steps of the sliders do not change.
    """
    world = world_of(mask)
    steps = np.abs(world[:-1, :-1]).sum(axis=1)
    scale = np.array([*steps[:-3], *[steps[-3:].max()] * 3])
    places = (vertices @ world[:-1, :-1].T + world[:-1, -1]) / scale
    return places.astype(np.float32), scale


def _name(mask: Any) -> str:
    return f"{mask.name} surface"


def _colormap(colours: list[Any]) -> Any:
    """Return a map with one colour for each of 0, 1, 2, ..."""
    from napari.utils.colormaps import Colormap

    opaque = [(*(float(one) for one in colour[:3]), 1.0) for colour in colours]
    opaque = opaque * 2 if len(opaque) == 1 else opaque  # vispy wants two
    return Colormap(opaque, controls=np.linspace(0, 1, len(opaque) + 1), interpolation="zero", name="labels")
