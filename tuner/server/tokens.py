"""The tokens of the service: who may read, who may steer, and the passes that a browser gets in their place.

A token is kept as its hash alone. The folder's secret signs what a browser carries: a code that the printed link holds,
good once and for a while, and the cookie that it becomes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from tuner.errors import SettingsError, StudyError, quoted
from tuner.record.atomic import write_whole
from tuner.record.location import Place

Role: TypeAlias = Literal["operator", "viewer"]
FOLDER = ".service"
"""What the service keeps in a results folder: its tokens, and where it runs."""
_BYTES = 32  # 256 bits
_LEAST = 32  # characters of a token that somebody made up
_GIVEN: Mapping[str, Role] = {"TUNER_TOKEN": "operator", "TUNER_VIEWER_TOKEN": "viewer"}
CODE_S, COOKIE_S = 600, 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Somebody who may use the service: by what name, how far, and how much of it."""

    name: str
    role: Role
    sha256: str
    budget: Mapping[str, Any] | None = None
    """What it may spend; None: no bound of its own."""


def made(name: str, role: Role, text: str, budget: Mapping[str, Any] | None = None) -> Token:
    """The token that this text is from now on."""
    return Token(name=name, role=role, sha256=_hash(text), budget=budget)


def fresh() -> str:
    """The text of a new token, of 256 bits."""
    return secrets.token_urlsafe(_BYTES)


def given_in(environment: Mapping[str, str]) -> list[Token]:
    """The tokens that the environment names."""
    found = []
    for word, role in _GIVEN.items():
        if (text := environment.get(word)) is not None:
            if len(text) < _LEAST:
                raise SettingsError(
                    f"{word} holds {len(text)} characters, and whoever guesses it may run code: it must have at least "
                    f"{_LEAST}. Make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
                )
            found.append(made(role, role, text))
    if len({each.sha256 for each in found}) < len(found):
        raise SettingsError("TUNER_TOKEN and TUNER_VIEWER_TOKEN are the same: viewers could steer. Give two.")
    return found


def taken_from(environment: MutableMapping[str, str]) -> list[Token]:
    """The tokens that the environment names, which it loses: whatever is launched from here inherits it, and prints."""
    found = given_in(environment)
    for word in _GIVEN:
        environment.pop(word, None)
    return found


class Tokens:
    """All tokens of a service, by what somebody presents."""

    def __init__(self, tokens: Iterable[Token], secret: bytes) -> None:
        """`secret` signs passes."""
        self._tokens = {each.name: each for each in tokens}
        self._secret = secret
        self._used: dict[str, float] = {}
        self.start = ""
        """Which start of the service codes are for: used ones are forgotten with it."""

    def presented(self, text: str) -> Token | None:
        """The token that this text is, or None; takes as long for either."""
        digest, found = _hash(text), None
        for each in self.all():
            if hmac.compare_digest(each.sha256, digest):
                found = each
        return found

    def named(self, name: str) -> Token | None:
        """The token of that name."""
        return next((each for each in self.all() if each.name == name), None)

    def all(self) -> list[Token]:
        """Every token there is."""
        return list(self._tokens.values())

    # ── passes ──────────────────────────────────────────────────────────────────────────────────

    def code(self, name: str, now: float) -> str:
        """A code for a link: it stands for the token of that name, once, until it ends."""
        nonce = secrets.token_urlsafe(_BYTES)
        return self._sign({"for": "link", "name": name, "until": now + CODE_S, "nonce": nonce, "start": self.start})

    def cookie(self, name: str, now: float) -> str:
        """What a browser carries in place of the token of that name."""
        return self._sign({"for": "cookie", "name": name, "until": now + COOKIE_S, "of": self._mark(name)})

    def redeemed(self, code: str, now: float) -> Token | None:
        """The token that a code stands for, the first time it is shown; then None."""
        read = self._read(code, "link", now)
        self._used = {nonce: until for nonce, until in self._used.items() if until > now}
        if read is None or read["nonce"] in self._used or read["start"] != self.start:
            return None
        self._used[read["nonce"]] = read["until"]
        return self.named(read["name"])

    def carried(self, cookie: str, now: float) -> Token | None:
        """The token that a cookie stands for; none whose token has been replaced."""
        read = self._read(cookie, "cookie", now)
        if read is None or not hmac.compare_digest(read["of"], self._mark(read["name"])):
            return None
        return self.named(read["name"])

    def _mark(self, name: str) -> str:
        token = self.named(name)
        return "" if token is None else hmac.new(self._secret, token.sha256.encode(), "sha256").hexdigest()[:16]

    def _sign(self, said: Mapping[str, Any]) -> str:
        body = urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")
        return f"{body}.{self._signature(body)}"

    def _signature(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), "sha256").hexdigest()

    def _read(self, text: str, purpose: str, now: float) -> dict[str, Any] | None:
        body, _, signature = text.partition(".")
        if not text.isascii() or not hmac.compare_digest(signature, self._signature(body)):
            return None
        said: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return said if said["for"] == purpose and said["until"] > now else None


class KeptTokens(Tokens):
    """The tokens that a results folder keeps, as they are at the moment, and those that the environment names."""

    def __init__(self, results: Path, given: Iterable[Token] = ()) -> None:
        """Makes the file, with a secret and no token, where there is none."""
        self.path = results / FOLDER / "tokens.json"
        self._given = {each.name: each for each in given}
        self._read_at = -1
        super().__init__((), b"")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                self._write({"secret": secrets.token_hex(_BYTES), "tokens": []})
        except OSError as error:
            raise StudyError(
                f"{self.path.parent} cannot be made: {error.strerror or error}. Choose a folder you may write to: "
                "--results."
            ) from error
        self.all()

    def all(self) -> list[Token]:
        """Every token there is, those made meanwhile by another process included."""
        try:
            written = self.path.stat().st_mtime_ns
        except OSError:
            written = self._read_at  # what was read last goes on to count
        if written != self._read_at:
            kept = self._kept()
            self._secret = bytes.fromhex(kept["secret"])
            self._tokens = {each["name"]: Token(**each) for each in kept["tokens"]} | self._given
            self._read_at = written
        return super().all()

    def add(self, name: str, role: Role, budget: Mapping[str, Any] | None = None) -> str:
        """Makes a token of that name, in the place of one that had it; its text, which is kept nowhere."""
        Place.of(name, self.path.parent, None)  # one rule for all names
        text = fresh()
        token = made(name, role, text, budget)
        kept = self._kept()
        others = [each for each in kept["tokens"] if each["name"] != name]
        fields = {"name": token.name, "role": token.role, "sha256": token.sha256, "budget": budget}
        self._write({**kept, "tokens": [*others, fields]})
        self._read_at = -1
        return text

    def _kept(self) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", json.loads(self.path.read_text()))
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{self.path} cannot be read: {quoted(str(error))}. Delete it, and every token is made anew."
            ) from error

    def _write(self, kept: Mapping[str, Any]) -> None:
        write_whole(self.path, json.dumps(kept, indent=1).encode(), mode=0o600)


def _hash(text: str) -> str:
    # a token of 256 random bits needs no slow hash: nobody can try them all
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def now() -> float:
    """The time by which passes end, in Unix seconds."""
    return time.time()
