"""A study as the record tells it: what is true now, and all that was written; also while it runs, without Ray."""

from __future__ import annotations

import gc
import math
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tuner.errors import SettingsError, StudyError, StudyNotBegun, TrialNotFound, TunerError, format_error, quoted
from tuner.record.curve import Curve
from tuner.record.events import TABLES, Reported, Requested, Settings, TrialCreated, TrialEnded
from tuner.record.kept import keep, kept, since, worthwhile
from tuner.record.location import Place, names
from tuner.record.printed import printed_of
from tuner.record.records import Records
from tuner.record.reports import unpack_reports
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.values.arguments import amount, checked, index, listener, optional, patience
from tuner.values.numbers import scored

_FEW = 0.3  # of the trials: of more than so many all that was reported is read


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best head report of a trial that did not diverge.

    Attributes:
        params: The trial's settings, as it began.
        score: The best value of the objective on its head.
        trial: Its number, from 0.
        step: The step after which the score was reported.
        checkpoint: The trial's checkpoint nearest to `step`, a folder, or None where none is kept in one.
        checkpoint_url: The same, in an object store. None: it lies in a folder, or none is kept.
        spread: How far its seeds differ there, a sample standard deviation, where the score is the mean of several.
            None: there is one.

    Example:
        >>> best = study.best
        >>> sorted(best.params), best.score == study.best_score
        (['beta', 'learning_rate'], True)
    """

    params: Settings
    score: float
    trial: int
    step: int
    checkpoint: Path | None
    """The trial's checkpoint nearest to `step`, or None where none is kept in a folder."""
    spread: float | None = None
    checkpoint_url: str | None = None


