"""The folder of projects: which training functions lie in it, as Python would import them from there."""

from __future__ import annotations

import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path

# In the order that Python looks (importlib._bootstrap_external, as `FileFinder.path_hook` is given them).
_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def lies_within(projects: Path, train: str) -> bool:
    """Whether Python, started in the folder, would import `package.module:function` from it, at every step.

    Python itself is asked what it would take: of one name a package before a module, and a compiled module before its
    source. Nothing is imported. A link that leads out of the projects is followed, and so refused, and so is a folder
    of no package whose name a package has that is installed elsewhere: Python would take that one.
    """
    home = projects.resolve()
    parts = train.partition(":")[0].split(".")
    if not all(part.isidentifier() for part in parts) or parts[0] in sys.stdlib_module_names:
        return False  # Python has its own of that name, which it has loaded before it looks anywhere
    name, place = "", home
    for depth, part in enumerate(parts):
        name = f"{name}.{part}".lstrip(".")
        spec = FileFinder(str(place), *_LOADERS).find_spec(name)
        is_last = depth == len(parts) - 1
        if spec is None or not all(_is_in(home, file) for file in _files(spec)):
            return False
        if spec.loader is None and (is_last or (depth == 0 and _is_elsewhere(home, name))):
            return False
        if not is_last:
            if not spec.submodule_search_locations:
                return False
            place = Path(next(iter(spec.submodule_search_locations)))
    return True


def _files(spec: ModuleSpec) -> list[Path]:
    """What is read of a module when it is imported, and where its own modules are looked for."""
    found = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location and spec.origin else ())]
    return [Path(each) for each in found]


def _is_elsewhere(home: Path, name: str) -> bool:
    """Whether a package or module of that name lies on the way that Python looks after the projects."""
    beyond = [each for each in sys.path if each and Path(each).resolve() != home]
    spec = PathFinder.find_spec(name, beyond)
    return spec is not None and spec.loader is not None


def _is_in(home: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(home)
