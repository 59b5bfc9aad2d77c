"""The location of a study: its folder, its database, and which names are allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tuner.arguments import path
from tuner.errors import NameRefused, StudyError, StudyNotFound, did_you_mean, quoted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SQLITE = "sqlite:///"
MEMORY = "memory"
ASSIGNMENT = "run.json"
"""What a babysat run is made of, in its folder from before it begins."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A study's folder and, beside or elsewhere, its database; None: it lives in memory alone."""

    name: str
    folder: Path
    database: Path | None

    @classmethod
    def of(cls, name: str, results: str | Path, store: str | None) -> Place:
        """The place of a study; a name that is no plain folder name is refused."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise NameRefused(
                f"a study cannot be called {quoted(name)}: names are letters, digits, '.', '_' and '-', beginning with "
                "a letter or digit, at most 100 of them, since they name a folder."
            )
        folder = path("results", results).expanduser().absolute() / name
        if store is None:
            return cls(name=name, folder=folder, database=folder / "study.db")
        if store == MEMORY:
            return cls(name=name, folder=folder, database=None)
        if isinstance(store, str) and store.startswith(_SQLITE) and len(store) > len(_SQLITE):
            database = path("store", store.removeprefix(_SQLITE)).expanduser().absolute()
            return cls(name=name, folder=folder, database=database)
        raise NameRefused(
            f"store={quoted(store)} is no place for records. Use sqlite:////absolute/path/{name}.db, or leave it out "
            "for the study's own folder."
        )

    def existing_or_new(self) -> Path:
        """The database, there or not."""
        if self.database is None:
            raise StudyNotFound(f"{self.name} is kept in memory alone.")
        return self.database

    def existing(self) -> Path:
        """The database of a study that is there; otherwise `StudyNotFound` with the nearest name."""
        if self.database is None:
            raise StudyNotFound(f"{self.name} was kept in memory and ended with its process.")
        try:
            there = self.database.is_file()
        except PermissionError as error:
            raise StudyError(
                f"{self.database.parent} may not be read: studies are private to whoever made them. Ask for "
                "the folder's rights, or for a copy."
            ) from error
        if not there:
            known = names(self.folder.parent)
            raise StudyNotFound(
                f"there is no study {self.name!r} in {self.folder.parent}. {did_you_mean(self.name, known)}"
            )
        return self.database


def names(results: Path) -> list[str]:
    """The studies in a results folder."""
    if not results.is_dir():
        return []
    return sorted(path.parent.name for path in results.glob("*/study.db"))
