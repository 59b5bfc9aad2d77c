"""The folder of projects: which training functions lie in it, as Python would import them."""

from __future__ import annotations

from pathlib import Path


def lies_within(projects: Path, train: str) -> bool:
    """Whether `package.module:function` comes from the folder, at every step of its import.

    Of one name Python takes a package before a module, and either before a folder of no package. A link that leads out
    of the projects is followed, and so refused.
    """
    home = place = projects.resolve()
    *packages, module = train.partition(":")[0].split(".")
    for part in packages:
        file, place = place / part / "__init__.py", place / part
        if file.is_file():
            if not _is_in(home, file):
                return False
        elif place.with_name(f"{part}.py").is_file() or not (place.is_dir() and _is_in(home, place)):
            return False
    package = place / module / "__init__.py"
    file = package if package.is_file() else place / f"{module}.py"
    return file.is_file() and _is_in(home, file)


def _is_in(home: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(home)