class StudyReader:
    """A study, read only. `refresh` takes in what has been written since."""

    def __init__(self, place: Place, store: Records, folded: tuple[StudyState, int] | None = None) -> None:
        """Use `tuner.open`, or what `tuner.sweep` returns."""
        self._store = store
        self.state, self._after = folded if folded is not None else fold(store, place.name, place.folder)
        # the record knows where its checkpoints are, also where no folder does; what has no database here has none here
        self.place = place if place.database is None else replace(place, objects=self.state.options.get("objects"))
        self.state.load_curves = curves_of(store, self.state)
        if not self.state.identity:
            raise StudyNotBegun(f"{store.where} holds no study yet: its coordinator has not begun.")
        described = self.state.identity["space"]
        self.space = None if described is None else Space.from_dict(described)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        best, state = self.best, self.state
        score = "no score yet" if best is None else f"best {state.objective} {scored(best.score, best.spread, 6)}"
        if state.kind == "babysitting" and state.trials:
            where = "" if best is None else f" at step {best.step}"
            return f"<Study {self.name}: {state.trials[0].state} at step {state.trials[0].steps}, {score}{where}>"
        where = "" if best is None else f" (trial {best.trial})"
        return f"<Study {self.name}: {len(state.trials)} trials, {score}{where}>"

    @property
    def name(self) -> str:
        """The study's name: how its folder is called today."""
        return self.state.name

    @property
    def sequence(self) -> int:
        """The place in the record that was read up to; it grows with whatever the coordinator writes."""
        return self._after

    @property
    def best(self) -> Best | None:
        """The best trial so far, or None where none has a finite score yet."""
        trial = self.state.best
        if trial is None or trial.best_score is None or trial.best_step is None:
            return None
        step = trial.best_step
        near = min(self.state.kept(trial), key=lambda each: abs(each.step - step), default=None)
        where = None if near is None else self.place.where(near.path)
        return Best(
            params=dict(trial.settings),
            score=trial.best_score,
            trial=trial.trial,
            step=step,
            checkpoint=where if isinstance(where, Path) else None,
            checkpoint_url=where if isinstance(where, str) else None,
            spread=self.state.spread(trial),
        )

    @property
    def best_params(self) -> Settings | None:
        """The settings of the best trial, or None."""
        return None if self.best is None else self.best.params

    @property
    def best_score(self) -> float | None:
        """The score of the best trial, or None."""
        return None if self.best is None else self.best.score

    def records(self, *kinds: type[Any]) -> Iterator[Any]:
        """The records themselves, of these types, in the order written.

        Args:
            *kinds: Classes of `tuner.record.events`; none: all records.

        Returns:
            An iterator over them, read as it goes.

        Raises:
            SettingsError: What is no class of a record.

        Example:
            >>> from tuner.record.events import TrialCreated
            >>> [each.trial for each in study.records(TrialCreated)][:3]
            [0, 1, 2]
        """
        for kind in kinds:
            if not isinstance(kind, type) or kind not in TABLES.values():
                raise SettingsError(
                    f"records are asked for by their class, such as tuner.record.events.Noted, got {quoted(kind)}."
                )
        return self._store.read(*kinds)

    @checked(trial=index)
    def reported(self, trial: int) -> Iterator[Reported]:
        """Everything a trial has reported, in the order recorded, steps given up included.

        Args:
            trial: The trial's number, from 0.

        Returns:
            An iterator over what was written at a time, each with its names, steps and scores.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> sorted(next(study.reported(0)).names)
            ['loss', 'score']
        """
        self.trial(trial)
        return self._store.reports(trial)

    @checked(trial=index)
    def traceback(self, trial: int) -> str:
        """The traceback of a trial that failed.

        Args:
            trial: The trial's number, from 0.

        Returns:
            The text, empty where it did not fail.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> study.traceback(0)
            ''
        """
        self.trial(trial)
        ends = list(self._store.read(TrialEnded, trial=trial))
        return ends[-1].traceback if ends else ""

    @checked(trial=index)
    def printed(self, trial: int) -> str:
        """What the training function printed, as far as it was kept; a � stands for what would command a terminal.

        Args:
            trial: The trial's number, from 0.

        Returns:
            The text, empty where it printed nothing.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> study.printed(0)
            ''
        """
        self.trial(trial)
        return printed_of(self.place.folder, trial)

    @checked(trial=index)
    def curve(self, trial: int) -> Curve:
        """The head curve of the objective.

        Args:
            trial: The trial's number, from 0.

        Returns:
            Its `steps`, ascending, and their `scores`; empty where nothing was reported.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> curve = study.curve(study.best.trial)
            >>> min(curve.scores) == study.best.score
            True
        """
        return self.state.curve(self.trial(trial))

    def load_curves(self) -> None:
        """Reads the head curves of all trials at once, for whoever looks at many: far faster than one by one.

        Example:
            >>> study.load_curves()
            >>> len(study.curve(0)) > 0
            True
        """
        self.state.read(self.state.trials)

    @checked(trial=index)
    def curves(self, trial: int) -> dict[str, Curve]:
        """The head curve of every score of a trial.

        Args:
            trial: The trial's number, from 0.

        Returns:
            The curves by the name of the score.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> sorted(study.curves(0))
            ['loss', 'score']
        """
        return curves_by_name(self._store, self.trial(trial))

    @checked(trial=index, step=index)
    def scores_at(self, trial: int, step: int) -> dict[str, float]:
        """Every score that a trial has on its head at a step: of millions of reports, those there alone are read.

        Args:
            trial: The trial's number, from 0.
            step: The step, from 0.

        Returns:
            What was last reported there, by the name of the score; empty where nothing was.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial or a step.

        Example:
            >>> best = study.best
            >>> study.scores_at(best.trial, best.step)["loss"] == best.score
            True
        """
        limits = self.trial(trial).head_limits()
        found: dict[str, float] = {}
        for flush in self._store.reports(trial, step):
            limit = limits.get(flush.segment, -1)
            if limit is None or step <= limit:
                at = [(name, value) for each, name, value, _ in unpack_reports(flush) if each == step]
                if found and not at:
                    break
                found.update(at)
        return found

    @checked(now=amount())
    def coordinator(self, now: float) -> tuple[str, int] | None:
        """Who runs the study now.

        Args:
            now: The time to ask for, in Unix seconds: on another host a coordinator counts for 15 s after a heartbeat.

        Returns:
            Host and pid of the coordinator, or None where nobody runs it.

        Raises:
            SettingsError: No number.

        Example:
            >>> import time
            >>> study.coordinator(time.time()) is None
            True
        """
        return self._store.holder(now)

    def forks(self) -> list[Self]:
        """The runs that begin from a checkpoint of this one and lie beside it, opened to read.

        Returns:
            Their studies, by name; one that cannot be read is left out. Each is closed by whoever asked.

        Example:
            >>> study.forks()
            []
        """
        found = []
        for name in names(self.place.folder.parent):
            place = self.place.beside(name)
            try:
                store = Store.open(place.existing(), idle="closed")
            except TunerError:
                continue  # being made, or of a newer tuner
            babysat = store.brief()["kind"] == "babysitting"
            parents = [each.parent or "" for each in store.read(TrialCreated)] if babysat else []
            if any(parent.startswith(f"{self.name}/") for parent in parents):
                found.append(type(self)(place, store))
            else:
                store.close()
        return found

    def refresh(self) -> bool:
        """Takes in what was recorded since.

        Returns:
            Whether there was anything.

        Example:
            >>> study.refresh()
            False
        """
        records, after = self._store.follow(self._after)
        for request in self._store.new_requests():
            if request.request not in self.state.requests:
                self.state.apply(request)
        for record in records:
            self.state.apply(record)
        self._after = after
        return bool(records)

    @checked(say=optional(listener), timeout_s=patience)
    def outlasting(
        self, say: Callable[[str], None] | None = None, *, timeout_s: float | None = None
    ) -> AbstractContextManager[None]:
        """Within it a team's database that is away is waited for as long as it takes: for whoever follows a study.

        Otherwise it is an error after 5 s, `DatabaseAway`.

        Args:
            say: Told in words, once, since when the database is away, and once it is back. None: nobody is.
            timeout_s: Seconds from now after which it is an error all the same, at least 0. None: never.

        Returns:
            A context manager.

        Raises:
            SettingsError: `say` is no function, or `timeout_s` no number of seconds.

        Example:
            >>> with study.outlasting(say=print):
            ...     study.refresh()
            False
        """
        return self._store.lasting(say=say, until=math.inf if timeout_s is None else time.monotonic() + timeout_s)

    def close(self) -> None:
        """Lets go of the database; what was read stays.

        Example:
            >>> night = tuner.open("night")
            >>> night.close()
            >>> night.best is not None
            True
        """
        self._store.close()

    @checked(number=index)
    def trial(self, number: int) -> Trial:
        """One trial, with its settings, state, segments and checkpoints.

        Args:
            number: Its number, from 0.

        Returns:
            The trial as it was when the study was last refreshed.

        Raises:
            TrialNotFound: The study has no trial of that number.
            SettingsError: No number of a trial.

        Example:
            >>> trial = study.trial(study.best.trial)
            >>> trial.state, trial.steps, trial.best_score == study.best.score
            ('completed', 20, True)
        """
        if not 0 <= number < len(self.state.trials):
            began = len(self.state.trials)
            raise TrialNotFound(
                f"{self.name} has no trial {number}: trials are counted from 0, and {began} began so far."
            )
        return self.state.trials[number]


