"""The training function on its way: by import path where it has one, else by value."""

from __future__ import annotations

import inspect
import io
import linecache
import pickle
import site
import sys
import sysconfig
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cloudpickle

from tuner.errors import StudyError, TrainingError
from tuner.record.atomic import write_whole
from tuner.record.state import StudyState
from tuner.worker.contents import bytes_to_unpickle
from tuner.worker.sources import (
    file_of,
    has_changed,
    import_name,
    refuse_what_never_trains,
    source_sha256,
    travels_by_value,
)
from tuner.worker.training import TrainingFunction, WithSources, resolve, sources_of

KEPT = "function.pickle"
_NOWHERE = "<dynamic-code>"
_TEXT = 2_000_000  # characters of a file that travel with a function


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
        name = import_name(train)
        payload = name if _importable(train, name) else _pickled(train, name, travels=travels)
    else:
        raise TrainingError(
            f"train must be a function of a Run, or its import path package.module:function, got {train!r:.80}."
        )
    refuse_what_never_trains(function, name)
    return Portable(
        function=function,
        name=name,
        payload=payload,
        source_sha256=source_sha256(function),
        module_folder=_own_folder(function),
        search_path=_search_path(),
    )


def is_same(known: Known, name: str, source_sha256: str) -> bool:
    """Whether this is the function that is known: by its name, or, where its module was moved, by its source."""
    return known.function == name or (bool(source_sha256) and known.source_sha256 == source_sha256)


def _pickled(train: Any, name: str, *, travels: bool) -> str | bytes:
    try:
        return pickled_with_sources(train)
    except Exception as error:  # whatever the function holds may refuse in its own way
        if not travels:
            return name
        raise TrainingError(
            f"{name} cannot be sent to workers: {type(error).__name__}: {error}. Make what it holds inside the "
            "function, or put the function into a module and pass its import path."
        ) from error


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Keeps the file of every piece of code that travels by value, whatever cloudpickle makes of it."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.files: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Cloudpickle 3.1.3 calls all code `<dynamic-code>`, so that a traceback would show neither file nor line."""
        if not isinstance(obj, types.CodeType):
            return super().reducer_override(obj)
        self.files.add(obj.co_filename)
        make, given = self.dispatch_table[types.CodeType](obj)
        return make, tuple(obj.co_filename if isinstance(each, str) and each == _NOWHERE else each for each in given)


def pickled_with_sources(train: Any) -> bytes:
    """A function by value, with the text of the files that it was written in: tracebacks show their lines anywhere."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(train)
    texts = {name: linecache.getlines(name) for name in sorted(pickler.files)}
    short = {name: lines for name, lines in texts.items() if lines and sum(map(len, lines)) <= _TEXT}
    return pickle.dumps(WithSources(file.getvalue(), short), protocol=5)


def _importable(train: Any, name: str) -> bool:
    module, _, qualified = name.partition(":")
    if travels_by_value(name) or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if isinstance(found, types.MethodType) and isinstance(train, types.MethodType):  # of a class: made at each access
        return found.__self__ is train.__self__ and found.__func__ is train.__func__
    return found is train


def _installed_folders() -> tuple[str, ...]:
    return (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"])


def _search_path() -> tuple[str, ...]:
    """The working directory and what else is not installed: where workers look for the user's code."""
    installed = _installed_folders()
    paths = [str(Path(each).absolute()) for each in sys.path if each]
    own = [each for each in paths if Path(each).is_dir() and not each.startswith(installed)]
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


def as_of_today(state: StudyState, folder: Path) -> Portable:
    """The function of a study as its latest call named it, with the code of today.

    What can be imported is. A function of a script or notebook is today's where this very process runs it; one that was
    kept is what it was then, and refused where its file has changed since.
    """
    name: str = state.options.get("function") or state.function
    search_path = tuple(state.options.get("search_path", ()))
    kept = folder / KEPT
    if not state.options.get("by_value", kept.is_file()) and not travels_by_value(name):
        found = resolve(name, search_path)
        return replace(portable(found, travels=False), name=name, payload=name, search_path=search_path)
    function = resolve(bytes_to_unpickle(kept), search_path) if kept.is_file() else None
    lines = sources_of(bytes_to_unpickle(kept)) if kept.is_file() else {}
    if (today := _of_this_program(name, function)) is not None:
        return portable(today, travels=False)
    if function is None:
        raise StudyError(
            f"the training function of {state.name} was not kept, so nothing of it can be trained again. Put it into a "
            "module and sweep with its import path."
        )
    if has_changed(function, lines):
        raise StudyError(
            f"{name} has changed in {file_of(function)} since {state.name} was trained, and what was kept is the code "
            "of then. Call this verb in Python from that script, or put the function into a module and begin a study "
            "with its import path."
        )
    return replace(
        portable(function, travels=False),
        name=name,
        payload=bytes_to_unpickle(kept),
        search_path=search_path,
        source_sha256="",
    )


def _of_this_program(name: str, kept: TrainingFunction | None) -> Any:
    """The function of that name in the script or notebook that is running, where it is the one it was kept from."""
    module, _, qualified = name.partition(":")
    main = sys.modules.get("__main__")
    found = getattr(main, qualified, None) if module == "__main__" else None
    if not isinstance(found, types.FunctionType) or found.__module__ != "__main__":
        return None
    script = getattr(main, "__file__", None)
    return found if script is None or kept is None or file_of(kept) == file_of(found) else None
