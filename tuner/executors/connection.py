"""The connection of this process to Ray: once, for all its sweeps, whichever threads they run in.

Whoever comes first connects or starts Ray, and the last one out undoes that. A connection that other code has made is
used and left as it was found.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray._private.services
import ray._private.utils
import ray._private.worker
import ray.exceptions
import ray.util.client
from ray._private.runtime_env.py_modules import upload_py_modules_if_needed
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
from ray.runtime_env import RuntimeEnv

from tuner.errors import ExecutorError, SettingsError, TunerError, did_you_mean, first_line, quoted
from tuner.executors.address import answered_within, check_reachable, host_and_port
from tuner.executors.cluster_job import brings_code
from tuner.values.numbers import duration

_OBJECT_STORE_BYTES = 128 * 2**20
_NOT_SHIPPED = [".git", ".venv", "venv", "results", "node_modules", "__pycache__", "*.db", "*.db-wal", "*.db-shm"]
# What is shipped is packed in a folder of the session: a session in that folder would be packed into itself, for ever.
_NOT_SHIPPED += ["session_????-??-??_??-??-??_*", "session_latest"]
_PATIENCE_S = 4.0
_AUTH_MODE = "RAY_AUTH_MODE"

_lock = threading.RLock()
_present: Connection | None = None


@dataclass(eq=False, kw_only=True)
class Connection:
    """What the sweeps of this process share; `ours` says that tuner made it, and will end it."""

    address: str
    ours: bool
    ship: Path | None = None
    auth_mode: str | None = None
    sharers: int = 0
    _taken: dict[tuple[int, int], float] = field(default_factory=dict)

    def seat(self, worker: tuple[int, int], cpus: float) -> float:
        """How many CPUs to ask Ray for, so that a second sweep on this machine need not wait for the first to end.

        Two processes would each have a Ray of their own; two threads share one, where a worker beyond its CPUs is
        placed as one that needs none.
        """
        with _lock:
            if not self.ours or self.address != "local":
                return cpus
            total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            crowded = self.sharers > 1 and sum(self._taken.values()) + cpus > total.get("CPU", 0.0)
            self._taken[worker] = 0.0 if crowded else cpus
            return self._taken[worker]

    def leave_seat(self, worker: tuple[int, int]) -> None:
        """The worker is gone, or will be."""
        with _lock:
            self._taken.pop(worker, None)


def attach(address: str, cpus: float, ship: Path | None) -> Connection:
    """The connection to `address`, shared where there is one; `cpus` is what a Ray started here must at least have."""
    global _present
    with _lock:
        if _present is not None and not ray.is_initialized():
            _present = None  # somebody else has shut Ray down
        if _present is None:
            _present = _found(address) if ray.is_initialized() else _made(address, cpus, ship)
        elif _present.ours:
            _check_it_is_the_same(_present, address, ship)
        else:
            _present = _found(address)
        _present.sharers += 1
        return _present


def detach(connection: Connection) -> None:
    """Leaves the connection; the last one out ends what tuner has made."""
    global _present
    with _lock:
        connection.sharers -= 1
        if connection.sharers > 0 or connection is not _present:
            return
        _present = None
        if connection.ours:
            ray.shutdown()
            _speak_for_ray(aloud=True)
            _forget_the_token(connection.auth_mode)


def environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime environment as Ray would have it, or what it says against it."""
    known = sorted(RuntimeEnv.known_fields)
    for word in given:
        if word not in known and not os.environ.get("RAY_RUNTIME_ENV_PLUGINS"):
            raise SettingsError(f"runtime_env has no {quoted(word)[1:-1]}. {did_you_mean(word, known)}")
    try:
        RuntimeEnv(**given)
    except Exception as error:
        raise SettingsError(f"runtime_env is none that Ray takes: {first_line(error)}") from None
    return dict(given)


def sent_along(given: dict[str, Any]) -> dict[str, Any]:
    """The same with its folders on this machine in the cluster's keeping: Ray takes no others for a single worker."""
    if not given:
        return given
    try:
        for upload in (upload_py_modules_if_needed, upload_working_dir_if_needed):
            given = upload(dict(given), include_gitignore=True, scratch_dir=tempfile.gettempdir())
    except Exception as error:
        raise ExecutorError(f"runtime_env could not be sent to the cluster: {first_line(error)}") from error
    return {word: value for word, value in given.items() if word != "excludes"}


def _found(address: str) -> Connection:
    """The connection that other code has made: the user's program, or the Ray task that this runs in."""
    already = _present or Connection(address=_where_we_are(), ours=False)
    if address not in ("local", "auto") and not _is_same_place(address, already.address):
        raise ExecutorError(
            f"this process is connected to the Ray cluster at {already.address} already, by ray.init elsewhere in it, "
            f"and cannot be to {address} as well. Leave the address out, or sweep in a process of its own."
        )
    return already


def _check_it_is_the_same(connection: Connection, address: str, ship: Path | None) -> None:
    if address != connection.address and (
        "local" in (address, connection.address) or not _is_same_place(_resolved(address), _where_we_are())
    ):
        raise ExecutorError(
            f"another sweep of this process trains on {_named(connection.address)}, and a process is connected to one "
            f"Ray at a time: this sweep cannot train on {_named(address)}. Wait for the other, give both the same "
            "address, or sweep in a process of its own."
        )
    if address != "local" and ship is not None and ship != connection.ship:
        raise ExecutorError(
            f"another sweep of this process has connected to {connection.address} without the code in {ship}, which "
            "this one's function needs on every node. Wait for the other, or sweep in a process of its own."
        )