def fold(store: Records, name: str = "", folder: Path | None = None) -> tuple[StudyState, int]:
    """What is true now by the record, and the place in it; curves of ended trials are read when asked for.

    A study is called what it was begun as, unless `name` says how its folder is called today. With a `folder`, what is
    kept there of a long record is gone on from; then the curves of live trials of which nothing is new are left, too.
    """
    at_home = store if isinstance(store, Store) else None
    with store.snapshot(), _without_garbage_collection():
        after = store.version()
        known = None if folder is None or at_home is None else kept(folder, at_home)
        state, before = known or (StudyState(), 0)
        state.replaying, state.load_curves = True, curves_of(store, state)
        for request in store.read(Requested):
            if request.request not in state.requests:
                state.apply(request)
        try:
            if known is None or at_home is None:
                for record in store.read():
                    state.apply(record)
                state.settle()
            else:
                records, moved = since(at_home, before)
                for record in records:
                    state.apply(record)
                state.settle(moved)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
            raise StudyError(
                f"the record of {name or state.name or 'this study'} contradicts itself, so somebody else has written "
                f"to it, or its disk is failing: {format_error(error)}. Use a copy of an earlier day."
            ) from error
        if folder is not None and at_home is not None and worthwhile(after, before):
            keep(folder, at_home, state, after)
    state.name = name or state.name
    return state, after


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """For what is built to stay: to look through it for garbage again and again takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def curves_of(store: Records, state: StudyState) -> Callable[[Sequence[Trial]], list[Curve]]:
    """Reads the head curves of trials from the store: each by itself, or of many all that was reported."""
    known = weakref.ref(state)  # no circle, so that who drops a study closes its files

    def read(trials: Sequence[Trial]) -> list[Curve]:
        study = known()
        objective = "" if study is None else study.objective
        if len(trials) == 1:  # bit by bit: it may have reported millions
            return [Curve.of(trial.head_limits(), store.reports(trial.trial), objective) for trial in trials]
        few = study is not None and len(trials) < _FEW * len(study.trials)
        flushes: dict[int, list[Reported]] = {trial.trial: [] for trial in trials}
        for flush in store.reports_of(list(flushes)) if few else store.reports():
            if flush.trial in flushes:
                flushes[flush.trial].append(flush)
        return [Curve.of(trial.head_limits(), flushes[trial.trial], objective) for trial in trials]

    return read


def curves_by_name(store: Records, trial: Trial) -> dict[str, Curve]:
    """Every score of a trial on its head."""
    flushes = list(store.reports(trial.trial))
    names = dict.fromkeys(name for flush in flushes for name in flush.names)
    return {name: Curve.of(trial.head_limits(), flushes, name) for name in names}
