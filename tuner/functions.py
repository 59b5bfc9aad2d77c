"""How a training function travels: by import path where it has one, else by value."""

from __future__ import annotations

import hashlib
import inspect
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cloudpickle

from tuner.atomic import write_whole
from tuner.errors import StudyError, TrainingError
from tuner.worker import TrainingFunction, resolve

KEPT = "function.pickle"


@dataclass(frozen=True, kw_only=True)
class Portable:
    """A training function that other processes can get hold of."""

    function: TrainingFunction
    """Itself, for whoever trains in this process."""
    name: str
    """`package.module:function`; what the record keeps."""
    payload: str | bytes
    """The import path, or a cloudpickle where nothing can be imported and all it holds can be copied."""
    source_sha256: str
    module_folder: Path | None
    """Where the module lies, when it is code of the user's own."""
    search_path: tuple[str, ...]


class Known(Protocol):
    """Whatever has a function on record."""

    @property
    def function(self) -> str:
        """`package.module:function`."""

    @property
    def source_sha256(self) -> str:
        """Empty where there is no source to be had."""


def portable(train: TrainingFunction | str, *, travels: bool = True) -> Portable:
    """Checks that the function is one, and finds the way it travels; one that cannot is refused where it has to."""
    payload: str | bytes
    if isinstance(train, str):
        function: Any = resolve(train, (str(Path.cwd()),))
        name = payload = train
    elif callable(train):
        function = train
        name = f"{getattr(train, '__module__', '?')}:{getattr(train, '__qualname__', type(train).__qualname__)}"
        payload = name if _importable(train, name) else _pickled(train, name, travels=travels)
    else:
        raise TrainingError(
            f"train must be a function of a Run, or its import path package.module:function, got {train!r:.80}."
        )
    return Portable(
        function=function,
        name=name,
        payload=payload,
        source_sha256=_source_sha256(function),
        module_folder=_own_folder(function),
        search_path=_search_path(),
    )


def is_same(known: Known, name: str, source_sha256: str) -> bool:
    """Whether this is the function that is known: by its name, or, where its module was moved, by its source."""
    return known.function == name or (bool(source_sha256) and known.source_sha256 == source_sha256)


def _pickled(train: Any, name: str, *, travels: bool) -> str | bytes:
    try:
        pickled: bytes = cloudpickle.dumps(train)
    except Exception as error:  # whatever the function holds may refuse in its own way
        if not travels:
            return name
        raise TrainingError(
            f"{name} cannot be sent to workers: {type(error).__name__}: {error}. Make what it holds inside the "
            "function, or put the function into a module and pass its import path."
        ) from error
    return pickled


def _importable(train: Any, name: str) -> bool:
    module, _, qualified = name.partition(":")
    if module in ("__main__", "__mp_main__", "?") or "<" in qualified or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found is train


def _source_sha256(function: Any) -> str:
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""  # typed at a prompt, or not written in Python
    return hashlib.sha256(source.encode()).hexdigest()


def _installed_folders() -> tuple[str, ...]:
    return (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"])


def _search_path() -> tuple[str, ...]:
    """The working directory and what else is not installed: where workers look for the user's code."""
    installed = _installed_folders()
    own = [each for each in sys.path if each and Path(each).is_dir() and not each.startswith(installed)]
    return tuple(dict.fromkeys([str(Path.cwd()), *own]))


def _own_folder(function: Any) -> Path | None:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None
    if file is None or file.startswith(_installed_folders()) or not Path(file).is_file():
        return None
    return Path(file).parent


def keep_function(function: Portable, folder: Path) -> None:
    """A function that cannot be imported is kept in the study's folder, so that its trials can be taken up again."""
    keep(function.payload, folder)


def keep(payload: str | bytes, folder: Path) -> None:
    """Leaves in a study's folder what cannot be imported; what can be, is, and nothing older stands beside it."""
    try:
        if isinstance(payload, bytes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(folder / KEPT, payload, mode=0o600)
        else:
            (folder / KEPT).unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(
            f"the training function cannot be kept in {folder}: {error}. Free space, or choose a folder you may write "
            "to: --results."
        ) from error
