"""A training function by what is written: the plain function beneath, its name, its source, what it holds."""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import inspect
import json
import types
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tuner.errors import TrainingError

_BY_VALUE = ("__main__:", "__mp_main__:", "?:")
_PLAIN = (bool, int, float, str, bytes, type(None))
_LONGEST_INT = 10_000  # bits; Python writes up to 4,300 digits, 14,000 bits


@runtime_checkable
class Recorded(Protocol):
    """A training function that says itself how a study knows it, since no name of a module does."""

    @property
    def name_on_record(self) -> str:
        """What it is called; under another name it is another function."""

    @property
    def source_on_record(self) -> str:
        """All that makes it what it is."""


def import_name(function: Any) -> str:
    """`package.module:function`; with brackets where a partial or an object stands around it.

    >>> import_name(functools.partial(json.dumps, indent=1))
    'functools.partial(json:dumps)'
    """
    if _is_recorded(function):
        name: str = function.name_on_record
        return name
    if isinstance(function, functools.partial):
        return f"functools.partial({import_name(function.func)})"
    if isinstance(function, types.MethodType) and not isinstance(function.__self__, type):
        return f"{import_name(function.__self__)}.{function.__func__.__name__}"
    if hasattr(function, "__qualname__"):
        return f"{getattr(function, '__module__', None) or '?'}:{function.__qualname__}"
    return f"{type(function).__module__}:{type(function).__qualname__}()"


def travels_by_value(name: str) -> bool:
    """Whether no import leads to what has this name: a script's, a lambda, a partial, an object."""
    return name.startswith(_BY_VALUE) or "<" in name or "(" in name


def refuse_what_never_trains(function: Any, name: str) -> None:
    """A coroutine function, a generator function, a class of objects to call: to call one trains nothing."""
    called = _beneath(function)
    kind = ""
    if inspect.isasyncgenfunction(called):
        kind = "an async generator function: it has async def and yield"
    elif inspect.iscoroutinefunction(called):
        kind = "a coroutine function: it begins with async def"
    elif inspect.isgeneratorfunction(called):
        kind = "a generator function: it has a yield"
    if kind:
        raise TrainingError(
            f"{name} is {kind}, so to call it only makes an object and trains nothing. tuner calls a plain function: "
            "write def train(run), without yield; asyncio.run(...) inside it runs what is asynchronous."
        )
    if isinstance(function, type) and any("__call__" in vars(each) for each in function.__mro__):
        raise TrainingError(
            f"{name} is a class whose objects can be called: to call it only makes one. Give an object of it: "
            f"{function.__name__}(...)."
        )


def source_of(function: Any) -> str:
    """The text of the function, or of the class of an object; empty where it is nowhere to be had."""
    if _is_recorded(function):
        source: str = function.source_on_record
        return source
    for each in (_written(function), _beneath(function)):
        try:
            return inspect.getsource(each)
        except (OSError, TypeError):
            continue  # typed at a prompt, or not written in Python
    return ""


def source_sha256(function: Any) -> str:
    """The hash of the source and, for what travels by value, of the plain values it holds; empty without a source.

    An object is what it was when it was first asked for: what training has changed in it since makes no other of it.
    """
    holder = function.__self__ if isinstance(function, types.MethodType) else function
    place = id(holder), import_name(function)
    seen = _SEEN.get(place)
    if seen is not None and seen[0]() is holder:
        return seen[1]
    source = source_of(function)
    held = _held(function) if source and not _is_recorded(function) else {}
    text = source + (json.dumps(held, sort_keys=True) if held else "")
    found = hashlib.sha256(text.encode(errors="replace")).hexdigest() if source else ""
    with suppress(TypeError):  # what cannot be referred to weakly is asked anew
        _SEEN[place] = weakref.ref(holder, lambda _: _SEEN.pop(place, None)), found
    return found


_SEEN: dict[tuple[int, str], tuple[weakref.ref[Any], str]] = {}


def file_of(function: Any) -> Path | None:
    """The file that the function was written in, there or not."""
    code = getattr(inspect.unwrap(_beneath(function)), "__code__", None)
    return None if code is None or code.co_filename.startswith("<") else Path(code.co_filename)


