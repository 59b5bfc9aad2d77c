"""The files of spaces: TOML, one table a parameter, those that tuner brings and those of the user's own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import SpaceError, did_you_mean, quoted
from tuner.space.parameters import Choice, Parameter

_SAID = ("when", "changes", "priority", "why", "likely")
_OTHERWISE = {
    "min": "low",
    "max": "high",
    "distribution": "scale",
    "values": "choice",
    "choices": "choice",
    "default": "likely",
}
_NUMBER_KEYS = ("type", "scale", "low", "high", *_SAID)
_CHOICE_KEYS = ("choice", *_SAID)


def available_spaces() -> dict[str, Path]:
    """The spaces that tuner brings, by name: within the package where installed, beside it in a source checkout."""
    return {path.stem: path for path in sorted(_spaces_folder().glob("*.toml"))}


def read(name_or_path: str | Path) -> tuple[Path, str]:
    """The file of that name among `available_spaces`, or the TOML file at that path, and what it says."""
    if not isinstance(name_or_path, str | Path):
        written = "Write Space(**that)." if isinstance(name_or_path, Mapping) else 'Write Space.load("sgd_momentum").'
        raise SpaceError(f"a space is named, or lies in a TOML file, got {quoted(name_or_path)}. {written}")
    try:
        path = _find(name_or_path)
    except (OSError, ValueError, RuntimeError) as error:
        raise SpaceError(f"{quoted(name_or_path)} is no file of a space: {error}.") from None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise SpaceError(f"{path} cannot be read: {error}.") from None
    return path, text


def tables_of(text: str, source: str) -> dict[str, Any]:
    """The tables of a TOML text, by the parameters that they declare; `source` is what errors call it."""
    if not isinstance(text, str):
        raise SpaceError(f"{source} is not TOML: it is no text, got {quoted(text)}.")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpaceError(f"{source} is not TOML: {error}. Mend that line.") from None


def tables_of_json(text: str, source: str) -> dict[str, Any]:
    """The same of a JSON text: an object of objects."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"{source} is not JSON: {error}. Mend that line.") from None
    if not isinstance(found, dict):
        raise SpaceError(f"{source} is an object of parameters, got {quoted(found)}.")
    return found


def parameter_of(name: str, table: Any) -> Parameter | Choice:
    """A parameter from its TOML table or its dict."""
    if not isinstance(table, Mapping):
        raise SpaceError(f"{name}: a parameter is a table, got {quoted(table)}. Try [{name}] with scale, low and high.")
    known = _CHOICE_KEYS if "choice" in table else _NUMBER_KEYS
    for key in table:
        if key not in known:
            word = _OTHERWISE.get(key, "")
            meant = f"Did you mean {word}?" if word in (*known, "choice") else did_you_mean(key, known)
            raise SpaceError(f"{name}: key {key!r} is unknown here. {meant}")
    said: dict[str, Any] = {key: table[key] for key in _SAID if key in table}
    if "choice" in table:
        options = table["choice"]
        return Choice(options=tuple(options) if isinstance(options, list) else (options,), **said)
    whole = table.get("type") == "integer"
    for key in ("low", "high") if whole else ("scale", "low", "high"):
        if key not in table:
            example = "50" if whole else '"log"' if key == "scale" else "1e-4" if key == "low" else "1.0"
            raise SpaceError(f"{name}: {key} is missing. Add {key} = {example}, or choice = [ … ] for a few options.")
    numbers_ = {key: table[key] for key in ("type", "scale", "low", "high") if key in table}
    return Parameter(**({"changes": "never"} if whole else {}) | numbers_ | said)


def _spaces_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def _find(name_or_path: str | Path) -> Path:
    """The file meant by a name or a path."""
    spaces = available_spaces()
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, str) and name_or_path in spaces:
        return spaces[name_or_path]
    if isinstance(name_or_path, str) and path.suffix not in (".toml", ".json") and len(path.parts) < 2:
        raise SpaceError(
            f"there is no space {name_or_path!r}. {did_you_mean(name_or_path, spaces)} "
            f"A file of your own is given with its ending: {name_or_path}.toml."
        )
    if not path.is_file():
        brought = f" tuner brings a space of that name: {path.stem!r}." if path.stem in spaces else ""
        beside = [each.name for each in path.parent.glob("*.*") if each.suffix in (".toml", ".json")]
        brought = brought or (f" {did_you_mean(path.name, beside)}" if beside else "")
        raise SpaceError(f"there is no file {path} (looked in {Path.cwd()}).{brought}")
    return path
