"""What a person holds to steer a running study from any process: every verb is one row in `requests`."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tuner.arguments import amount, checked, index, name, optional, settings, text
from tuner.errors import SettingsError, StudyError, shown
from tuner.places import Place
from tuner.reading import Study
from tuner.records import NOT_A_PERSON, RequestState
from tuner.requests import understood
from tuner.store import Store

if TYPE_CHECKING:
    import pandas as pd

_ANSWER_WITHIN_S = 15.0
_LOOKS_AGAIN_S = 0.5
# A coordinator that dies this often without the run getting any further is not started again.
_DEATHS = 5
_FINAL: frozenset[RequestState] = frozenset({"applied", "rejected", "expired", "superseded"})


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of a request: `accepted` is on record, `applied` has taken effect at `step`."""

    request: str
    verb: str
    state: RequestState
    step: int | None
    detail: str

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        return f"{self.verb}: {self.state}{where}" + (f" ({self.detail})" if self.detail else "")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - IPython's protocol
        """As a notebook shows it: in words."""
        printer.text(str(self))


def person(by: str = "") -> str:
    """Who asks: as told, else the user's name; what acts on record beside people is nobody's name."""
    if by.strip().casefold() in NOT_A_PERSON:
        raise SettingsError(
            f"by={by!r} is how the record tells what {by.strip()!r} itself did, so nobody can ask under that name. "
            "Give your own, or leave it out for the user's."
        )
    if by:
        return by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"user {os.getuid()}"
    return f"user {user}" if user.strip().casefold() in NOT_A_PERSON else user


class Handle:
    """A running study, from any process that may write to its folder."""

    def __init__(self, place: Place, store: Store, *, by: str = "") -> None:
        """Use `tuner.attach`, or what `tuner.babysit` returns. `by` is who asks, the user's name unless told."""
        self._place, self._store = place, store
        self.by = person(by)
        self.name = place.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """The study as a notebook shows it, with how to steer it."""
        from tuner.notebook import handle_html

        return handle_html(self)

    @property
    def study(self) -> Study:
        """The study as it is now; holds no file between two looks at it."""
        return Study(self._place, Store.open(self._place.existing(), idle="closed"))

    @checked()
    def pause(self, why: str = "") -> Reply:
        """Starts nothing further; what trains stands still between two steps."""
        return self._ask("pause", {}, why)

    @checked()
    def resume(self, why: str = "") -> Reply:
        """Goes on after `pause`."""
        return self._ask("resume", {}, why)

    @checked()
    def stop(self, why: str = "") -> Reply:
        """Ends what trains after its present step; everything is kept."""
        return self._ask("stop", {}, why)

    @checked()
    def note(self, text: str, trial: int | None = None) -> Reply:
        """Writes a note into the study's record."""
        return self._ask("note", {"text": text, "trial": trial}, "")

    @checked()
    def close(self) -> None:
        """Lets go of the database."""
        self._store.close()

    def _ask(
        self, verb: str, arguments: dict[str, Any], why: str, *, until_accepted: bool = False, request: str = ""
    ) -> Reply:
        """Inserts a request and waits until it has taken effect, or at least been accepted."""
        arguments, why = understood(verb, arguments), text("why", why)
        attended = self._store.holder(time.time()) is not None
        if not attended:
            self._refuse_unattended(verb)
        name = self._store.request(verb, arguments, by=self.by, why=why, request=request)
        if not attended:
            self._wake()  # after the request is there, or it might find nothing to do and leave
        accepted: Reply | None = None
        now = time.monotonic()
        deadline, looks_again = now + _ANSWER_WITHIN_S, now + _LOOKS_AGAIN_S
        while (now := time.monotonic()) < deadline:
            answer = self._store.answer(name)
            if answer is not None and answer.state == "rejected":
                raise StudyError(f"{self.name} refused to {verb.replace('_', ' ')}: {answer.detail}")
            if answer is not None:
                accepted = Reply(request=name, verb=verb, state=answer.state, step=answer.step, detail=answer.detail)
                if until_accepted or answer.state in _FINAL or answer.detail:  # its detail says when it takes effect
                    return accepted
            if now > looks_again:  # whoever was there may have been about to leave
                looks_again = now + _LOOKS_AGAIN_S
                if self._store.holder(time.time()) is None:
                    self._wake()
            time.sleep(0.002)
        if accepted is not None:
            return accepted
        raise StudyError(
            f"{self.name} has not answered {verb!r} for {_ANSWER_WITHIN_S:g} s. The request {name} stays on record and "
            "is carried out when its coordinator gets to it."
        )

    def _refuse_unattended(self, verb: str) -> None:
        """Nobody coordinates the study: a sweep is refused, a babysat run is taken up again."""
        raise StudyError(
            f"{self.name} is not running, so nobody would carry out {verb!r}. Start its command again first, with more "
            "trials if all were tried."
        )

    def _wake(self) -> None:
        """Starts a coordinator where that is this handle's to do."""


class SweepHandle(Handle):
    """Steers a running sweep."""

    @checked()
    def stop_trial(self, trial: int, why: str = "") -> Reply:
        """Ends one trial; its worker takes the next."""
        return self._ask("stop_trial", {"trial": trial}, why)

    @checked()
    def add(self, settings: Mapping[str, Any], why: str = "") -> Reply:
        """Trains these settings next."""
        return self._ask("add", {"settings": settings}, why)

    @checked()
    def set_box(
        self,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        /,
        *,
        why: str = "",
        **ranges: tuple[float, float],
    ) -> Reply:
        """Searches between these bounds from the next trial on, for one round: `set_box(learning_rate=(0.01, 0.1))`.

        A few draws still come from the whole space, so that no box is final. A parameter called `why` is named in a
        mapping: `set_box({"why": (0, 1)})`.
        """
        return self._ask("set_box", {"ranges": _together(bounds, ranges)}, why)

    @checked()
    def set_parallel(self, parallel: int, why: str = "") -> Reply:
        """Changes how many trials train at a time."""
        return self._ask("set_parallel", {"parallel": parallel}, why)


