"""Servers that do not answer, refuse, or are none: one line with a remedy each, and nothing left behind."""

import json
import os
import socket
import ssl
import subprocess

import numpy as np
import pydicom
import pytest

from napari_unet_tumour import dicomweb
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.cli import main
from napari_unet_tumour.dicomweb import server as dicomweb_server
from napari_unet_tumour.errors import OutputError, ScanError, ServerError

pytest.importorskip("dicomweb_client", reason="comes with the extra 'dicomweb'")

JSON = {"Content-Type": "application/dicom+json"}
HTML = {"Content-Type": "text/html"}
INSTANCES = [{"00080018": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in (1, 2, 3)]


@pytest.fixture
def files(tmp_path, dicom_series, affine_of):
    return dicom_series(
        tmp_path / "sent", np.arange(180, dtype=np.int16).reshape(5, 6, 6), affine_of((0, 1, 2), (1.0, 1.0, 1.0))
    )


def line_of(error):
    text = str(error.value)
    assert "\n" not in text
    return text


REFUSALS = {
    400: "check the given numbers",
    401: "NAPARI_UNET_TUMOUR_DICOMWEB_TOKEN",
    403: "ask its administrator for the right",
    404: "often ends in /dicom-web",
    405: "often ends in /dicom-web",
    418: "ask its administrator",
    500: "try again later",
    503: "try again later",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_each_refusal_says_what_to_do(fake, code):
    made = fake(lambda *_: (code, HTML, b"no"))
    with pytest.raises(ServerError, match=rf"\({code}\)") as error:
        dicomweb.find_studies(dicomweb.Server(made.url))
    assert REFUSALS[code] in line_of(error)
    assert len(made.seen) == 1  # a person waits for no repeats


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b'{"status": "ok"}', b'["a", "b"]', b"[{}]", b"3", b"\xff\xfe", b"null"]
)
def test_a_server_of_another_kind_is_said(fake, body):
    made = fake(lambda *_: (200, HTML, body))
    with pytest.raises(ServerError, match="does not answer as a DICOMweb server") as error:
        dicomweb.find_studies(dicomweb.Server(made.url))
    line_of(error)


def test_no_result_is_no_error(fake):
    for code, body in ((204, b""), (200, b"[]"), (200, b"")):
        made = fake(lambda *_, code=code, body=body: (code, JSON, body))
        assert dicomweb.find_studies(dicomweb.Server(made.url)) == []


