"""The address of a team's database, and what may be shown of it: never a password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tuner.errors import NameRefused, quoted

_POSTGRES = re.compile(r"postgres(ql)?(\+psycopg)?://")
HANDED_ON = "_TUNER_DATABASE"
_known: dict[str, str] = {}  # URLs with their passwords, by what may be shown of them: for this process alone


@dataclass(frozen=True, kw_only=True)
class InDatabase:
    """A study in a team's PostgreSQL database, among others."""

    url: str = field(repr=False)
    """As SQLAlchemy takes it; a password in it is nobody's to see."""
    study: str

    @property
    def shown(self) -> str:
        """The database without a password or anything else that may be secret."""
        return shown_url(self.url)

    def __str__(self) -> str:
        return f"{self.shown} ({self.study})"


def server_url(store: str) -> str | None:
    """The URL of a PostgreSQL database as SQLAlchemy takes it; None: it is none.

    Raises `NameRefused` where it makes no sense.
    """
    if not isinstance(store, str) or not (prefix := _POSTGRES.match(store)):
        return None
    try:
        parts = urlsplit(store)
        _ = parts.port
        if not parts.path.strip("/") or "/" in parts.path.strip("/"):
            raise ValueError("it names no database")
    except ValueError as error:
        raise NameRefused(
            f"store={shown_url(store)!r} is no address of a database: {error}. Write "
            "postgresql://USER@HOST:5432/DATABASE, and the password in ~/.pgpass or PGPASSWORD."
        ) from None
    url = f"postgresql+psycopg://{store[prefix.end() :]}"
    _known.setdefault(shown_url(url), url)
    if parts.password:
        _known[shown_url(url)] = url
    return url


def take_what_was_handed_on() -> None:
    """Remembers the URL that this process was started with, and hands it on to nothing that it starts."""
    if url := os.environ.pop(HANDED_ON, ""):
        server_url(url)


def shown_url(url: str) -> str:
    """A database's URL without its password and its options."""
    whole = _POSTGRES.sub("", url)
    rest = re.split("[?#]", whole)[0]
    if "@" in whole and "@" not in rest:  # a password that should have been quoted
        return "postgresql://…"
    place = rest.rpartition("@")
    user = place[0].partition(":")[0]
    return f"postgresql://{user}{'@' if user else ''}{place[2]}"


def known_url(address: str) -> str | None:
    """The URL of an address as it may be shown, with the password that this process was given for it, if it was."""
    if _POSTGRES.match(given := os.environ.get("TUNER_STORE", "")) and shown_url(given) == address:
        server_url(given)
    return _known.get(address) or server_url(address)


def harmless(store: object) -> str:
    """What was given, to be shown: without what may be a password."""
    return quoted(re.sub(r"//[^@/]*@", "//…@", store) if isinstance(store, str) else store)
