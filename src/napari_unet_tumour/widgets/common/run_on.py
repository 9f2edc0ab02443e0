"""One picker for where a network runs: a device of this computer, or a dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import LineEdit

from napari_unet_tumour.widgets.common.style import picker, row

if TYPE_CHECKING:
    from collections.abc import Sequence

CLUSTER = "cluster"
# How settings files spell the place.
HERE, THERE = "this computer", "a scheduler"
NAMES = {"auto": "automatic", "cpu": "CPU", "cuda": "CUDA GPU", "mps": "Apple GPU", CLUSTER: "dask cluster"}


class RunOn:
    """The picker, and a row for the cluster's address that is shown with it alone.

    Parameters
    ----------
    devices : sequence of str
        Devices that the settings allow, e.g. "auto", "cpu".
    tooltip : str
        What runs there.
    """

    def __init__(self, devices: Sequence[str], tooltip: str) -> None:
        choices = [(NAMES[name], name) for name in (*devices, CLUSTER)]
        self.picker = picker("Run on", tooltip, choices, "auto")
        self.picker.name = "device"
        self.address = LineEdit(label="Address", value="", tooltip="Address of the cluster, e.g. tls://gpu-box:8786")
        self.address.native.setPlaceholderText("tls://host:8786")
        self.address_row = row(self.address)
        self._show_address()
        self.picker.changed.connect(self._show_address)

    @property
    def device(self) -> str:
        """The device as settings spell it; "auto" on a cluster, which chooses for itself."""
        return "auto" if self.on_cluster else str(self.picker.value)

    @property
    def on_cluster(self) -> bool:
        """Whether a cluster is chosen."""
        return bool(self.picker.value == CLUSTER)

    @property
    def scheduler(self) -> str:
        """Address of the cluster; "" for this computer."""
        return str(self.address.value).strip() if self.on_cluster else ""

    @property
    def value(self) -> str:
        """`HERE` or `THERE`, as settings files spell it."""
        return THERE if self.on_cluster else HERE

    @value.setter
    def value(self, place: str) -> None:
        if (place == THERE) != self.on_cluster:
            self.picker.value = CLUSTER if place == THERE else "auto"

    def _show_address(self) -> None:
        self.address_row.visible = self.on_cluster