def test_a_server_that_is_not_there_or_says_nothing(tmp_path, capsys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert main(["dicomweb", "query", f"http://127.0.0.1:{port}/dicom-web"]) == 1
        assert "cannot be reached: check the address" in capsys.readouterr().err
        silent.listen()
        with pytest.raises(ServerError, match=r"has sent nothing for 0\.3 s: try again later"):
            dicomweb.find_studies(dicomweb.Server(f"http://127.0.0.1:{port}", answer_s=0.3))
    assert main(["dicomweb", "query", "http://no-such-host.invalid/dicom-web"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "url", ["pacs.example.org", "ftp://a/b", "http://", "https:///x", "", "http://a b/", "http://[::"]
)
def test_what_is_no_address_is_said(url, capsys):
    assert main(["dicomweb", "query", url]) == 1
    assert "give one such as https://pacs.example.org/dicom-web" in capsys.readouterr().err


def test_a_password_in_the_address_is_refused_and_not_printed(capsys):
    assert main(["dicomweb", "query", "https://reader:secret-word@pacs.example.org/dicom-web"]) == 1
    said = capsys.readouterr()
    assert "leave user and password out of the address" in said.err
    assert "secret-word" not in said.err + said.out


def test_a_token_is_sent_and_nowhere_printed(fake, monkeypatch, capsys, caplog):
    monkeypatch.setenv(dicomweb_server.TOKEN, "tok-en")
    made = fake(lambda *_: (403, HTML, b"tok-en?"))
    with caplog.at_level("DEBUG"):
        assert main(["dicomweb", "query", made.url]) == 1
    assert made.seen[0][2]["Authorization"] == "Bearer tok-en"
    said = capsys.readouterr()
    assert "tok-en" not in said.err + said.out + caplog.text


def test_a_certificate_that_is_not_trusted(fake, tmp_path, monkeypatch):
    made = fake(lambda *_: (200, JSON, b"[]"))
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    keys = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2", "-nodes"]
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", *keys, *subject], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    made.server.socket = context.wrap_socket(made.server.socket, server_side=True)
    url = made.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(ServerError, match="certificate that is not trusted: set REQUESTS_CA_BUNDLE"):
        dicomweb.find_studies(dicomweb.Server(url))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert dicomweb.find_studies(dicomweb.Server(url)) == []


def multipart(parts, boundary="xyz", end=True):
    body = b"".join(b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    head = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
    return head, body + b"--xyz--" * end


def test_a_transfer_that_is_not_whole_leaves_nothing(fake, files, tmp_path):
    header = pydicom.dcmread(files[0])
    study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    listed = [{"00080018": {"vr": "UI", "Value": [str(pydicom.dcmread(file).SOPInstanceUID)]}} for file in files]
    head, body = multipart([files[0].read_bytes(), files[1].read_bytes()])
    odd_head, odd = multipart([b"not dicom at all" * 20])
    cases = {
        rf"has sent 2 of {len(files)} images: fetch it again": (200, head, body),
        "has broken off the connection|cannot be reached": (
            200,
            {**head, "Content-Length": str(len(body) + 999)},
            body,
        ),
        "does not answer as a DICOMweb server": (200, odd_head, odd),
        r"does not allow the transfer \(403\)": (403, HTML, b""),
    }
    for message, given in cases.items():
        made = fake(
            lambda _, path, given=given: (200, JSON, json.dumps(listed).encode()) if "instances" in path else given
        )
        with pytest.raises(ServerError, match=message) as error:
            exhaust(dicomweb.iter_fetch(dicomweb.Server(made.url), study, series, tmp_path / "got"))
        line_of(error)
        assert [one.name for one in tmp_path.iterdir()] == ["sent"]


def test_a_server_that_lists_fewer_images_than_it_sends_gives_all(fake, files, tmp_path):
    header = pydicom.dcmread(files[0])
    listed = [{"00080018": {"vr": "UI", "Value": [str(header.SOPInstanceUID)]}}]
    sent = multipart([file.read_bytes() for file in files])
    made = fake(lambda _, path: (200, JSON, json.dumps(listed).encode()) if "instances" in path else (200, *sent))
    given = (dicomweb.Server(made.url), str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
    assert len(list(exhaust(dicomweb.iter_fetch(*given, tmp_path / "got")).iterdir())) == len(files)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(fake, files, tmp_path):
    header = pydicom.dcmread(files[0])
    made = fake(lambda *_: (200, JSON, json.dumps(INSTANCES).encode()))
    (tmp_path / "locked").mkdir(mode=0o500)
    given = (dicomweb.Server(made.url), str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
    with pytest.raises(OutputError, match="cannot be written"):
        exhaust(dicomweb.iter_fetch(*given, tmp_path / "locked" / "got"))


def test_what_is_no_dicom_is_not_sent(fake, files, tmp_path):
    made = fake(lambda *_: (200, JSON, b"{}"))
    (tmp_path / "r.html").write_text("<html>")
    for bad in (tmp_path / "r.html", tmp_path / "none.dcm", tmp_path):
        with pytest.raises(ScanError):
            exhaust(dicomweb.iter_store(dicomweb.Server(made.url), [files[0], bad]))
    assert made.seen == []


STORED = {
    (409, 0x0122): "does not take this kind of object",
    (409, 0xA900): "check that patient and study",
    (200, 0xA700): "its disk or memory is full",
    (202, 0xC000): "check that patient and study",
    (409, None): "see the log of the server",
    (413, None): "takes no file as large as this",
    (401, None): "asks for a login",
}


@pytest.mark.parametrize(("code", "number"), STORED)
def test_a_file_that_is_not_stored_is_named_with_the_reason(fake, files, code, number):
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [number]}}]}}
    body = b"" if number is None else json.dumps(failed).encode()
    answers = iter([(200, JSON, b"{}"), (code, JSON, body)])
    made = fake(lambda *_: next(answers))
    with pytest.raises(ServerError, match=rf"{files[1].name} was not stored \(1 of 3 were stored before\)") as error:
        exhaust(dicomweb.iter_store(dicomweb.Server(made.url), files[:3]))
    assert STORED[code, number] in line_of(error)


def test_without_the_extra_the_line_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dicomweb_client", None)
    with pytest.raises(ServerError, match=r"pip install 'napari-unet-tumour\[dicomweb\]'"):
        dicomweb.Server("http://127.0.0.1/dicom-web")
