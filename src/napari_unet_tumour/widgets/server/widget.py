"""The DICOM server panel: search a server, open a series, store a mask."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_unet_tumour import dicomweb
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import LoginError
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter
from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.widgets.common.table import FigureTable
from napari_unet_tumour.widgets.common.words import failure_text
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.measure.layers import masks
from napari_unet_tumour.widgets.server import requests
from napari_unet_tumour.widgets.server.requests import Login
from napari_unet_tumour.widgets.server.view import ServerView, series_columns, study_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Labels

    from napari_unet_tumour.dicomweb import FoundSeries, FoundStudy
    from napari_unet_tumour.widgets.common.background import Task

PART = "server"
NOT_ASKED = partial(failure_text, failed="The server could not be asked", again="try again")
LOGIN_NEEDED = "The server asks for a login: type user and password, and search again."
LOGIN_WRONG = "The server does not know this user and password: type them again."


class ServerPanel(Panel):
    """Dock widget that works with a DICOMweb server.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = ServerView()
        super().__init__(self._panel.rows(), self._panel.actions(), "Server", fills=True)
        self._viewer = viewer
        self.studies = FigureTable(self.list_series, "Click a study: list its series.")
        self.series = FigureTable(self._choose, "Click a series to choose it, double-click to open it.")
        self._panel.put_tables(self.content, self.studies, self.series)
        self._inbox = MainThreadQueue(self.native)
        self._background = Background(self._inbox.put)
        self._study: FoundStudy | None = None
        self._chosen: FoundSeries | None = None
        kept = remembered(PART)
        self._panel.address.value = str(kept.get("address", ""))
        self._folder = Path(str(kept.get("folder") or Path.home() / "DICOM"))
        self._show_folder()
        self.order_tabs()
        self._listen()
        self._on_layers()

    @property
    def running(self) -> bool:
        """Whether the server is being asked."""
        return self._background.running

    def search(self) -> None:
        """List the studies that fit what is typed."""
        panel, login = self._panel, self._login()
        kind = "" if panel.modality.value == "any" else str(panel.modality.value)
        asked = (str(panel.patient.value).strip(), str(panel.date.value).strip(), kind)
        self._start("Searching…", lambda task: dicomweb.find_studies(login.server(), *asked), self._on_studies)

    def list_series(self, study: FoundStudy) -> None:
        """List the series of a study."""
        login, self._study = self._login(), study
        self._show_series([])
        self._start("Searching…", lambda task: dicomweb.find_series(login.server(), study.uid), self._on_series)

    def fetch(self) -> None:
        """Fetch the chosen series, unless it is in the folder already, and open it."""
        study, series, login, folder = self._study, self._chosen, self._login(), self._folder
        if study is not None and series is not None:
            work = partial(requests.fetch, login=login, study=study, series=series, root=folder)
            self._start("Fetching…", work, self._on_fetched)

    def store_mask(self) -> None:
        """Store the chosen mask as DICOM SEG."""
        mask: Labels | None = self._panel.mask.value
        if mask is not None:
            data, about, _ = mask.as_layer_data_tuple()
            work = partial(requests.store_mask, login=self._login(), name=mask.name, data=np.array(data), about=about)
            self._start(f"Storing {mask.name}…", work, self._on_stored)

    def store_files(self, files: list[str]) -> None:
        """Store DICOM files."""
        if files:
            work = partial(requests.store, login=self._login(), files=[Path(one) for one in files])
            self._start("Storing…", work, self._on_stored)

    def cancel(self) -> None:
        """Stop: what is half fetched is removed."""
        if self.running:
            self._background.cancel()
            self._panel.show_running("")
            self._panel.say("Cancelled.")

    # ---- what happens in the window ------------------------------------------------------------

    def _listen(self) -> None:
        panel = self._panel
        panel.mask.choices = lambda picker: [(layer.name, layer) for layer in masks(self._viewer)]
        panel.run.changed.connect(lambda: self.cancel() if self.running else self.search())
        for line in (panel.address, panel.user, panel.password, panel.patient, panel.date):
            line.native.returnPressed.connect(self.search)
        panel.address.changed.connect(self._on_address)
        panel.open.changed.connect(self.fetch)
        panel.store.changed.connect(self.store_mask)
        panel.files.changed.connect(self._ask_for_files)
        panel.folder.changed.connect(self._ask_for_folder)
        self.series.cellDoubleClicked.connect(self._on_double_click)
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        UndockFilter(self.native, self.close_down)

    def _on_layers(self, event: Any = None) -> None:
        self._panel.mask.reset_choices()
        self._offer()

    def _on_address(self, address: str) -> None:
        """Forget the login that was typed for another server."""
        self._panel.user.value = self._panel.password.value = ""
        self._panel.show_login(False)

    def _on_double_click(self, row: int, column: int) -> None:
        if not self.running:
            self.fetch()

    def _choose(self, series: FoundSeries) -> None:
        self._chosen = series
        self._offer()

    def _offer(self) -> None:
        """Enable what can be done now."""
        idle = not self.running
        self._panel.open.enabled = idle and self._chosen is not None
        self._panel.store.enabled = idle and self._panel.mask.value is not None
        self._panel.files.enabled = idle

    def _ask_for_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self.native, "Store DICOM files", "", "DICOM (*.dcm);;All (*)")
        self.store_files(files)

    def _ask_for_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self.native, "Keep fetched series in", str(self._folder)):
            self._folder = Path(folder)
            self._show_folder()
            self._remember()

    def _show_folder(self) -> None:
        self._panel.folder.tooltip = f"Fetched series are kept in {self._folder}. Press to choose another folder."

    def _login(self) -> Login:
        panel = self._panel
        return Login(str(panel.address.value).strip(), str(panel.user.value).strip(), str(panel.password.value))

    def _remember(self) -> None:
        remember(PART, {"address": str(self._panel.address.value).strip(), "folder": str(self._folder)})

    # ---- what the server answers ---------------------------------------------------------------

    def _start(self, text: str, work: Callable[..., Any], then: Callable[[Any], None]) -> None:
        self._panel.show_running(text)
        self._background.start(
            partial(_or_login_error, work), partial(self._end, then), self._on_failed, self._panel.show_progress,
            wording=NOT_ASKED,
        )  # fmt: skip
        self._offer()

    def _end(self, then: Callable[[Any], None], answer: Any) -> None:
        self._panel.show_running("")
        if isinstance(answer, LoginError):
            self._ask_for_login()
        else:
            self._remember()
            then(answer)
        self._offer()

    def _on_failed(self, why: str) -> None:
        self._panel.show_running("")
        self._panel.say(why, wrong=True)
        self._offer()

    def _ask_for_login(self) -> None:
        panel = self._panel
        panel.say(LOGIN_WRONG if panel.user.value else LOGIN_NEEDED, wrong=True)
        panel.show_login(True)
        panel.user.native.setFocus(Qt.FocusReason.OtherFocusReason)

    def _on_studies(self, found: list[FoundStudy]) -> None:
        self._study = None
        self._show_series([])
        self.studies.show_items(study_columns(), found)
        more = " (the first ones: narrow the search)" if len(found) >= dicomweb.MOST_RESULTS else ""
        text = f"{len(found)} {'study' if len(found) == 1 else 'studies'}{more}. Click one."
        self._panel.say(text if found else "No study is found: search with fewer fields.")

    def _on_series(self, found: list[FoundSeries]) -> None:
        self._show_series(found)
        self._panel.say(f"{len(found)} series. Choose one, then Fetch and open.")

    def _show_series(self, found: list[FoundSeries]) -> None:
        self._chosen = None
        self.series.show_items(series_columns(), found)
        self._offer()

    def _on_fetched(self, answer: tuple[Path, bool]) -> None:
        folder, was_there = answer
        if not panels.open_path(self._viewer, str(folder), self._panel.say):
            return
        how = "was fetched before" if was_there else "is fetched"
        self._panel.say(f"{folder.name} {how}, and open.")

    def _on_stored(self, count: int) -> None:
        self._panel.say(f"{plural(count, 'file')} stored.")

    def close_down(self) -> None:
        """Let go of the viewer."""
        self._background.cancel()
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        self._inbox.close()
        self.native.deleteLater()


def _or_login_error(work: Callable[..., Any], task: Task) -> Any:
    """Return what work returns, or the error where the server asks for a login: the panel then asks the person."""
    try:
        return work(task)
    except LoginError as error:
        return error
