"""The DICOM server panel with a real Orthanc and with servers that behave badly, used as a person uses it."""

import json
import threading

import numpy as np
import pydicom
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_unet_tumour import dicomweb, scans
from napari_unet_tumour.base.steps import exhaust

pytest.importorskip("dicomweb_client", reason="comes with the extra 'dicomweb'")
pytestmark = pytest.mark.usefixtures("no_login")

JSON = {"Content-Type": "application/dicom+json"}


@pytest.fixture
def panel(opened):
    """The panel in an empty viewer."""
    made = opened(widget="DICOM server")
    made.wait_idle = lambda: made.wait(lambda: not made.widget.running)
    return made


@pytest.fixture
def sent(orthanc, tmp_path, dicom_series, affine_of):
    """Files and scan of a series that the server has, under a patient of its own."""
    grey = np.random.default_rng(0).integers(0, 90, (5, 30, 34)).astype(np.int16)
    place = affine_of((0, 2, 1), (1.0, -1.0, 1.0))
    files = dicom_series(tmp_path / "sent", grey, place, Modality="MR", PatientID="window 1")
    exhaust(dicomweb.iter_store(dicomweb.Server(orthanc, user="reader", password="secret-word"), files))
    return files, scans.read(tmp_path / "sent")


def answer_dialog(monkeypatch, name, answer):
    monkeypatch.setattr(QFileDialog, name, staticmethod(lambda *given: answer))


def test_a_series_is_found_opened_and_its_mask_stored(orthanc, sent, panel, tmp_path, monkeypatch):
    files, scan = sent
    view, widget, viewer = panel.panel, panel.widget, panel.viewer
    assert not view.open.enabled
    assert not view.store.enabled
    answer_dialog(monkeypatch, "getExistingDirectory", str(tmp_path / "kept"))
    panel.click(view.folder)
    view.address.value, view.patient.value, view.modality.value = orthanc, "window*", "MR"
    QTest.keyClick(view.patient.native, Qt.Key.Key_Return)
    panel.wait_idle()
    # The server asks for a login: the fields appear; a wrong one is said, the right one lists the studies.
    assert "asks for a login" in panel.status
    assert not view.login_rows[0].native.isHidden()
    for password, expected in (("wrong", "does not know"), ("secret-word", "1 study. Click one.")):
        view.user.value, view.password.value = "reader", password
        panel.click(view.run)
        panel.wait_idle()
        assert expected in panel.status
    assert widget.studies.item(0, 0).text() == "window 1"
    widget.studies.cellClicked.emit(0, 0)
    panel.wait_idle()
    assert [widget.series.item(0, c).text() for c in range(4)] == ["3", "MR", "5", "axial head"]
    widget.series.cellClicked.emit(0, 0)
    panel.click(view.open)
    panel.wait_idle()
    (image,) = viewer.layers
    np.testing.assert_array_equal(image.data, scan.array)
    (folder,) = (tmp_path / "kept").iterdir()
    assert folder.name.startswith("window_1_20200101_3_axial_head_")
    # Once more: it is there already, and is not fetched again.
    written = {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}
    widget.series.cellDoubleClicked.emit(0, 0)
    panel.wait_idle()
    assert "was fetched before" in panel.status
    assert {one.name: one.stat().st_mtime_ns for one in folder.iterdir()} == written

    data = np.zeros(image.data.shape, np.uint8)
    data[1:4, 2:4, 5:15] = 1
    place = {"scale": image.scale, "translate": image.translate, "affine": image.affine, "units": image.units}
    viewer.add_labels(data, name="drawn", metadata=image.metadata, **place)
    assert view.mask.value.name == "drawn"
    panel.click(view.store)
    panel.wait_idle()
    assert panel.status == "1 file stored."
    server = dicomweb.Server(orthanc, user="reader", password="secret-word")
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    (stored,) = [one for one in dicomweb.find_series(server, study) if one.modality == "SEG"]
    exhaust(dicomweb.iter_fetch(server, study, stored.uid, tmp_path / "seg"))
    back = scans.read_mask(next((tmp_path / "seg").iterdir()), onto=scan)
    np.testing.assert_array_equal(np.asarray(back.array), data)
    panel.close()


def test_what_is_in_the_way_is_one_line_and_the_search_stays(fake, panel, tmp_path, monkeypatch):
    view, widget, viewer = panel.panel, panel.widget, panel.viewer
    view.address.value = "pacs.example.org"
    panel.click(view.run)
    panel.wait_idle()
    assert "is no address of a server" in panel.status

    study = {"0020000D": {"Value": ["1.2.3"]}, "00100020": {"Value": ["4711"]}, "00080020": {"Value": ["20260102"]}}
    codes = {"/studies/1.2.3/series": 503}

    def answer(method, path):
        code = next((code for part, code in codes.items() if part in path), 200)
        return code, JSON, json.dumps([study]).encode()

    server = fake(answer)
    view.address.value = server.url
    panel.click(view.run)
    panel.wait_idle()
    assert [widget.studies.item(0, c).text() for c in range(2)] == ["4711", "2026-01-02"]
    widget.studies.cellClicked.emit(0, 0)
    panel.wait_idle()
    assert "failed during the search (503)" in panel.status
    assert widget.studies.rowCount() == 1
    # A mask that no DICOM series belongs to cannot be stored: it stays as it is.
    mask = viewer.add_labels(np.ones((4, 8, 8), np.uint8), name="drawn")
    panel.click(view.store)
    panel.wait_idle()
    assert panel.status.startswith("drawn was not stored: ")
    assert mask in viewer.layers
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM")
    answer_dialog(monkeypatch, "getOpenFileNames", ([str(text)], ""))
    panel.click(view.files)
    panel.wait_idle()
    assert "notes.txt is no DICOM object" in panel.status
    assert view.login_rows[0].native.isHidden()
    panel.close()


def test_a_slow_server_is_cancelled_and_another_search_goes_on(fake, panel):
    view = panel.panel
    free = threading.Event()

    def answer(method, path):
        free.wait(20)
        return 200, JSON, b"[]"

    view.address.value = fake(answer).url
    panel.click(view.run)
    assert panel.widget.running
    assert view.run.text == "Cancel"
    panel.click(view.run)
    assert (panel.status, view.run.text) == ("Cancelled.", "Search")
    free.set()
    panel.click(view.run)
    panel.wait_idle()
    assert panel.status == "No study is found: search with fewer fields."
    panel.close()