def _made(address: str, cpus: float, ship: Path | None) -> Connection:
    arguments: dict[str, Any] = {
        "address": address,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
    }
    if address == "local":
        arguments.update(
            include_dashboard=False,
            num_cpus=max(os.cpu_count() or 1, int(-(-cpus // 1))),
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    elif ship is not None and not brings_code():
        arguments["runtime_env"] = {"working_dir": str(ship), "excludes": _NOT_SHIPPED}
    logging.getLogger("ray").setLevel(logging.ERROR)  # it would announce its token at every start
    auth_mode = os.environ.get(_AUTH_MODE)
    try:
        if address != "local":
            _look_for_ray(address)
        ray.init(**arguments)
    except TunerError:
        raise
    except Exception as error:
        ray.shutdown()  # it may have come half way
        where = "Ray could not be started here" if address == "local" else f"no connection to the Ray at {address}"
        raise ExecutorError(f"{where}: {type(error).__name__}: {error}") from error
    _speak_for_ray(aloud=False)
    return Connection(address=address, ours=True, ship=ship, auth_mode=auth_mode)


def _look_for_ray(address: str) -> None:
    """Says what is missing, within seconds, and in the one word that matters: Ray tries for minutes, in silence."""
    where = _resolved(address)
    check_reachable(where)
    if where.startswith("ray://"):
        return
    try:
        told = answered_within(_PATIENCE_S, lambda: _what_it_says_of_itself(where))
    except ray.exceptions.RayError as failure:
        first = str(failure).strip().splitlines()[0]
        if "token" in first.lower() or "auth" in type(failure).__name__.lower():
            brings = "the token that this process brings is not its" if _has_token() else "this process brings none"
            raise ExecutorError(
                f"the Ray cluster at {address} wants a token, and {brings}. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
                f"to the cluster's, or put it into ~/.ray/auth_token. Ray says: {first}"
            ) from failure
        raise ExecutorError(f"what listens at {address} is no Ray cluster: {first}") from failure
    if told is None:
        raise ExecutorError(
            f"what listens at {address} did not answer as Ray does within {duration(_PATIENCE_S)}. Is it the port that "
            "ray start has printed?"
        )
    theirs = told.get("ray_version"), told.get("python_version")
    try:
        if all(theirs):
            ray._private.utils.check_version_info(told, "this process")
    except Exception as failure:
        ours = ray._private.utils.compute_version_info()  # type: ignore[no-untyped-call]
        raise ExecutorError(
            f"the version of the cluster at {address} is another: it runs Ray {theirs[0]} on Python {theirs[1]}, this "
            f"process Ray {ours[0]} on Python {ours[1]}. Both must be the same: install them here, or there."
        ) from failure


def _what_it_says_of_itself(address: str) -> dict[str, str]:
    """The versions it was started with, from its own store of keys; nothing from one too old or new to be asked."""
    client = getattr(ray._raylet, "GcsClient", None)
    if client is None:
        return {}
    told = client(address=address).internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=_PATIENCE_S)
    found: dict[str, str] = json.loads(told) if told else {}
    return found


def _resolved(address: str) -> str:
    """`auto` as a host and a port, everything else as it is."""
    if address != "auto":
        return address
    try:
        found: str = ray._private.services.canonicalize_bootstrap_address_or_die("auto")
    except Exception as failure:
        raise ExecutorError(
            "no Ray cluster was found to join: none runs on this machine, and RAY_ADDRESS names none. Start one "
            "(ray start --head), give its address, or leave the address out to train on this machine."
        ) from failure
    return found


def _where_we_are() -> str:
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return "the other end of a ray:// connection"
    return str(ray.get_runtime_context().gcs_address)


def _is_same_place(address: str, other: str) -> bool:
    """Whether two addresses lead to one port of one host."""
    if address == other or "ray://" in other:
        return True
    if address.startswith("ray://"):
        return False
    (host, port), (other_host, other_port) = host_and_port(address), host_and_port(other)
    resolve = ray._private.services.resolve_ip_for_localhost
    return port == other_port and (host == other_host or resolve(host) == resolve(other_host))


def _named(address: str) -> str:
    return "this machine" if address == "local" else f"the Ray cluster at {address}"


def _has_token() -> bool:
    return (
        any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        or (Path.home() / ".ray" / "auth_token").exists()
    )


def _forget_the_token(auth_mode: str | None) -> None:
    """A Ray started here has this process speak with tokens from then on: a cluster without them never answers it."""
    if auth_mode is None and _AUTH_MODE in os.environ:
        os.environ[_AUTH_MODE] = "disabled"  # what is unset is not read again
        with suppress(AttributeError):  # a Ray of before 2.52 has no tokens
            ray._raylet.Config.initialize("")  # type: ignore[attr-defined]
            ray._raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
        del os.environ[_AUTH_MODE]


def _speak_for_ray(*, aloud: bool) -> None:
    """Ray prints whatever its raylet complains of, unless told not to; tuner says the same in a sentence."""
    ray._private.worker._worker_logs_enabled = aloud
