"""A study as the record tells it: what is true now, and all that was written; also while it runs, without Ray."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tuner.arguments import amount, checked, index
from tuner.errors import SettingsError, StudyNotBegun, TrialNotFound, TunerError, quoted
from tuner.numbers import scored
from tuner.record.curve import Curve
from tuner.record.events import TABLES, Reported, Requested, Settings, TrialCreated, TrialEnded
from tuner.record.location import Place, names
from tuner.record.records import Records
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.space.space import Space

_MANY = 10  # curves, from which on all reports are read


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best head report of a trial that did not diverge.

    Attributes:
        params: The trial's settings, as it began.
        score: The best value of the objective on its head.
        trial: Its number, from 0.
        step: The step after which the score was reported.
        checkpoint: The trial's checkpoint nearest to `step`, or None where none is kept.
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
    """The trial's checkpoint nearest to `step`, or None where none is kept."""
    spread: float | None = None


class StudyReader:
    """A study, read only. `refresh` takes in what has been written since."""

    def __init__(self, place: Place, store: Records, folded: tuple[StudyState, int] | None = None) -> None:
        """Use `tuner.open`, or what `tuner.sweep` returns."""
        self.place = place
        self._store = store
        self.state, self._after = folded if folded is not None else fold(store, place.name)
        self.state.load_curve = curves_of(store, self.state)
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
        return Best(
            params=dict(trial.settings),
            score=trial.best_score,
            trial=trial.trial,
            step=step,
            checkpoint=None if near is None else self.place.folder / near.path,
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
        ends = [each for each in self._store.read(TrialEnded) if each.trial == trial]
        return ends[-1].traceback if ends else ""

    @checked(trial=index)
    def printed(self, trial: int) -> str:
        """What the training function printed, as far as it was kept.

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
        own = self.place.folder / "trials" / str(trial)  # where a program was the training function
        paths = (self.place.folder / "logs" / f"{trial}.log", own / "stdout.log", own / "stderr.log")
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file())

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
        missing = [trial for trial in self.state.trials if trial.curve is None]
        if len(missing) < _MANY:
            return
        flushes: dict[int, list[Reported]] = {}
        for flush in self._store.reports():
            flushes.setdefault(flush.trial, []).append(flush)
        for trial in missing:
            limits = trial.head_limits()
            trial.curve = Curve.of(limits, flushes.get(trial.trial, ()), self.state.objective)

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


def fold(store: Records, name: str = "") -> tuple[StudyState, int]:
    """What is true now by the record, and the place in it; curves of ended trials are read when asked for.

    A study is called what it was begun as, unless `name` says how its folder is called today.
    """
    state = StudyState(replaying=True)
    state.load_curve = curves_of(store, state)
    with store.snapshot(), _without_garbage_collection():
        after = store.version()
        for request in store.read(Requested):
            state.apply(request)
        for record in store.read():
            state.apply(record)
        state.settle()
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


def curves_of(store: Records, state: StudyState) -> Callable[[Trial], Curve]:
    """Reads a trial's head curve from the store."""
    known = weakref.ref(state)  # no circle, so that who drops a study closes its files

    def read(trial: Trial) -> Curve:
        study = known()
        return Curve.of(trial.head_limits(), store.reports(trial.trial), "" if study is None else study.objective)

    return read


def curves_by_name(store: Records, trial: Trial) -> dict[str, Curve]:
    """Every score of a trial on its head."""
    flushes = list(store.reports(trial.trial))
    names = dict.fromkeys(name for flush in flushes for name in flush.names)
    return {name: Curve.of(trial.head_limits(), flushes, name) for name in names}
