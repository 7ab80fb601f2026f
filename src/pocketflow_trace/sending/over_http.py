"""Looks at what a collector answers over HTTP, of which the SDK's exporter reads the status only.

To the exporter a redirect is a success, and so are a web page and an answer that rejects half of
the spans.
"""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import requests
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocketflow_trace.sending.witness import Listener

_PROTOBUF: Final = "application/x-protobuf"
_WEB_PAGE: Final = "text/html"
_MOST_BYTES: Final = 64 * 1024
"""What is read of an answer: an honest one has a few bytes, and none may fill our memory."""


class NotTakenError(requests.RequestException):
    """What answered took no spans, whatever its status means to the exporter."""


class ListeningSession(requests.Session):
    """Sends requests as always, and tells a listener what came of them."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, to where it is addressed and nowhere else.

        Raises:
            requests.RequestException: There was no answer, or one that is not a collector's.
        """
        options = {**kwargs, "stream": True, "allow_redirects": False}
        if isinstance(self.verify, str):
            # OpenTelemetry's own variable; `requests` would prefer its REQUESTS_CA_BUNDLE.
            options["verify"] = self.verify
        try:
            response = super().send(request, **options)
            body = _read(response)
            _check(response)
        except requests.RequestException as exc:
            self._listener.note(exc)
            raise
        if not response.ok:
            self._listener.note(f"{response.status_code} {response.reason}")
        elif response.headers.get("Content-Type", "").startswith(_PROTOBUF):
            _tell_rejected(body, self._listener.reject)
        return response


def _read(response: requests.Response) -> bytes:
    """Read the body, as far as it may be of use, and leave it to be read again.

    Raises:
        requests.RequestException: It broke off.
    """
    body = b""
    try:
        for chunk in response.raw.stream(_MOST_BYTES, decode_content=True):
            body += chunk
            if len(body) >= _MOST_BYTES:
                response.raw.close()
                break
    except HTTPError as exc:
        raise requests.exceptions.ChunkedEncodingError(exc) from exc
    response.raw = io.BytesIO(body)
    return body


def _check(response: requests.Response) -> None:
    """Refuse an answer that no collector gives.

    Raises:
        NotTakenError: It is a redirect or a web page.
    """
    status = f"{response.status_code} {response.reason}"
    if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
        raise NotTakenError(f"{status}: it redirects, which is not followed")
    if response.ok and response.headers.get("Content-Type", "").startswith(_WEB_PAGE):
        raise NotTakenError(f"{status}: it answers with a web page")


def _tell_rejected(body: bytes, reject: Callable[[int, str], None]) -> None:
    try:
        answer = ExportTraceServiceResponse.FromString(body)
    except DecodeError:
        return
    reject(answer.partial_success.rejected_spans, answer.partial_success.error_message)
