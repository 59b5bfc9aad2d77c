"""The objects of a store that is reached by its URL: put, got, listed and removed through fsspec, with patience."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tuner.errors import CheckpointError, MissingExtra, StorageAway, first_line
from tuner.worker.disk import DISK_IS_FULL
from tuner.worker.parts import Link, part_of

T = TypeVar("T")

# What trying again does not change; so does a lack of credentials, which botocore has classes of its own for.
_FINAL = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    TypeError,
    ValueError,
)
_REFUSED = DISK_IS_FULL | {errno.ENAMETOOLONG, errno.EMSGSIZE, errno.EPERM, errno.ENOSYS}
_S3 = ("s3", "s3a")
# Who can wait tries a request again before the whole file: of a large one only a part is sent or got anew.
_ATTEMPTS = 2
# How long one request may hang, as s3fs has it; what a coordinator asks between two turns of its loop has to fail
# before its lease does, which lasts 15 s.
_REQUEST_S, _BRIEF_REQUEST_S = 15.0, 10.0
_A_MOMENT_S = 1.0  # one that is away for less is not told of
# What is sent more slowly, in bytes a second, is not being sent: a store that hangs takes some of it and says nothing.
# With the time for the answer, a part of 8 MiB has 31 s: a link of 300 KiB/s is fast enough.
_SLOWEST = 512 * 2**10


def _to_nobody(_: str) -> None: ...


class ObjectRefused(CheckpointError):
    """The store has answered, and says no: a key that it does not take, an object that is not there."""


@dataclass(frozen=True)
class Objects:
    """Everything below one URL, by keys relative to it.

    A store that does not answer is asked again for `patience_s` seconds, less and less often; then `StorageAway`. What
    it refuses is `ObjectRefused`, at once. One that takes a request and says nothing does not answer either; whoever is
    `brief` leaves it ten seconds for that. Where one waits for more than a moment `say` is told why, and the empty text
    once one does no longer.
    """

    url: str
    patience_s: float
    brief: bool = False
    say: Callable[[str], None] = _to_nobody

    def put(self, file: Path, key: str) -> None:
        """A file becomes an object; a large one is sent to S3 in parts, for as long as they arrive."""
        size = file.stat().st_size

        def put(fs: Any, root: str) -> None:
            where, part = f"{root}/{key}", part_of(size) if set(_S3) & set(fs.protocol) else None
            if part is None:
                fs.put_file(str(file), where, **self._limit(fs, size))
            else:
                _link(self.url, os.getpid()).send(fs, str(file), where, part, self._limit_s(fs, part))

        self._patiently(put, key)

    def get(self, key: str, file: Path) -> None:
        """An object becomes a file, whose folder is there."""
        self._patiently(lambda fs, root: fs.get_file(f"{root}/{key}", str(file)), key)

    def write(self, key: str, content: bytes) -> None:
        """An object of these bytes."""
        size = len(content)
        self._patiently(lambda fs, root: fs.pipe_file(f"{root}/{key}", content, **self._limit(fs, size)), key)

    def read(self, key: str, limit: int) -> bytes:
        """The bytes of an object, unless there are more than `limit`."""

        def read(fs: Any, root: str) -> bytes:
            if (size := fs.info(f"{root}/{key}")["size"]) > limit:
                raise ValueError(f"it has {size:,} bytes, more than {limit:,}")
            found: bytes = fs.cat_file(f"{root}/{key}")
            return found

        return self._patiently(read, key)

    def sizes(self, below: str) -> dict[str, int]:
        """Every object below a key, with its size in bytes."""

        def find(fs: Any, root: str) -> dict[str, int]:
            found = fs.find(f"{root}/{below}", detail=True)
            return {name[len(root) + 1 :]: int(each["size"]) for name, each in found.items()}

        return self._patiently(find, below)

    def modified(self, key: str) -> float:
        """When an object was written, by the store's clock, in Unix seconds."""
        return self._patiently(lambda fs, root: float(fs.modified(f"{root}/{key}").timestamp()), key)

    def copy(self, key: str, to: str) -> None:
        """Another object of the same bytes."""
        self._patiently(lambda fs, root: fs.cp_file(f"{root}/{key}", f"{root}/{to}"), key)

    def remove(self, key: str) -> None:
        """Removes an object; one that is not there is fine."""

        def remove(fs: Any, root: str) -> None:
            try:
                fs.rm_file(f"{root}/{key}")
            except FileNotFoundError:
                return

        self._patiently(remove, key)

    def _limit(self, fs: Any, size: int) -> dict[str, float]:
        """How long sending may take: aiohttp waits without end until a store has taken all, or wants any of it."""
        return {"timeout": self._limit_s(fs, size)} if fs.async_impl else {}

    def _limit_s(self, fs: Any, size: int) -> float:
        usual_s = _BRIEF_REQUEST_S if self.brief else _REQUEST_S
        request_s: float = getattr(fs, "config_kwargs", {}).get("read_timeout", usual_s)
        return request_s + size / _SLOWEST

    def _patiently(self, act: Callable[[Any, str], T], key: str) -> T:
        fs, root = _reached(self.url, self.brief, os.getpid())
        began, pause_s, said = time.monotonic(), 0.1, False
        try:
            while True:
                try:
                    return act(fs, root)
                except _FINAL as error:
                    raise ObjectRefused(f"{self.url}/{key}: {first_line(error)}") from error
                except Exception as error:  # each protocol has classes of its own for a server that is away
                    if "Credential" in type(error).__name__ or getattr(error, "errno", None) in _REFUSED:
                        raise ObjectRefused(f"{self.url}/{key}: {first_line(error)}") from error
                    waited_s = time.monotonic() - began
                    if waited_s >= self.patience_s:
                        raise StorageAway(
                            f"the object store of {self.url} has not answered for {waited_s:.0f} s: {first_line(error)}"
                        ) from error
                    if waited_s >= _A_MOMENT_S and not said:
                        self.say(f"the object store of {self.url} does not answer: {first_line(error)}")
                        said = True
                    time.sleep(min(pause_s, self.patience_s - waited_s))
                    pause_s = min(2 * pause_s, 5.0)
        finally:
            if said:
                self.say("")


