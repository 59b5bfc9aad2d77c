"""The address of a Ray cluster: how it is written, and whether what listens there speaks as Ray does."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from tuner.errors import ExecutorError
from tuner.values.numbers import duration

_PATIENCE_S = 4.0
_Answer = TypeVar("_Answer")


def check_reachable(address: str) -> None:
    """Says what stands in the way of a cluster at `host:port` or `ray://host:port`, in seconds; Ray takes minutes."""
    host, port = host_and_port(address)
    with _connected(address, host, port) as connection:
        answer = None if _uses_tls() else _first_bytes(connection)
    if answer is not None and answer[3:4] != b"\x04":
        said = f"it said {answer!r}" if answer else "it said nothing"
        raise ExecutorError(
            f"what listens at {address} is no Ray cluster: {said}. Ray's own port is 6379 unless you chose another, "
            "and 10001 for ray:// addresses."
        )


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of `host:port`, `[host]:port` or `ray://host:port`.

    >>> host_and_port("ray://head:10001")
    ('head', 10001)
    """
    scheme, separator, rest = address.rpartition("://")
    found = re.fullmatch(r"(?:\[(?P<v6>[^\]/]+)\]|(?P<host>[^:/\s]+)):(?P<port>\d{1,5})", rest)
    if (separator and scheme != "ray") or found is None or not 0 < int(found["port"]) < 65536:
        raise ExecutorError(
            f"{address!r} is no address of a Ray cluster: write host:port (ray start prints it, as in 10.0.0.5:6379), "
            "ray://host:port, auto for a cluster that this machine belongs to, or local for this machine alone."
        )
    return found["v6"] or found["host"], int(found["port"])


def answered_within(patience_s: float, ask: Callable[[], _Answer]) -> _Answer | None:
    """The answer, or None where it does not come in time; the question is then left to its thread."""
    answers: list[_Answer] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as failure:
            failures.append(failure)

    asking = threading.Thread(target=work, name="tuner-asking", daemon=True)
    asking.start()
    asking.join(patience_s)
    if failures:
        raise failures[0]
    return answers[0] if answers else None


def _connected(address: str, host: str, port: int) -> socket.socket:
    try:
        found = answered_within(_PATIENCE_S, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as failure:
        raise ExecutorError(
            f"no Ray cluster at {address}: the name {host} cannot be resolved ({failure}). Is it spelled right?"
        ) from failure
    if not found:
        raise ExecutorError(
            f"no Ray cluster at {address}: the name {host} was not resolved within {duration(_PATIENCE_S)}."
        )
    try:
        return socket.create_connection((host, port), timeout=_PATIENCE_S / len(found))
    except ConnectionRefusedError as failure:
        raise ExecutorError(
            f"no Ray cluster at {address}: nothing listens on port {port} of {host}. Start one there "
            "(ray start --head), or leave the address out to train on this machine."
        ) from failure
    except TimeoutError as failure:
        raise ExecutorError(
            f"no Ray cluster at {address}: {host} did not answer within {duration(_PATIENCE_S)}. "
            "Is it switched on, and does a firewall let this machine through?"
        ) from failure
    except OSError as failure:
        raise ExecutorError(f"no Ray cluster at {address}: it cannot be reached ({failure}).") from failure


def _first_bytes(connection: socket.socket) -> bytes:
    """What is said to the greeting of HTTP/2, which gRPC speaks: a SETTINGS frame, type 4 (RFC 9113, 3.4)."""
    connection.settimeout(_PATIENCE_S)
    answer = b""
    try:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        while len(answer) < 9 and (more := connection.recv(40)):
            answer += more
    except OSError:
        pass  # what was said before counts
    return answer


def _uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() not in ("", "0", "false")
