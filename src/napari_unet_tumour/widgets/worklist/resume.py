"""Where a person stopped the last time: the folder and the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.worklist import ACCEPTED

if TYPE_CHECKING:
    from napari_unet_tumour.worklist import Worklist

PART = "worklist"


class LastPlace:
    """What an earlier session left, and what this one leaves."""

    def __init__(self) -> None:
        self._kept = remembered(PART)

    @property
    def folder(self) -> str:
        """The folder of the last list, "" at first."""
        return str(self._kept.get("folder", ""))

    def case_of(self, worklist: Worklist) -> str | None:
        """Return the key of the scan where the person stopped, unless it is accepted, broken or gone."""
        if self.folder != str(worklist.folder):
            return None
        case = next((one for one in worklist.cases if one.key == self._kept.get("case")), None)
        return None if case is None or case.state == ACCEPTED or case.broken else case.key

    def keep(self, worklist: Worklist, key: str | None) -> None:
        """Remember a list and the scan that is open, or keep the one that was."""
        self._kept = {"folder": str(worklist.folder), "case": key or self.case_of(worklist)}
        remember(PART, self._kept)
