"""A DICOMweb server: its address, how a person logs in, and one line for everything that can go wrong with it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from napari_unet_tumour.errors import LoginError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "NAPARI_UNET_TUMOUR_DICOMWEB_TOKEN"
USER = "NAPARI_UNET_TUMOUR_DICOMWEB_USER"
PASSWORD = "NAPARI_UNET_TUMOUR_DICOMWEB_PASSWORD"
# Seconds to connect, and between two pieces of an answer.
CONNECT_S, ANSWER_S = 10.0, 60.0
LOGIN = f"set {TOKEN}, or {USER} and {PASSWORD}, or name the server in ~/.netrc"
CHECK_ADDRESS = "check the address, which often ends in /dicom-web"
_LOGIN_NEEDED, _TOO_LARGE = 401, 413


class Server:
    """A DICOMweb server. Nothing is asked of it yet.

    The login is the one that is given, else that of the environment (a token, or user and password) or of ~/.netrc;
    it is never printed.
    Certificates of a hospital's own are trusted where REQUESTS_CA_BUNDLE names their file.

    Parameters
    ----------
    url : str
        The address that QIDO-RS, WADO-RS and STOW-RS lie below, e.g. "https://pacs.example.org/dicom-web".
    connect_s, answer_s : float
        How long to wait for a connection, and for the next piece of an answer, in seconds.
    user, password : str
        A login, in place of that of the environment.

    Raises
    ------
    ServerError
        dicomweb-client is not installed, or the address is none.
    """

    def __init__(
        self,
        url: str,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        user: str = "",
        password: str = "",
    ) -> None:
        self.url = _checked(url)
        try:
            import requests
            from dicomweb_client import DICOMwebClient
        except ImportError as error:
            raise ServerError("pip install 'napari-unet-tumour[dicomweb]' to reach a DICOMweb server") from error
        session = _session(requests, user, password)
        self._answer_s = answer_s
        try:
            self.client: Any = DICOMwebClient(self.url, session=session, timeout=(connect_s, answer_s))
        except ValueError as error:
            raise _no_address(self.url) from error
        # Its own repeats would keep a person waiting for half a minute before a wrong address is said.
        self.client.set_http_retry_params(retry=False)

    @contextmanager
    def errors(self, action: str, missing: str) -> Iterator[None]:
        """Turn what goes wrong with a request into a ServerError of one line.

        Parameters
        ----------
        action : str
            What is refused, e.g. "the search".
        missing : str
            What "not found" means, with a remedy.
        """
        from pydicom.errors import InvalidDicomError
        from requests import exceptions

        odd = (ValueError, KeyError, TypeError, AttributeError, EOFError, InvalidDicomError)
        try:
            yield
        except exceptions.HTTPError as error:
            response: Any = error.response  # there is one in every HTTPError of a request
            kind = LoginError if response.status_code == _LOGIN_NEEDED else ServerError
            raise kind(f"{self.url} {self._refused(response, action, missing)}") from error
        except exceptions.SSLError as error:
            raise ServerError(
                f"{self.url} has a certificate that is not trusted: set REQUESTS_CA_BUNDLE to the file with the "
                "certificate of your hospital, or check the address"
            ) from error
        except (exceptions.Timeout, exceptions.ConnectionError, exceptions.ChunkedEncodingError) as error:
            raise ServerError(f"{self.url} {self._silent(error)}") from error
        except (exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema) as error:
            raise _no_address(self.url) from error
        except (exceptions.RequestException, *odd) as error:
            raise ServerError(f"{self.url} does not answer as a DICOMweb server: {CHECK_ADDRESS}") from error

    def _refused(self, response: Any, action: str, missing: str) -> str:
        """Return why a server says no, by the number of its answer."""
        code = int(response.status_code)
        known = {
            400: f"does not understand {action} (400): check the given numbers and UIDs",
            _LOGIN_NEEDED: f"asks for a login (401): {LOGIN}",
            403: f"does not allow {action} (403): ask its administrator for the right",
            404: f"has nothing there (404): {missing}",
            405: f"does not offer {action} (405): {CHECK_ADDRESS}",
            409: f"has stored nothing (409): {failures(response) or 'see the log of the server for the reason'}",
            _TOO_LARGE: f"takes no file as large as this (413): ask its administrator to allow {action}",
        }
        if code in known:
            return known[code]
        if code >= 500:
            return f"failed during {action} ({code}): try again later, or see the log of the server"
        return f"refused {action} ({code}): ask its administrator"

    def _silent(self, error: Exception) -> str:
        from requests import exceptions

        if isinstance(error, exceptions.ConnectTimeout):
            return "does not answer: check the address, and whether this computer may reach it"
        if isinstance(error, exceptions.Timeout) or "timed out" in str(error).lower():
            return f"has sent nothing for {self._answer_s:g} s: try again later"
        if isinstance(error, exceptions.ChunkedEncodingError) or "reset" in str(error).lower():
            return "has broken off the connection: try again"
        return "cannot be reached: check the address, and whether the server runs"


def failures(response: Any) -> str:
    """Return why instances were not stored, as the body of an answer says it; "" where it does not."""
    try:
        items = response.json()["00081198"]["Value"]
        numbers = sorted({int(one["00081197"]["Value"][0]) for one in items})
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return " and ".join(reason(number) for number in numbers)


def reason(number: int) -> str:
    """Return a failure reason (0008,1197) in words, with what to do (PS3.18, table 10.5.3-1)."""
    if number >> 8 == 0xA7:
        return "its disk or memory is full: tell its administrator"
    if number >> 8 == 0xA9 or number >> 12 == 0xC:
        return "it does not accept the file's content: check that patient and study are those of the server"
    words = {
        0x0110: "it failed while processing the file: see the log of the server",
        0x0111: "it has the file already: nothing has to be stored",
        0x0122: "it does not take this kind of object: ask its administrator to allow it",
        0x0124: "it does not allow storing: ask its administrator for the right",
    }
    return words.get(number, f"it gives the reason {number:#06x}: ask its administrator")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _no_address("What is given") from error
    if parts.username is not None or parts.password is not None:
        # Said without the address: it would print the password.
        raise ServerError(f"leave user and password out of the address, where others can read them: {LOGIN}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _no_address(url)
    return url.rstrip("/")


def _no_address(url: str) -> ServerError:
    return ServerError(f"{url} is no address of a server: give one such as https://pacs.example.org/dicom-web")


def _session(requests: Any, user: str, password: str) -> Any:
    class Session(requests.Session):  # type: ignore[misc]
        def get(self, url: str, **given: Any) -> Any:
            # Orthanc takes the wildcards only as they are, which a query may hold (RFC 3986).
            return super().get(url.replace("%2A", "*").replace("%3F", "?"), **given)

    session: Any = Session()
    given = requests.auth.HTTPBasicAuth(user.encode(), password.encode()) if user else None
    session.auth = given or _login(requests.auth)
    session.headers["Accept"] = "application/dicom+json"
    return session


def _login(auth: Any) -> Any:
    """Return what adds the login of the environment to a request; None leaves it to ~/.netrc."""
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if not token:
        return auth.HTTPBasicAuth(user.encode(), password.encode()) if user else None

    class Bearer(auth.AuthBase):  # type: ignore[misc]
        def __call__(self, request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

    return Bearer()
