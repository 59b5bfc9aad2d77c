"""Studies behind a service: found, read and steered over HTTP as those of a folder are."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tuner.api.answers import ANSWER_WITHIN_S, Reply
from tuner.api.handles import Handle, RunHandle, checked_request, person
from tuner.api.lending import ServiceLender
from tuner.api.process import BEGINS_WITHIN_S
from tuner.api.studies import Summary
from tuner.api.study import Study
from tuner.api.sweep_handle import SweepHandle
from tuner.errors import SettingsError, StudyError, interrupted
from tuner.executors import ExecutorName
from tuner.record.client import ServiceClient
from tuner.record.events import Settings, TrialCreated
from tuner.record.location import Place
from tuner.record.reader import Best
from tuner.record.remote import RemoteRecords
from tuner.record.requests import check_asker
from tuner.record.told import told
from tuner.space.files import available_spaces
from tuner.space.space import Space
from tuner.values.arguments import amount, checked, index, name, optional, patience, settings, text
from tuner.values.numbers import duration

if TYPE_CHECKING:
    import pandas as pd

_TOKEN = "TUNER_TOKEN"
_ASKS_FOR_S = 20.0  # at a time: whoever is between may close a connection that is silent for longer
_ANSWERED_WITHIN_S = 5.0  # at first: then what it waits for can be told
_LOOKS_EVERY_S = 0.25
_BEGINS_WITHIN_S = 60.0  # a process has to start


@checked(url=text, token=optional(text), patience_s=amount(least=0, unit="seconds"))
def connect(url: str, token: str | None = None, *, patience_s: float = 30.0) -> RemoteStudies:
    """The studies behind a service that `tuner serve` runs, here or far away.

    Args:
        url: The service's address, as `tuner serve` prints it: http://127.0.0.1:8765.
        token: What `tuner serve --token NAME` has printed. None: what the environment holds as TUNER_TOKEN.
        patience_s: How many seconds the service may be away, as while it starts anew, before that is an error; by
            default 30.0.

    Returns:
        What opens and steers studies, as `tuner.open` and `tuner.attach` do for those of a folder.

    Raises:
        StudyError: Nothing answers there within `patience_s`, it is no service of tuner's, or it refuses the token.
        SettingsError: No address, or no token.

    Example:
        >>> with tuner.connect(service.url, service.token) as there:
        ...     there.open("night").best == tuner.open("night").best
        False
    """
    token = token if token is not None else os.environ.get(_TOKEN, "")
    if not token.strip():
        raise SettingsError(
            f"{url} wants a token. Make one where it runs, `tuner serve --token laptop`, and give it as token=… or as "
            f"{_TOKEN} in the environment."
        )
    found = RemoteStudies(ServiceClient(url, token.strip(), patience_s=patience_s))
    try:
        found.studies()
    except BaseException:
        found.close()
        raise
    return found


class RemoteStudies:
    """The studies behind a service; `with` closes it.

    Args:
        service: The service, as `tuner.connect` has found it.

    Example:
        >>> with tuner.connect(service.url, service.token) as there:
        ...     "night" in [each.name for each in there.studies()]
        True
    """

    def __init__(self, service: ServiceClient) -> None:
        self._service = service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RemoteStudies {self.url}>"

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._service.url

    def studies(self) -> list[Summary]:
        """The studies there are, the latest first.

        Returns:
            One `Summary` a study, as `tuner.studies` gives them.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     [each.kind for each in there.studies() if each.name == "night"]
            ['sweep']
        """
        return _lines(self._service)

    @checked()
    def open(self, name: str) -> Study:
        """A study to read, also while it runs.

        Args:
            name: The study's name.

        Returns:
            The same `Study` as `tuner.open` gives, but that its files lie elsewhere: of its best the `checkpoint` is
            None, and what it writes goes into a folder of its name here unless told where.

        Raises:
            StudyNotFound: No study of that name lies there.
            StudyNotBegun: Its coordinator has yet to write its first record.
            StudyError: The service does not answer.
            SettingsError: An argument of another name.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     there.open("night").best_score == tuner.open("night").best_score
            True
        """
        return RemoteStudy(_place(name), RemoteRecords(self._service, name))

    @checked(by=text)
    def attach(self, name: str, *, by: str = "") -> Handle:
        """A handle to steer a study.

        Args:
            name: The study's name.
            by: Who asks, as the record will say; the user's name where it is left out.

        Returns:
            A `RunHandle` for a babysat run, a `SweepHandle` for a sweep, as `tuner.attach` gives them.

        Raises:
            StudyNotFound: No study of that name lies there.
            StudyError: The service does not answer.
            SettingsError: An argument of another name, or a `by` that is how the record calls tuner itself.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     there.attach("night")
            <RemoteSweepHandle night>
        """
        kind = RemoteRecords(self._service, name).brief()["kind"]
        return (RemoteRunHandle if kind == "babysitting" else RemoteSweepHandle)(self._service, name, by=by)

    @checked(trial=index, name=optional(name), why=text, by=text, request=text, timeout_s=patience)
    def promote(
        self,
        study: str,
        trial: int,
        *,
        name: str | None = None,
        why: str = "",
        by: str = "",
        request: str = "",
        timeout_s: float | None = None,
    ) -> RunHandle:
        """Continues a trial of a sweep from its newest checkpoint, as a babysat run there.

        Args:
            study: The sweep's name.
            trial: The trial's number, from 0.
            name: What the run is called. None: `study-trial`.
            why: The reason, for the record.
            by: Who asks, as the record will say; the user's name where it is left out.
            request: An id of your own: the same id twice is one run, which the second call attaches to. Empty: a new
                one.
            timeout_s: Seconds to wait for it to begin, from 0; then an error, and it begins all the same. None: 300.

        Returns:
            The handle of the new run, which trains where the service is.

        Raises:
            StudyNotFound: There is no such sweep, or no trial of that number.
            StudyError: No checkpoint of it is kept, its function was not, the name exists, or it has not begun within
                `timeout_s`.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     there.promote("night", 99, why="to see it to its end")
            Traceback (most recent call last):
            tuner.errors.TrialNotFound: night has no trial 99: trials are counted from 0, and 12 began so far.
        """
        by = person(by)
        check_asker("promote", by, why)
        given = {"trial": trial, "name": name, "timeout_s": timeout_s}
        asked = {"verb": "promote", "arguments": given, "why": why, "by": by}
        return RemoteRunHandle(self._service, _begun(self._service, study, request, asked), by=by)

    @checked(why=text)
    def sweep(
        self,
        train: str | None,
        space: Space | str | Path,
        *,
        name: str,
        objective: str,
        executor: ExecutorName = "ray",
        why: str = "",
        **options: Any,
    ) -> SweepHandle:
        """Begins a sweep there, or goes on with it, in a process of its own.

        Args:
            train: The import path `package.module:function` of a function in the service's projects. None with
                `executor="external"` alone.
            space: A `Space`, the name of one that tuner brings, or a TOML file here.
            name: What the study is called.
            objective: The score that counts, under the name by which `train` reports it.
            executor: "ray", "local", or "external" for programs that ask for their trials; by default ray.
            why: The reason for it, for the record.
            **options: What else `tuner.sweep` takes, as far as the service does: trials, seed, cpus and their like.

        Returns:
            The handle of the sweep, which has begun.

        Raises:
            IdentityMismatch: The name exists with another identity; the sentence has the words that differ.
            SettingsError: An argument that makes no sense, or that the service does not take.
            SpaceError: A space that cannot be searched.
            StudyError: The service launches nothing, the function does not lie in its projects, or nothing answers.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     there.sweep("mine:train", "adam", name="night", objective="score")
            Traceback (most recent call last):
                ...
            tuner.errors.StudyError: this service launches nothing. Start it with --projects DIR to allow that.
        """
        body = {"train": train, "space": _described(space), "objective": objective, "executor": executor, "why": why}
        self._begin(name, {**body, **options})
        return RemoteSweepHandle(self._service, name)

    @checked(params=optional(settings), why=text)
    def babysit(
        self,
        train: str,
        params: Settings | None = None,
        *,
        name: str,
        objective: str,
        space: Space | str | Path | None = None,
        why: str = "",
        **options: Any,
    ) -> RunHandle:
        """Trains one model there under supervision, and returns the handle to steer it; the same again comes back.

        Args:
            train: The import path `package.module:function` of a function in the service's projects.
            params: The settings to begin with. What they leave open is drawn from the space; None: all of it.
            name: What the run is called.
            objective: The score that counts, under the name by which `train` reports it.
            space: What the settings may be: a `Space`, the name of one that tuner brings, or a TOML file here. None:
                any value.
            why: The reason for it, for the record.
            **options: What else `tuner.babysit` takes, as far as the service does: goal, executor, cpus and their like.

        Returns:
            The handle of the run. Its coordinator has begun; the first step may be yet to come.

        Raises:
            IdentityMismatch: The name exists with another identity; the sentence has the words that differ.
            SettingsError: Settings that do not fit, or an argument that the service does not take.
            SpaceError: A space that cannot be searched.
            StudyError: The service launches nothing, the function does not lie in its projects, or nothing answers.

        Example:
            >>> with tuner.connect(service.url, service.token) as there:
            ...     there.babysit("mine:train", {"learning_rate": 0.1}, name="one", objective="score")
            Traceback (most recent call last):
                ...
            tuner.errors.StudyError: this service launches nothing. Start it with --projects DIR to allow that.
        """
        body: dict[str, Any] = {"kind": "babysitting", "train": train, "params": params or {}, "objective": objective}
        self._begin(name, {**body, "space": _described(space), "why": why, **options})
        return RemoteRunHandle(self._service, name)

    def _begin(self, name: str, body: dict[str, Any]) -> None:
        given = {word: value for word, value in body.items() if value is not None}
        self._service.put("studies", _place(name).name, body=given, takes_s=_BEGINS_WITHIN_S)

    def close(self) -> None:
        """Lets go of the service: what was opened here is read no further.

        Example:
            >>> there = tuner.connect(service.url, service.token)
            >>> there.close()
        """
        self._service.close()


def _begun(service: ServiceClient, study: str, request: str, asked: Mapping[str, Any]) -> str:
    """The name of the run that a fork or a promotion has begun there."""
    patience_s = asked["arguments"]["timeout_s"]
    where = ("studies", study, "requests", request or uuid.uuid4().hex[:12])
    said = service.put(*where, body=asked, takes_s=BEGINS_WITHIN_S if patience_s is None else patience_s)
    return str(told(said, study=str)["study"])


def _described(space: Space | str | Path | None) -> Any:
    """A space as a service takes it: the name of one that tuner brings, or as it is."""
    if space is None or (isinstance(space, str) and space in available_spaces()):
        return space
    found = space if isinstance(space, Space) else Space.load(space)
    return {name: each.to_dict() for name, each in found.items()}


def _lines(service: ServiceClient) -> list[Summary]:
    """A line of each study there is."""
    lines = (told(each, **_LINE) for each in told(service.get("studies"), studies=list)["studies"])
    return [Summary(**{**line, "aside": line["aside"] or 0}) for line in lines]


_LINE = {
    **dict.fromkeys(("name", "kind", "activity", "objective"), str),
    **dict.fromkeys(("trials", "ended"), int),
    **dict.fromkeys(("best_trial", "aside"), int | None),
    **dict.fromkeys(("best", "spread"), float | int | None),
    "updated": float | int,
}


def _place(name: str) -> Place:
    """Where a study of elsewhere writes what it is told to: a folder of its name, here."""
    return Place.of(name, Path.cwd(), "memory")


class RemoteStudy(Study):
    """A study whose files lie elsewhere."""

    _store: RemoteRecords

    @property
    def best(self) -> Best | None:
        """The best trial so far, or None where none has a finite score yet; its checkpoint lies elsewhere."""
        found = super().best
        return None if found is None else replace(found, checkpoint=None, checkpoint_url=None)

    @checked(trial=index)
    def printed(self, trial: int) -> str:
        """The end of what the training function printed, as the service tells it."""
        self.trial(trial)
        found = self._store.service.get("studies", self.name, "trials", str(trial))
        return str(told(found, printed=str)["printed"])

    def forks(self) -> list[Self]:
        """The runs there that begin from a checkpoint of this one."""
        found = []
        for each in _lines(self._store.service):
            if each.kind == "babysitting" and each.name != self.name:
                records = RemoteRecords(self._store.service, each.name)
                parents = [created.parent or "" for created in records.read(TrialCreated)]
                if any(parent.startswith(f"{self.name}/") for parent in parents):
                    found.append(type(self)(_place(each.name), records))
        return found


class RemoteHandle(Handle):
    """What asks a service, where a handle at home writes into the record."""

    def __init__(self, service: ServiceClient, name: str, *, by: str = "") -> None:
        self._service, self._place, self.name, self.by = service, _place(name), name, person(by)
        self._closed = False
        self.on_wait = None

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return RemoteStudy(self._place, RemoteRecords(self._service, self.name))

    @checked()
    def close(self) -> None:
        """Asks nothing more; the connection stays for others. A second time does nothing."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StudyError(f"{self.name} was closed. Attach to it again to go on: tuner.connect(…).attach(…).")

    def _ask(
        self,
        verb: str,
        arguments: dict[str, Any],
        why: str,
        *,
        until_accepted: bool = False,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Puts a request, under an id that makes it one however often it is sent, and waits for what becomes of it."""
        self._check_open()
        given, why, request, timeout_s = checked_request(verb, arguments, why, self.by, expect, request, timeout_s)
        where = ("studies", self.name, "requests", request or uuid.uuid4().hex[:12])
        body = {"verb": verb, "arguments": given, "why": why, "by": self.by}
        within_s = min(_ANSWERED_WITHIN_S, ANSWER_WITHIN_S if timeout_s is None else timeout_s)
        try:
            reply = self._reply_of(verb, self._service.put(*where, body=body, wait_s=within_s))
            return self._until(reply, where, until_accepted=until_accepted, timeout_s=timeout_s)
        except KeyboardInterrupt:
            told = f"the request to {verb} is on record ({where[-1]}), and is carried out all the same"
            raise interrupted(told) from None

    def _until(self, reply: Reply, where: tuple[str, ...], *, until_accepted: bool, timeout_s: float | None) -> Reply:
        """The reply that a verb waits for, or the last one there was when patience ends."""
        deadline, told = time.monotonic() + (ANSWER_WITHIN_S if timeout_s is None else timeout_s), ""
        while reply.pending and not (reply.state == "accepted" and (until_accepted or reply.detail)):
            if self.on_wait is not None and reply.detail not in ("", told):
                told = reply.detail
                self.on_wait(f"waiting: {told}")
            left = deadline - time.monotonic()
            if left <= 0:
                break
            reply = self._reply_of(reply.verb, self._service.get(*where, wait_s=min(left, _ASKS_FOR_S)))
        return reply

    def _reply_of(self, verb: str, said: Any) -> Reply:
        heard = told(said, request=str, state=str, step=int | None, why=str)
        reply = Reply(verb=verb, detail=heard.pop("why"), **heard)
        if reply.state == "rejected":
            raise StudyError(f"{self.name} refused to {verb.replace('_', ' ')}: {reply.detail}")
        return reply


class RemoteSweepHandle(RemoteHandle, SweepHandle):
    """Steers a sweep that runs behind a service."""

    def _lender(self) -> ServiceLender:
        self._check_open()
        return ServiceLender(self._service, self.name)


class RemoteRunHandle(RemoteHandle, RunHandle):
    """Steers a babysat run that trains behind a service."""

    def _forked(self, values: Mapping[str, Any], *, timeout_s: float | None, **given: Any) -> RunHandle:
        self._check_open()
        why, request = given.pop("why"), given.pop("request")
        check_asker("fork", self.by, why)
        arguments = {**given, "values": dict(values), "timeout_s": timeout_s}
        asked = {"verb": "fork", "arguments": arguments, "why": why, "by": self.by}
        begun = _begun(self._service, self.name, request, asked)
        return RemoteRunHandle(self._service, begun, by=self.by)

    def compare(self, other: str) -> pd.DataFrame:
        """This run and another one there, side by side."""
        from tuner.api.fork import side_by_side

        if other == self.name:
            raise StudyError(f"{self.name} is compared with another run, got {self.name} twice. Name a fork of it.")
        studies = (RemoteStudy(_place(name), RemoteRecords(self._service, name)) for name in (self.name, other))
        return side_by_side(studies)

    def _wait(self, timeout_s: float | None) -> Study:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        study = self.study
        while not study.trial(0).ended:
            if deadline is not None and time.monotonic() > deadline:
                raise StudyError(f"{self.name} is still training after {duration(timeout_s or 0.0)}.")
            time.sleep(_LOOKS_EVERY_S)
            study.refresh()
        return study