class RunHandle(Handle):
    """Steers a babysat run. Each verb takes effect between two steps, all fields of one request at the same step."""

    @checked()
    def set(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        why: str = "",
        at: int | None = None,
        expect: int | None = None,
        evidence: str = "",
        request: str = "",
        **values: Any,
    ) -> Reply:
        """Sets effective values now, or `at` a step: `set(learning_rate=3e-4, why="loss spikes")`.

        `expect` is the number of the segment you last saw: somebody else's change since then refuses yours.
        `request` is an id of your own: the same id twice is one request. A setting that is called as one of these
        words is named in a mapping: `set({"at": 3})`.
        """
        if request:
            request = name("request", request)
        arguments = {"values": _together(changes, values), "at": at, "expect": expect, "evidence": evidence}
        return self._ask("set", arguments, why, until_accepted=at is not None, request=request)

    @checked()
    def schedule(
        self,
        parameter: str,
        shape: str,
        *,
        why: str = "",
        at: int | None = None,
        expect: int | None = None,
        **settings: float,
    ) -> Reply:
        """Lets a value follow a schedule from its present value on: time_based, exponential, square_root, staircase,

        cosine (needs `over=STEPS`), or constant for none: `schedule("learning_rate", "cosine", over=2000)`.
        """
        arguments = {"parameter": parameter, "shape": shape, "shape_settings": settings, "at": at, "expect": expect}
        return self._ask("schedule", arguments, why, until_accepted=at is not None)

    @checked()
    def pause(self, why: str = "", *, release: bool = False) -> Reply:
        """Stands still between two steps; with `release`, saves a checkpoint and frees the worker."""
        return self._ask("pause", {"release": release}, why)

    @checked()
    def step(self, steps: int = 1, why: str = "") -> Reply:
        """Trains this many steps, then stands still."""
        return self._ask("step", {"steps": steps}, why)

    @checked()
    def checkpoint(self, why: str = "") -> Reply:
        """Writes a checkpoint now, and keeps it."""
        return self._ask("checkpoint", {}, why)

    @checked()
    def revert(
        self,
        *,
        step: int | None = None,
        checkpoint: int | None = None,
        keep_settings: bool = False,
        why: str = "",
        expect: int | None = None,
    ) -> Reply:
        """Goes back to the newest checkpoint at or before `step`, or to a `checkpoint` by number.

        Without either, to the moment before the last adjustment. The settings of that time come back with it, unless
        `keep_settings`.
        """
        arguments = {"step": step, "checkpoint": checkpoint, "keep_settings": keep_settings, "expect": expect}
        return self._ask("revert", arguments, why)

    @checked()
    def undo(self, why: str = "", *, expect: int | None = None) -> Reply:
        """Takes the last adjustment or revert back; that is a change of its own, nothing is erased."""
        return self._ask("undo", {"expect": expect}, why)

    @checked()
    def extend(self, steps: int, why: str = "") -> Reply:
        """Trains longer than the function asks for; also a finished run."""
        return self._ask("extend", {"steps": steps}, why)

    @checked(step=optional(index), why=text)
    def fork(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        name: str | None = None,
        step: int | None = None,
        why: str = "",
        **values: Any,
    ) -> RunHandle:
        """Starts another run from a checkpoint of this one, with other values: `fork(learning_rate=0.03)`.

        A setting called `name`, `step` or `why` is named in a mapping: `fork({"step": 0.1})`.
        """
        from tuner.forking import fork

        changed = settings("what a fork changes", _together(changes, values))
        place = fork(self._place, values=changed, by=self.by, name=name, step=step, why=why)
        return RunHandle(place, Store.open(place.existing()), by=self.by)

    @checked()
    def compare(self, other: str) -> pd.DataFrame:
        """This run and another side by side: one row a step, one column a run."""
        from tuner.forking import compare

        return compare(self._place, other)

    @checked(timeout_s=optional(amount(least=0, unit="seconds")))
    def wait(self, timeout_s: float | None = None) -> Study:
        """Waits until the run is over, and returns its study; a coordinator that died is started again."""
        from tuner import nurse

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        study = self.study
        deaths, furthest = 0, -1
        while True:
            alone = self._store.holder(time.time()) is None
            study.refresh()
            trial = study.trial(0)
            if alone and trial.ended:
                return study
            if alone:
                deaths, furthest = (0, trial.steps) if trial.steps > furthest else (deaths + 1, furthest)
                if deaths > _DEATHS:
                    told = nurse.last_words(self._place)
                    raise StudyError(f"the coordinator of {self.name} dies again and again: {told}")
                nurse.start(self._place)
            if deadline is not None and time.monotonic() > deadline:
                raise StudyError(f"{self.name} is still training after {timeout_s:g} s.")
            time.sleep(0.05)

    def _refuse_unattended(self, verb: str) -> None:
        """A run whose coordinator died, or that is over and is to go on, gets another."""

    def _wake(self) -> None:
        from tuner import nurse

        nurse.start(self._place)


def _together(mapping: Any, by_name: Mapping[str, Any]) -> dict[str, Any]:
    """What a verb is given in a mapping and by name: every name can be said in one of the two ways."""
    if not isinstance(mapping, Mapping | None):
        raise SettingsError(
            f"settings are given by name, as in learning_rate=0.003, or in a mapping of names to values, got "
            f"{shown(mapping)}."
        )
    return {**(mapping or {}), **by_name}
