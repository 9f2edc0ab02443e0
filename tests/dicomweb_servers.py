"""A real Orthanc, started once, and small servers that behave badly."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

USER, PASSWORD = "reader", "secret-word"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    """No login of the person who runs the tests, and no proxy between a test and its server."""
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"NAPARI_UNET_TUMOUR_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def login(monkeypatch):
    """The environment holds the login of `orthanc`."""
    monkeypatch.setenv("NAPARI_UNET_TUMOUR_DICOMWEB_USER", USER)
    monkeypatch.setenv("NAPARI_UNET_TUMOUR_DICOMWEB_PASSWORD", PASSWORD)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    """The address of an Orthanc that asks for a login; the test is skipped where it is not installed."""
    pytest.importorskip("dicomweb_client", reason="comes with the extra 'dicomweb'")
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.exists():
        pytest.skip("Orthanc is not installed: sudo apt-get install orthanc orthanc-dicomweb")
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    settings = {
        "Name": "test", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port,
        "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_it_answers(process, port, folder / "log")
        yield f"http://127.0.0.1:{port}/dicom-web"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_it_answers(process, port, log):
    for _ in range(300):
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return  # it asks for a login
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace"))


@pytest.fixture
def fake():
    """Function that starts a server which answers as `answer(method, path)` says: code, headers, body."""
    started = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                code, headers, body = answer(self.command, self.path)
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args):
                pass

        seen = []
        made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        started.append((made, thread))
        return SimpleNamespace(url=f"http://127.0.0.1:{made.server_port}", seen=seen, server=made)

    yield start
    for made, thread in started:
        made.shutdown()
        made.server_close()
        thread.join()
