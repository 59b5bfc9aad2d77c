"""A service of tuner's as a program asks it over HTTP: patient with one that is away, and refused in sentences.

It asks nothing that may not be asked twice, so whatever was lost on the way is asked again.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tuner import errors
from tuner.errors import SettingsError, StudyError, TunerError, quoted
from tuner.values.numbers import duration
from tuner.values.plain import clean

_ANSWERS_WITHIN_S = 30.0  # beyond the time that it was asked to wait for
_AGAIN_FROM_S, _AGAIN_UP_TO_S = 0.1, 5.0
_AWAY = frozenset({502, 503, 504, 429})
_LONGEST_CODE = 100  # characters
_HEARD = frozenset({200, 202, 204, 409, 410})
WHY = "Tuner-Why"
"""The header that says why there is no trial: an answer without content has no other place."""
# What a service may say went wrong, by the word that it says with it.
_KINDS: Mapping[str, type[TunerError]] = {
    **{
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, TunerError) and "code" in vars(kind)
    },
    "not_found": errors.StudyNotFound,
    "differs": errors.IdentityMismatch,
    "arguments": errors.SettingsError,
}


@dataclass(frozen=True, kw_only=True)
class ServiceAnswer:
    """What a service answers to a program."""

    status: int
    words: Mapping[str, Any]
    why: str
    """The reason, where there is nothing else."""


class ServiceClient:
    """A service by its URL, for any number of threads. Nothing is asked before somebody wants to know something."""

    def __init__(self, url: str, token: str, *, patience_s: float = 30.0) -> None:
        """`patience_s` is how long it may be away, in seconds, before that is an error."""
        self.url = url.rstrip("/")
        parts = _parts(url)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._root = parts.path.rstrip("/")
        self._token, self._patience_s = token, patience_s
        self._threads = threading.local()
        self._closed = False

    def get(self, *path: str, wait_s: float = 0.0, **query: Any) -> Any:
        """What lies at a path."""
        if wait_s:
            query["wait_s"] = wait_s
        return self._asked("GET", path, query, None, wait_s)

    def put(self, *path: str, body: Any, takes_s: float = 0.0, **query: Any) -> Any:
        """Puts something at a path: once, however often it is sent. It may take that many seconds."""
        return self._asked("PUT", path, query, json.dumps(body).encode(), takes_s)

    def post(self, *path: str, body: Any, wait_s: float = 0.0) -> ServiceAnswer:
        """Says something at a path: once, however often it is sent. What is refused there is an answer like others."""
        status, headers, text = self._exchanged("POST", path, {}, json.dumps(body).encode(), wait_s)
        if status in _HEARD:
            words = self._parsed(status, text) if text else {}
            return ServiceAnswer(
                status=status, why=clean(headers.get(WHY, "")), words=words if isinstance(words, dict) else {}
            )
        self._read(status, text)
        raise StudyError(f"{self.url} answered with status {status}, which says nothing of what became of it.")

    def close(self) -> None:
        """Lets go of this thread's connection; nothing more is asked."""
        self._closed = True
        self._drop()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _asked(
        self, method: str, path: tuple[str, ...], query: Mapping[str, Any], body: bytes | None, wait_s: float
    ) -> Any:
        status, _, text = self._exchanged(method, path, query, body, wait_s)
        return self._read(status, text)

    def _exchanged(
        self, method: str, path: tuple[str, ...], query: Mapping[str, Any], body: bytes | None, wait_s: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        target = f"{self._root}/v1/{'/'.join(quote(part, safe='') for part in path)}"
        given = {name: value for name, value in query.items() if value is not None}
        target += f"?{urlencode(given)}" if given else ""
        gives_up, pause = time.monotonic() + self._patience_s, _AGAIN_FROM_S
        while True:
            if self._closed:
                raise StudyError(f"{self.url} was closed. Connect again to go on: tuner.connect.")
            try:
                status, headers, text = self._sent(method, target, body, wait_s)
            except ssl.SSLCertVerificationError as error:
                raise StudyError(
                    f"{self.url} shows a certificate that this machine does not trust: {error.verify_message}. Have it "
                    "trusted here (SSL_CERT_FILE), or use the name that it was made for."
                ) from error
            except (OSError, http.client.HTTPException) as error:
                reason, wait = str(error) or type(error).__name__, pause
            else:
                if status not in _AWAY:
                    return status, headers, text
                reason, wait = _why(text) or f"status {status}", _wait_told(headers, pause)
            if time.monotonic() + wait > gives_up:
                raise StudyError(
                    f"{self.url} did not answer within {duration(self._patience_s)}: {reason}. Is `tuner serve` "
                    "running there, and may this machine reach it?"
                )
            time.sleep(wait)
            pause = min(2 * pause, _AGAIN_UP_TO_S) * random.uniform(0.8, 1.0)  # not all clients at the same moment

    def _sent(
        self, method: str, target: str, body: bytes | None, wait_s: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept-Encoding": "gzip", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        kept = self._connection()
        for connection, is_last in ((kept, False), (None, True)):
            connection = connection or self._connected()
            try:
                if connection.sock is not None:
                    connection.sock.settimeout(_ANSWERS_WITHIN_S + wait_s)
                connection.timeout = _ANSWERS_WITHIN_S + wait_s
                connection.request(method, target, body, headers)
                answer = connection.getresponse()
                text = answer.read()
                break
            except (ConnectionError, http.client.BadStatusLine):
                self._drop()  # one that was kept may have been closed meanwhile: at once anew
                if is_last:
                    raise
            except BaseException:
                self._drop()
                raise
        if answer.headers.get("Content-Encoding") == "gzip":
            try:
                text = zlib.decompress(text, 31)
            except zlib.error as error:
                raise http.client.HTTPException(f"what it compressed cannot be read: {error}") from None
        return answer.status, answer.headers, text

    def _connection(self) -> http.client.HTTPConnection:
        return getattr(self._threads, "connection", None) or self._connected()

    def _connected(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        self._threads.connection = kind(self._host, self._port, timeout=_ANSWERS_WITHIN_S)
        found: http.client.HTTPConnection = self._threads.connection
        return found

    def _drop(self) -> None:
        connection = getattr(self._threads, "connection", None)
        if connection is not None:
            connection.close()
            self._threads.connection = None

    def _read(self, status: int, text: bytes) -> Any:
        said = self._parsed(status, text)
        if status < 300:
            return said
        why, code = _why(text) or f"status {status}", said.get("code", "") if isinstance(said, dict) else ""
        if status == 401:
            raise StudyError(f"{self.url} does not know this token: {why}", code="unauthorized")
        kind = _KINDS.get(str(code), StudyError)
        refused = status == 409 and not issubclass(kind, StudyError)  # by the study: whatever was wrong with it there
        raise (StudyError if refused else kind)(why, code=clean(code, _LONGEST_CODE))

    def _parsed(self, status: int, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise StudyError(
                f"{self.url} is no service of tuner's: it answered with status {status} and {quoted(text[:80])}. Give "
                "the address that `tuner serve` prints."
            ) from None


def _parts(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise SettingsError(f"url={quoted(url)} is no address: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"url={quoted(url)} is no address of a service. Write it as `tuner serve` prints it: http://127.0.0.1:8765."
        )
    if parts.query or parts.fragment or parts.username:
        raise SettingsError(
            f"url={quoted(url)} is a link for a browser. Programs take the address alone, and a token beside it."
        )
    return parts


def _why(text: bytes) -> str:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return clean(said.get("why", "")) if isinstance(said, dict) else ""


def _wait_told(headers: http.client.HTTPMessage, otherwise_s: float) -> float:
    """The seconds after which a service that is busy wants to be asked again."""
    try:
        found = float(headers.get("Retry-After", ""))
    except ValueError:
        return otherwise_s
    return otherwise_s if math.isnan(found) else min(max(found, 0.0), 60.0)
