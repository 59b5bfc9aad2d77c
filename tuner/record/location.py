"""The location of a study: its folder, its database, and which names are allowed."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.errors import NameRefused, StudyError, StudyNotFound, did_you_mean, quoted
from tuner.record import object_address
from tuner.record.object_address import local_folder, object_url
from tuner.record.team import HANDED_ON, InDatabase, harmless, known_url, server_url
from tuner.values.arguments import path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SQLITE = "sqlite:///"
MEMORY = "memory"
ASSIGNMENT = "run.json"
"""What a babysat run is made of, in its folder from before it begins."""
POINTER = "record.json"
"""In a study's folder: which team's database its record lies in."""
AWAY = "waiting.json"
"""In a study's folder while its coordinator waits for a team's database."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A study's folder and, beside or elsewhere, its database; None: it lives in memory alone.

    `objects` is the address of its own in the object store that has its checkpoints; None: they lie in the folder.
    """

    name: str
    folder: Path
    database: Path | InDatabase | None
    objects: str | None = None

    @classmethod
    def of(cls, name: str, results: str | Path, store: str | None) -> Place:
        """The place of a study; a name that is no plain folder name is refused."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise NameRefused(
                f"a study cannot be called {quoted(name)}: names are letters, digits, '.', '_' and '-', beginning with "
                "a letter or digit, at most 100 of them, since they name a folder."
            )
        given = object_url(results)
        folder = local_folder(results) / name
        if store == MEMORY:
            return cls(name=name, folder=folder, database=None)
        objects = _objects(name, folder, given)
        if store is None:
            return cls(name=name, folder=folder, database=_pointed(folder) or folder / "study.db", objects=objects)
        if isinstance(store, str) and store.startswith(_SQLITE) and len(store) > len(_SQLITE):
            database = path("store", store.removeprefix(_SQLITE)).expanduser().absolute()
            return cls(name=name, folder=folder, database=database, objects=objects)
        if (url := server_url(store)) is not None:
            return cls(name=name, folder=folder, database=InDatabase(url=url, study=name), objects=objects)
        raise NameRefused(
            f"store={harmless(store)} is no place for records. Use sqlite:////absolute/path/{name}.db, "
            "postgresql://USER@HOST/DATABASE for a team, or leave it out for the study's own folder."
        )

    def existing_or_new(self) -> Path | InDatabase:
        """The database, there or not."""
        if self.database is None:
            raise StudyNotFound(f"{self.name} is kept in memory alone.")
        return self.database

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be told beside the study's folder to find the record: a URL may hold a password."""
        return {HANDED_ON: self.database.url} if isinstance(self.database, InDatabase) else {}

    def beside(self, name: str) -> Place:
        """Where a study of that name lies, or would, that has to do with this one: in the same folder and database."""
        there = Place.of(name, self.folder.parent, None)
        if isinstance(there.database, InDatabase) or there.is_there:
            return there
        if self.objects is not None and there.objects is None:
            there = replace(there, objects=f"{self.objects.rpartition('/')[0]}/{name}")
        if isinstance(self.database, InDatabase):
            there = replace(there, database=InDatabase(url=self.database.url, study=name))
        return there

    @property
    def is_there(self) -> bool:
        """Whether there is a database for it; of a team's, whether it has the study."""
        if isinstance(self.database, InDatabase):
            from tuner.record.postgres import mark

            return mark(self.database) != 0
        return self.database is not None and self.database.is_file()

    def mark(self) -> int:
        """A number that is another one once another study lies there; 0: none does."""
        if isinstance(self.database, InDatabase):
            from tuner.record.postgres import mark

            return mark(self.database)
        try:
            return 0 if self.database is None else self.database.stat().st_ino
        except OSError:
            return 0

    def point(self) -> None:
        """Leaves word in the study's folder of a team's database and an object store; no password is written down."""
        from tuner.record.atomic import write_whole

        try:
            if isinstance(self.database, InDatabase):
                told = {"database": self.database.shown, "study": self.database.study}
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(self.folder / POINTER, json.dumps(told).encode(), mode=0o600)
            if self.objects is not None:
                object_address.point(self.folder, self.objects)
        except OSError as error:
            raise StudyError(
                f"{error.filename or self.folder} cannot be written: {error.strerror or error}. Choose a folder you "
                "may write to: --results."
            ) from error

    def where(self, checkpoint: str) -> Path | str:
        """Where a checkpoint of that name in the record lies: its folder, or its URL in an object store."""
        return self.folder / checkpoint if self.objects is None else f"{self.objects}/{checkpoint}"

    def existing(self) -> Path | InDatabase:
        """The database of a study that is there; otherwise `StudyNotFound` with the nearest name.

        Whether a team's database has the study is seen when it is opened.
        """
        if self.database is None:
            raise StudyNotFound(f"{self.name} was kept in memory and ended with its process.")
        if isinstance(self.database, InDatabase):
            return self.database
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
    found = {path.parent.name for name in ("study.db", POINTER) for path in results.glob(f"*/{name}")}
    return sorted(name for name in found if _NAME.fullmatch(name))


def places(results: Path, store: str | None) -> list[Place]:
    """Where the studies in a results folder lie, or all those of a team's database."""
    if store is None:
        return [Place.of(name, results, None) for name in names(results)]
    team = team_url(store)
    from tuner.record.postgres import listed

    return [Place.of(each.name, results, store) for each in listed(team) if _NAME.fullmatch(each.name)]


def team_url(store: str) -> str:
    """The URL of a team's database; another store, which holds one study, is refused."""
    if (url := server_url(store)) is None:
        raise NameRefused(
            f"store={harmless(store)} holds one study, and all studies of a team's database are meant: "
            "postgresql://USER@HOST/DATABASE. Of studies in files name the folder: --results."
        )
    return url


def touched(folder: Path) -> float:
    """When a study's record was last written to, in Unix seconds, as far as its folder tells; 0: it does not."""
    written = []
    for name in ("study.db", "study.db-wal", POINTER):
        with suppress(OSError):  # the log goes when the last who has the file open lets it go, at any moment
            written.append((folder / name).stat().st_mtime)
    return max(written, default=0.0)


def _objects(name: str, folder: Path, given: str | None) -> str | None:
    """The address of a study's checkpoints; refused where it is not the one that it was begun with."""
    told = object_address.pointed(folder)
    if given is None or told == f"{given}/{name}":
        return told
    if told is not None or any((folder / each).exists() for each in ("study.db", POINTER, "checkpoints")):
        lies = told or f"its own folder, {folder}"
        raise NameRefused(
            f"{name!r} was begun with its checkpoints in {lies}, and is now given {given}: they would be missed. Leave "
            "--results as it was, or choose another name."
        )
    return f"{given}/{name}"


def _pointed(folder: Path) -> InDatabase | None:
    """Where a study's folder says that its record lies; None: it says nothing."""
    try:
        told = json.loads((folder / POINTER).read_text())
        database, study = str(told["database"]), str(told["study"])
    except OSError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{folder / POINTER} should say where the record of the study lies, and cannot be read: {error}. Name the "
            "database: --store postgresql://USER@HOST/DATABASE."
        ) from None
    url = known_url(database)
    return None if url is None else InDatabase(url=url, study=study)
