"""The handle that steers a babysat run from any process, and what all handles have: a verb is one row in `requests`."""

from __future__ import annotations

import getpass
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from tuner.api.answers import Answers, Reply, RunAnswers, Wait
from tuner.api.study import Study
from tuner.errors import SettingsError, StudyError, TunerError, interrupted, quoted
from tuner.record.events import NOT_A_PERSON
from tuner.record.location import Place
from tuner.record.requests import check_asker, understood
from tuner.record.store import Store
from tuner.values.arguments import amount, checked, index, name, optional, patience, settings, text
from tuner.values.numbers import duration

if TYPE_CHECKING:
    import pandas as pd


# A coordinator that dies this often without the run getting any further is not started again.
_DEATHS = 5


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


def checked_request(
    verb: str,
    arguments: Mapping[str, Any],
    why: str,
    by: str,
    expect: int | None,
    request: str,
    timeout_s: float | None,
) -> tuple[dict[str, Any], str, str, float | None]:
    """What somebody asks for, as it may go on its way: arguments, why, id (empty: a new one) and patience."""
    given = arguments if expect is None else {**arguments, "expect": index("expect", expect)}
    asked, why = understood(verb, given), text("why", why)
    check_asker(verb, by, why)
    if not isinstance(request, str) or request:
        request = name("request", request)
    patience_s = optional(amount(least=0, unit="seconds", instead="Leave it out to wait."))("timeout_s", timeout_s)
    return asked, why, request, patience_s