@lru_cache(maxsize=64)
def _link(url: str, pid: int) -> Link:  # noqa: ARG001 - a forked child knows nothing of its link yet
    """What is known of the link to a URL."""
    return Link()


@lru_cache(maxsize=64)
def _reached(url: str, brief: bool, pid: int) -> tuple[Any, str]:  # noqa: ARG001 - a forked child connects anew
    """The file system of a URL and where the URL is in it."""
    protocol = url.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{url} is reached through {error.name}. Install it: pip install 'tuner[s3]'") from error
    try:
        # another machine may have written a moment ago: nothing that was listed before is believed
        options = {"use_listings_cache": False, "skip_instance_cache": True, **_options(protocol, brief=brief)}
        fs, root = url_to_fs(url, **options)
        if protocol in _S3:
            fs.retries = 1 if brief else _ATTEMPTS
    except ImportError as error:
        extra = "'tuner[s3]'" if protocol in _S3 else f"the package that fsspec needs for {protocol}://"
        raise MissingExtra(f"{url} cannot be reached: {first_line(error)}. Install it: pip install {extra}") from error
    except Exception as error:  # what each protocol makes of its options and its environment
        raise ObjectRefused(f"{url} is no object store that can be reached: {first_line(error)}") from error
    return fs, root.rstrip("/")


def _options(protocol: str, *, brief: bool) -> dict[str, Any]:
    """What a protocol is told beside its environment."""
    if protocol in ("file", "local"):
        return {"auto_mkdir": True}
    if protocol not in _S3:
        return {}
    from fsspec.config import conf

    # botocore tries five times and s3fs five times that, each for 15 s: one save would hang for ten minutes and more
    config: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
    config["read_timeout"] = _BRIEF_REQUEST_S if brief else _REQUEST_S
    return {"config_kwargs": config | conf.get("s3", {}).get("config_kwargs", {})}
