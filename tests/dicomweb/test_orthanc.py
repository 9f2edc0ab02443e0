"""Search, fetch and store with a real Orthanc, as a person does it on the command line and from Python."""

import os
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from napari_unet_tumour import dicomweb, scans
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.cli import demo, main
from napari_unet_tumour.cli import dicomweb as cli_dicomweb
from napari_unet_tumour.dicomweb import server as dicomweb_server
from napari_unet_tumour.errors import OutputError, ServerError
from napari_unet_tumour.measure import measure, write_dicom_sr


@pytest.fixture
def series(orthanc, login, tmp_path, dicom_series, affine_of):
    """A series that the server has: its first header, and the scan it was made from."""
    grey = np.random.default_rng(0).integers(0, 90, (5, 30, 34)).astype(np.int16)
    files = dicom_series(tmp_path / "sent", grey, affine_of((0, 2, 1), (1.0, -1.0, 1.0)), Modality="MR")
    assert exhaust(dicomweb.iter_store(dicomweb.Server(orthanc), files)) == 5
    return pydicom.dcmread(files[0]), scans.read(tmp_path / "sent")


def test_query_fetch_open_measure_and_store_back(orthanc, series, tmp_path, capsys):
    header, scan = series
    study, uid = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    assert main(["dicomweb", "query", orthanc, "--patient", "47*", "--modality", "MR"]) == 0
    assert study in capsys.readouterr().out
    assert main(["dicomweb", "query", orthanc, "--study", study]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if uid in line]
    assert "axial head" in line
    assert main(["dicomweb", "fetch", orthanc, study, uid, str(tmp_path / "got")]) == 0
    assert "5 images in" in capsys.readouterr().out
    got = scans.read(tmp_path / "got")
    np.testing.assert_array_equal(got.array, scan.array)
    np.testing.assert_allclose(got.world, scan.world)

    array = np.zeros(got.array.shape, np.uint8)
    array[1:4, 2:4, 5:15] = 1
    mask = replace(got, array=array, name="mask")
    files = write_dicom_sr(tmp_path / "r.dcm", measure(mask, got), mask, got)
    assert main(["dicomweb", "store", orthanc, *map(str, files)]) == 0
    assert "2 files stored" in capsys.readouterr().out
    server = dicomweb.Server(orthanc)
    found = {one.modality: one for one in dicomweb.find_series(server, study)}
    assert set(found) == {"MR", "SEG", "SR"}
    exhaust(dicomweb.iter_fetch(server, study, found["SEG"].uid, tmp_path / "seg"))
    back = scans.read_mask(next((tmp_path / "seg").iterdir()), onto=got)
    np.testing.assert_array_equal(np.asarray(back.array), array)


def test_what_the_server_does_not_have_gets_one_line_and_leaves_nothing(orthanc, series, tmp_path):
    server, study = dicomweb.Server(orthanc), str(series[0].StudyInstanceUID)
    assert dicomweb.find_studies(server, patient="nobody") == []
    with pytest.raises(ServerError, match=r"has no study 1\.2\.3: search"):
        dicomweb.find_series(server, "1.2.3")
    for where in (study, "1.2.3"):
        with pytest.raises(ServerError, match=r"no series 1\.2\.4 in this study"):
            exhaust(dicomweb.iter_fetch(server, where, "1.2.4", tmp_path / "got"))
    with pytest.raises(ServerError, match=r"\.\./x is no UID"):
        exhaust(dicomweb.iter_fetch(server, study, "../x", tmp_path / "got"))
    assert [one.name for one in tmp_path.iterdir()] == ["sent"]


def test_a_cancelled_fetch_leaves_nothing_and_a_folder_in_use_stays(orthanc, series, tmp_path):
    header, _ = series
    given = (dicomweb.Server(orthanc), str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
    steps = dicomweb.iter_fetch(*given, tmp_path / "got")
    first = next(steps)
    assert (first.done, first.total) == (1, 5)
    steps.close()
    with pytest.raises(OutputError, match="is in use: give the name of a new folder"):
        exhaust(dicomweb.iter_fetch(*given, tmp_path / "sent"))
    assert [one.name for one in tmp_path.iterdir()] == ["sent"]
    assert len(list((tmp_path / "sent").iterdir())) == 5
    (tmp_path / "empty").mkdir()
    assert len(list(exhaust(dicomweb.iter_fetch(*given, tmp_path / "empty")).iterdir())) == 5


def test_a_login_is_needed_and_comes_from_the_environment_or_netrc(orthanc, series, tmp_path, monkeypatch, capsys):
    user, password = (os.environ[name] for name in (dicomweb_server.USER, dicomweb_server.PASSWORD))
    monkeypatch.setenv(dicomweb_server.PASSWORD, "wrong")
    assert main(["dicomweb", "query", orthanc]) == 1
    said = capsys.readouterr()
    assert "asks for a login (401): set NAPARI_UNET_TUMOUR_DICOMWEB_TOKEN" in said.err
    assert "wrong" not in said.err + said.out
    monkeypatch.delenv(dicomweb_server.USER)
    assert main(["dicomweb", "query", orthanc]) == 1
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {user} password {password}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert main(["dicomweb", "query", orthanc]) == 0


def test_a_fetched_series_is_opened_in_napari(orthanc, series, tmp_path, monkeypatch):
    header, scan = series
    place = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(tmp_path / "got"))
    started = []
    monkeypatch.setattr(demo, "has_screen", lambda: True)
    monkeypatch.setattr(cli_dicomweb.subprocess, "call", lambda words: started.append(words) or 0)
    assert main(["dicomweb", "fetch", orthanc, *place, "--open"]) == 0
    (words,) = started
    assert words[1:] == ["-m", "napari", "--plugin", "napari-unet-tumour", str(tmp_path / "got")]
    np.testing.assert_array_equal(scans.read(words[-1]).array, scan.array)


def test_without_a_screen_nothing_is_fetched(orthanc, series, tmp_path, monkeypatch, capsys):
    header, _ = series
    monkeypatch.setattr(demo, "has_screen", lambda: False)
    place = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(tmp_path / "got"))
    assert main(["dicomweb", "fetch", orthanc, *place, "--open"]) != 0
    assert "no screen" in capsys.readouterr().err
    assert not (tmp_path / "got").exists()