class Handle:
    """A running study, from any process that may write to its folder; `with` closes it.

    `tuner.attach` opens one, and `tuner.babysit` returns one: a `RunHandle` or a `SweepHandle`.

    Args:
        place: Where the study lies.
        store: Its record, which the handle closes.
        by: Who asks, as the record will say; the user's name where it is left out.

    Example:
        >>> with tuner.attach("night", by="ann") as held:
        ...     held.name, held.by, held.study.best.trial >= 0
        ('night', 'ann', True)
    """

    _answering: type[Answers] = Answers

    def __init__(self, place: Place, store: Store, *, by: str = "") -> None:
        """Use `tuner.attach`, or what `tuner.babysit` returns. `by` is who asks, the user's name unless told."""
        self._place, self._store, self._answers = place, store, self._answering(place, store)
        self.by = person(by)
        """Who asks, as the record will say."""
        self.name = place.name
        """The study's name."""
        self.on_wait: Callable[[str], None] | None = None
        """Told in a sentence what a verb waits for, where it has to wait."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """The study as a notebook shows it, with how to steer it."""
        from tuner.views.notebook import steered_html, unread_html

        try:
            with closing(self.study) as study:
                return steered_html(study)
        except TunerError as error:
            return unread_html(repr(self), error)

    @property
    def study(self) -> Study:
        """The study as it is now; holds no file between two looks at it."""
        return Study(self._place, Store.open(self._place.existing(), idle="closed"))

    @checked()
    def pause(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Starts nothing further; what trains stands still between two steps, and keeps its worker.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study refuses, or is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> sweeping.pause("the machine is needed").state
            'applied'
            >>> sweeping.resume().state
            'applied'
        """
        return self._ask("pause", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def resume(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Goes on after `pause`.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study refuses, or is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.resume().state
            'applied'
        """
        return self._ask("resume", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def stop(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Ends what trains after its present step; everything is kept.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it; of a study that is over, that it is.

        Raises:
            StudyError: The study refuses.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> tuner.attach("night").stop().detail
            'night is not running: 12 of its 12 trials are over'
        """
        return self._ask("stop", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def note(self, text: str, trial: int | None = None, *, request: str = "", timeout_s: float | None = None) -> Reply:
        """Writes a note into the study's record, also of a babysat run that is over.

        Args:
            text: What to note, of at most 100,000 characters.
            trial: The trial it speaks of, from 0. None: the study.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.note("the data was cleaned again").state
            'applied'
        """
        return self._ask("note", {"text": text, "trial": trial}, "", request=request, timeout_s=timeout_s)

    @checked()
    def close(self) -> None:
        """Lets go of the database; what trains goes on. A second time does nothing.

        Raises:
            SettingsError: It takes no argument.

        Example:
            >>> held = tuner.attach("night")
            >>> held.close()
        """
        self._store.close()

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
        """Inserts a request and waits until it has taken effect, or at least been accepted."""
        put = self._put(
            verb, arguments, why, until_accepted=until_accepted, expect=expect, request=request, timeout_s=timeout_s
        )
        if isinstance(put, Reply):
            return put
        try:
            return put.until_answered()
        except KeyboardInterrupt:
            told = f"the request to {verb} is on record ({put.request}), and is carried out all the same"
            raise interrupted(told) from None

    def _put(
        self,
        verb: str,
        arguments: dict[str, Any],
        why: str,
        *,
        until_accepted: bool = False,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply | Wait:
        """Inserts a request: the wait for what becomes of it, or what there is to say where nobody need be asked."""
        arguments, why, request, timeout_s = checked_request(verb, arguments, why, self.by, expect, request, timeout_s)
        asked_before = bool(request) and self._answers.so_far(request, verb) is not None
        if not asked_before and self._store.holder(time.time()) is None:
            done = self._answers.unattended(verb, arguments, why, self.by, request)
            if done is not None:
                return done
        name = self._store.request(verb, arguments, by=self.by, why=why, request=request)
        return self._answers.wait(name, verb, until_accepted=until_accepted, timeout_s=timeout_s, on_wait=self.on_wait)


class RunHandle(Handle):
    """Steers a babysat run. Each verb takes effect between two steps, all fields of one request at the same step.

    A verb waits while a coordinator starts or a worker is sought, then 15 s, or `timeout_s` in all. What has not taken
    effect by then is on record, and `pending`. Of a run whose coordinator died, a verb starts another one.

    Args:
        place: Where the run lies.
        store: Its record, which the handle closes.
        by: Who asks, as the record will say; the user's name where it is left out.

    Example:
        >>> with tuner.attach("one") as run:
        ...     print(run.set(learning_rate=0.05, why="loss spikes"))
        set: applied at step ... (learning_rate ... → 0.05)
    """

    _answering = RunAnswers

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
        timeout_s: float | None = None,
        **values: Any,
    ) -> Reply:
        """Sets effective values, now or at a step; under a schedule its shape goes on from there.

        Args:
            changes: Values by setting; for a setting that is called as one of these words: `set({"at": 3})`. None: as
                named.
            why: The reason, for the record.
            at: The step at which it takes effect, ahead of the run. None: now.
            expect: The number of the segment you last saw: somebody else's change since then refuses yours. None:
                whatever was changed.
            evidence: What it was seen from, for the record.
            request: An id of your own: the same id twice is one request. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.
            **values: The same by name.

        Returns:
            What became of it; with `at`, "accepted".

        Raises:
            StudyError: The run refuses: no such setting, out of range, built into the model, or changed since `expect`.
            SettingsError: An argument that makes no sense, or a value that cannot be recorded.

        Example:
            >>> handle.set(learning_rate=0.003, why="loss spikes").state
            'applied'
            >>> handle.set(learning_rate=0.001, at=1_000_000).pending
            True
        """
        arguments = {"values": merged(changes, values), "at": at, "expect": expect, "evidence": evidence}
        return self._ask("set", arguments, why, until_accepted=at is not None, request=request, timeout_s=timeout_s)

    @checked()
    def schedule(
        self,
        parameter: str,
        shape: str,
        *,
        why: str = "",
        at: int | None = None,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
        **settings: float,
    ) -> Reply:
        """Lets a value follow a schedule from its present value on.

        With t steps since then: time_based v/(1 + rate·t), exponential v·rate^t, square_root v·rate/√t, staircase
        v·rate^⌊t/every⌋, cosine floor + (v − floor)·(1 + cos(π·t/over))/2 (Loshchilov & Hutter 2017, eq. 5).

        Args:
            parameter: The setting, a number.
            shape: One of these five, or "constant" for none.
            why: The reason, for the record.
            at: The step at which it takes effect, ahead of the run. None: now.
            expect: The number of the segment you last saw: somebody else's change since then refuses yours. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.
            **settings: Of the shape: rate (above 0; 1, exponential 0.95, staircase 0.5), every (10 steps), over (steps;
                cosine cannot do without), floor (0).

        Returns:
            What became of it; with `at`, "accepted".

        Raises:
            StudyError: The run refuses: no such setting or shape, or one that leaves the space.
            SettingsError: An argument that makes no sense.

        Example:
            >>> handle.schedule("learning_rate", "cosine", over=2000, why="to settle").state
            'applied'
        """
        arguments = {"parameter": parameter, "shape": shape, "shape_settings": settings, "at": at, "expect": expect}
        return self._ask(
            "schedule", arguments, why, until_accepted=at is not None, request=request, timeout_s=timeout_s
        )

    @checked()
    def pause(
        self,
        why: str = "",
        *,
        release: bool = False,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Stands still between two steps.

        Args:
            why: The reason, for the record.
            release: Saves a checkpoint and frees the worker, and `resume` seeks another one; by default False: it is
                kept.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it.

        Raises:
            StudyError: The run refuses.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.pause("to look at it").state
            'applied'
        """
        return self._ask("pause", {"release": release}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def step(
        self,
        steps: int = 1,
        why: str = "",
        *,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Trains this many steps, then stands still.

        Args:
            steps: How many, from 1 up; by default 1.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it: applied once it stands.

        Raises:
            StudyError: The run refuses.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.pause().state, handle.step(3).state
            ('applied', 'applied')
        """
        return self._ask("step", {"steps": steps}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def checkpoint(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Writes a checkpoint now, and keeps it whatever the disk budget.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it, at its step.

        Raises:
            StudyError: The run refuses: it never called `run.state`, or could not be saved.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.checkpoint("before the schedule").state
            'applied'
        """
        return self._ask("checkpoint", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def revert(
        self,
        *,
        step: int | None = None,
        checkpoint: int | None = None,
        keep_settings: bool = False,
        why: str = "",
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Goes back to a checkpoint; without a step or a number, to the moment before the last adjustment.

        Nothing is erased: what was trained since stays in the tables, off the head.

        Args:
            step: To the newest checkpoint at or before this step. None: not by step.
            checkpoint: To the checkpoint of this number. None: not by number.
            keep_settings: The settings stay as they are now; by default False: those of that time come back.
            why: The reason, for the record.
            expect: The number of the segment you last saw: somebody else's change since then refuses yours. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it, at the step gone back to.

        Raises:
            StudyError: The run refuses: no such checkpoint, or changed since `expect`.
            SettingsError: An argument that makes no sense.

        Example:
            >>> saved = handle.checkpoint()
            >>> handle.revert(step=saved.step).step == saved.step
            True
        """
        arguments = {"step": step, "checkpoint": checkpoint, "keep_settings": keep_settings, "expect": expect}
        return self._ask("revert", arguments, why, request=request, timeout_s=timeout_s)

    @checked()
    def undo(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Takes the last adjustment or revert back; that is a change of its own, nothing is erased.

        Args:
            why: The reason, for the record.
            expect: The number of the segment you last saw: somebody else's change since then refuses yours. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it.

        Raises:
            StudyError: The run refuses: nothing was changed, or something was since `expect`.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.set(learning_rate=0.2).state, handle.undo("that was worse").state
            ('applied', 'applied')
        """
        return self._ask("undo", {"expect": expect}, why, request=request, timeout_s=timeout_s)

    @checked()
    def extend(
        self, steps: int, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Trains longer than the function asks for; a run that is over, from where it stands.

        Args:
            steps: How many steps more, from 1 up.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait in all, at least 0. None: as the class says.

        Returns:
            What became of it.

        Raises:
            StudyError: The run refuses: it cannot go on, such as after a failure.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.extend(1000).state
            'applied'
        """
        return self._ask("extend", {"steps": steps}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked(name=optional(name), step=optional(index), why=text, request=text, timeout_s=patience)
    def fork(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        name: str | None = None,
        step: int | None = None,
        why: str = "",
        request: str = "",
        timeout_s: float | None = None,
        **values: Any,
    ) -> RunHandle:
        """Starts another run from a checkpoint of this one, with other values.

        Args:
            changes: Values by setting; for a setting called as one of these words: `fork({"step": 0.1})`. None: as
                named.
            name: What the new run is called. None: this one's name and the next free number, from 2.
            step: From the newest checkpoint at or before this step. None: the newest.
            why: The reason, for the record.
            request: An id of your own: the same id twice is one run, which the second call attaches to. Empty: a new
                one.
            timeout_s: Seconds to wait for it to begin, from 0; then an error, and it begins all the same. None: 300.
            **values: The same by name.

        Returns:
            The handle of the new run, which trains in a process of its own.

        Raises:
            StudyError: No checkpoint is kept there, the name exists, or it has not begun within `timeout_s`.
            SettingsError: No such setting, a value out of range, or one that is built into the model.

        Example:
            >>> saved = handle.checkpoint()
            >>> with handle.fork(learning_rate=0.03, why="bolder") as other:
            ...     other.name, other.stop().state
            ('one-2', 'applied')
        """
        changed = settings("what a fork changes", merged(changes, values))
        return self._forked(changed, name=name, step=step, why=why, request=request, timeout_s=timeout_s)

    def _forked(self, values: Mapping[str, Any], *, timeout_s: float | None, **given: Any) -> RunHandle:
        """The run that was begun, which trains."""
        from tuner.api.fork import fork

        place = fork(self._place, values=values, by=self.by, timeout_s=timeout_s, **given)
        return RunHandle(place, Store.open(place.existing()), by=self.by)

    @checked(other=name)
    def compare(self, other: str) -> pd.DataFrame:
        """This run and another side by side.

        Args:
            other: The other run's name, in the same results folder.

        Returns:
            A `DataFrame`: one row a step, one column a run, the objective in each. Of the settings that differ,
            `attrs["settings"]` has the values in force and `attrs["courses"]` what they were from which step on;
            `attrs["answer"]` says that one seed each does not tell luck from merit.

        Raises:
            StudyNotFound: There is no such run.
            StudyError: It is a sweep, has not begun, or is this run itself.
            SettingsError: No name.

        Example:
            >>> list(handle.compare("tended").columns)
            ['one', 'tended']
        """
        from tuner.api.fork import compare

        return compare(self._place, other)

    @checked(timeout_s=patience)
    def wait(self, timeout_s: float | None = None) -> Study:
        """Waits until the run is over; a coordinator that died is started again.

        Args:
            timeout_s: Seconds to wait, at least 0. None: as long as it takes.

        Returns:
            The run's study.

        Raises:
            StudyError: It still trains after `timeout_s`, or its coordinator dies again and again.
            SettingsError: An argument of another name, or no number of seconds.
            KeyboardInterrupt: Ctrl-C; the run trains on.

        Example:
            >>> tuner.attach("tended").wait(timeout_s=60).trial(0).state
            'completed'
        """
        try:
            return self._wait(timeout_s)
        except KeyboardInterrupt:
            told = f"{self.name} trains on: tuner.attach({self.name!r}) comes back to it, and its stop() ends it"
            raise interrupted(told) from None

    def _wait(self, timeout_s: float | None) -> Study:
        from tuner.api import process

        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._store.lasting(until=deadline, say=self.on_wait):  # a study is opened with less patience
            self._store.holder(time.time())
        study = self.study
        deaths, furthest = 0, -1
        with study.outlasting(self.on_wait, timeout_s=timeout_s):
            while True:
                left_s = None if timeout_s is None else max(0.0, deadline - time.monotonic())
                found = study.wait("ended", timeout_s=left_s)
                if found.event == "ended":
                    return study
                if found.event == "timeout":
                    study.refresh()  # which says so where the database is away
                    raise StudyError(f"{self.name} is still training after {duration(timeout_s or 0.0)}.")
                trial = study.trial(0)
                deaths, furthest = (0, trial.steps) if trial.steps > furthest else (deaths + 1, furthest)
                if deaths > _DEATHS:
                    told = process.last_words(self._place)
                    raise StudyError(f"the coordinator of {self.name} dies again and again: {told}")
                process.start(self._place)


def merged(mapping: Any, by_name: Mapping[str, Any]) -> dict[str, Any]:
    """What a verb is given in a mapping and by name: every name can be said in one of the two ways."""
    if not isinstance(mapping, Mapping | None):
        raise SettingsError(
            f"settings are given by name, as in learning_rate=0.003, or in a mapping of names to values, got "
            f"{quoted(mapping)}."
        )
    return {**(mapping or {}), **by_name}