def has_changed(function: Any, lines_then: Mapping[str, list[str]]) -> bool:
    """Whether the file of a function that was kept has a function of its name and none that reads like it.

    `lines_then` are the lines of the files that were kept with it, by name.
    """
    beneath, file = inspect.unwrap(_beneath(function)), file_of(function)
    code = getattr(beneath, "__code__", None)
    if code is None or file is None or code.co_filename not in lines_then:
        return False
    then = "".join(inspect.getblock(lines_then[code.co_filename][code.co_firstlineno - 1 :]))
    try:
        now = list(_definitions(file.read_text(encoding="utf-8", errors="replace"), beneath.__qualname__.split(".")))
    except (OSError, SyntaxError, ValueError):
        return False
    return bool(now) and then not in now


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _is_recorded(function: Any) -> bool:
    return not isinstance(function, type) and isinstance(function, Recorded)


def _beneath(function: Any) -> Any:
    """The plain function that a call runs at last: beneath partials, methods and objects."""
    while True:
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif _is_object(function):
            function = inspect.getattr_static(type(function), "__call__")
        else:
            return function


def _written(function: Any) -> Any:
    """What a person wrote and would call the training function."""
    if isinstance(function, functools.partial):
        return _written(function.func)
    if isinstance(function, types.MethodType):
        return type(function.__self__) if not isinstance(function.__self__, type) else function.__func__
    return type(function) if _is_object(function) else inspect.unwrap(function)


def _is_object(function: Any) -> bool:
    """Whether this is an object of a class of the user's own that defines what a call does."""
    call = inspect.getattr_static(type(function), "__call__", None)
    return not isinstance(function, type) and isinstance(call, types.FunctionType | types.MethodType)


def _held(function: Any) -> dict[str, Any]:
    """The plain values in a partial's arguments, an object's attributes, a closure."""
    if isinstance(function, functools.partial):
        given = {str(place): value for place, value in enumerate(function.args)} | dict(function.keywords)
        return _plain(given) | {"the function": source_sha256(function.func)}
    if isinstance(function, types.MethodType):
        held = {} if isinstance(function.__self__, type) else _plain(getattr(function.__self__, "__dict__", {}))
        return held | {"the method": function.__func__.__name__}
    if isinstance(function, types.FunctionType):
        cells: dict[str, Any] = {}
        for word, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                cells[word] = cell.cell_contents
            except ValueError:
                continue  # not bound yet
        return _plain(cells)
    return _plain(getattr(function, "__dict__", {})) if _is_object(function) else {}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(word): found for word, value in values.items() if (found := _plainly(value)) is not None}


def _plainly(value: Any, depth: int = 8) -> Any:
    """A value as JSON can hold it, the same in every process; None where it is not plain."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:  # Python refuses to write such in decimals
        return hex(value)
    if isinstance(value, _PLAIN):
        return repr(value)
    if not depth:
        return None
    if isinstance(value, list | tuple):
        return [_plainly(each, depth - 1) for each in value]
    if isinstance(value, dict):
        return {str(word): _plainly(each, depth - 1) for word, each in value.items()}
    return source_of(value) if isinstance(value, types.FunctionType) else None


def syntax_of(text: str) -> ast.Module:
    """The syntax tree of a text, whatever other threads parse meanwhile.

    Python before 3.11.8 counts the depth of a tree for all threads at once, and raises SystemError where a collection
    of garbage lets another thread parse, as one does that puts a traceback into words. So none is begun in here.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if collecting:
            gc.enable()


def _definitions(text: str, path: list[str]) -> Iterator[str]:
    """The texts of the functions of this qualified name, as `inspect.getsource` would give them."""
    lines = text.splitlines(keepends=True)
    found: list[ast.AST] = [syntax_of(text)]
    for word in path:
        if word == "<locals>":
            continue
        found = [
            node
            for outer in found
            for node in _inside(outer)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == word
        ]
    for node in found:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield "".join(inspect.getblock(lines[first - 1 :]))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below that no other function or class encloses."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _inside(child)
