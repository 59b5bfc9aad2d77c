"""A study as a person reads it: the best, the tables, exports and plots; also while it runs, without Ray."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tuner import arguments
from tuner.arguments import amount, checked, count, index, optional, path
from tuner.errors import SettingsError, StudyError, StudyNotBegun, TrialNotFound, TunerError, shown
from tuner.places import Place, names
from tuner.records import TABLES, Reported, Requested, Settings, TrialCreated, TrialEnded
from tuner.space import Space
from tuner.store import Store
from tuner.study import Curve, StudyState, Trial

if TYPE_CHECKING:
    import pandas as pd

    from tuner.explaining import Explanation
    from tuner.supervisor import Advice


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best head report of a trial that did not diverge."""

    params: Settings
    score: float
    trial: int
    step: int
    checkpoint: Path | None
    """The trial's checkpoint nearest to `step`, or None where none is kept."""


class Study:
    """A study, read only. `refresh` takes in what has been written since."""

    def __init__(self, place: Place, store: Store, folded: tuple[StudyState, int] | None = None) -> None:
        """Use `tuner.open`, or what `tuner.sweep` returns."""
        self.place = place
        self._store = store
        self.state, self._after = folded if folded is not None else fold(store, place.name)
        self.state.load_curve = curves_of(store, self.state)
        if not self.state.identity:
            raise StudyNotBegun(f"{place.database} holds no study yet: its coordinator has not begun.")
        described = self.state.identity["space"]
        self.space = None if described is None else Space.from_dict(described)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        best, state = self.best, self.state
        score = "no score yet" if best is None else f"best {state.objective} {best.score:.6g}"
        if state.kind == "babysitting" and state.trials:
            where = "" if best is None else f" at step {best.step}"
            return f"<Study {self.name}: {state.trials[0].state} at step {state.trials[0].steps}, {score}{where}>"
        where = "" if best is None else f" (trial {best.trial})"
        return f"<Study {self.name}: {len(state.trials)} trials, {score}{where}>"

    def _repr_html_(self) -> str:
        """As a notebook shows it: a table and a picture."""
        from tuner.notebook import study_html

        return study_html(self)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.state.name

    @property
    def best(self) -> Best | None:
        """The best trial so far, or None."""
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
        )

    @property
    def best_params(self) -> Settings | None:
        """The settings of the best trial."""
        return None if self.best is None else self.best.params

    @property
    def best_score(self) -> float | None:
        """The score of the best trial."""
        return None if self.best is None else self.best.score

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial."""
        return self._table("trials")

    @property
    def reports(self) -> pd.DataFrame:
        """One row a score, in the order recorded."""
        return self._table("reports")

    @property
    def segments(self) -> pd.DataFrame:
        """One row a segment."""
        return self._table("segments")

    @property
    def rounds(self) -> pd.DataFrame:
        """One row a round and parameter."""
        return self._table("rounds")

    @property
    def adjustments(self) -> pd.DataFrame:
        """One row a parameter changed while a trial trained."""
        return self._table("adjustments")

    @property
    def checkpoints(self) -> pd.DataFrame:
        """One row a checkpoint, those let go included."""
        return self._table("checkpoints")

    @property
    def notes(self) -> pd.DataFrame:
        """One row a note, by people or by tuner."""
        return self._table("notes")

    @property
    def requests(self) -> pd.DataFrame:
        """One row a request, with what became of it."""
        return self._table("requests")

    @checked(format=arguments.name, to=optional(path))
    def export(self, format: str = "csv", to: str | Path | None = None) -> list[Path]:  # noqa: A002 - the shell's word
        """Writes every table as csv, parquet or jsonl, into the study's `tables` folder unless told.

        With `format="markdown"` the logbook of a babysat run: `logbook.md`, in the study's folder unless told.
        """
        if format == "markdown":
            from tuner.logbook import write_logbook

            return [write_logbook(self, Path(to) if to is not None else self.place.folder)]
        from tuner import tables
        from tuner.export import export

        folder = Path(to) if to is not None else self.place.folder / "tables"
        return export(tables.build_all(self.state, self._store, self.space), folder, format)

    @checked(to=optional(path), x=optional(arguments.name), y=optional(arguments.name))
    def plot(self, to: str | Path | None = None, *, x: str | None = None, y: str | None = None) -> list[Path]:
        """Draws curves, scatter and progress as PNG, of a babysat run its lineage; into its `plots` unless told.

        `x` and `y` name the two settings of the scatter plot, by default those that matter most; `y` may be the
        objective.
        """
        folder = Path(to) if to is not None else self.place.folder / "plots"
        if self.state.kind == "babysitting":
            if x is not None or y is not None:
                raise StudyError(f"{self.name} is a babysat run: its picture is its lineage, without x= and y=.")
            from tuner.lineage import plot_lineage

            return plot_lineage(self, folder)
        from tuner.plots import plot_all

        return plot_all(self.state, self.space, folder, x=x, y=y)

    @checked(target_error=amount(least=0.0), more=optional(count))
    def explain(self, *, target_error: float = 0.0, more: int | None = None) -> Explanation:
        """What a sweep has learned, in words, numbers and pictures.

        `target_error` is what one could reach (the Bayes error), from which bias is measured; `more` the number of
        further trials to weigh, by default half as many as there were.
        """
        from tuner.explaining import explanation_of

        return explanation_of(self, target_error=target_error, more=more)

    def records(self, *kinds: type[Any]) -> Iterator[Any]:
        """The records themselves, of these types, in the order written."""
        for kind in kinds:
            if not isinstance(kind, type) or kind not in TABLES.values():
                raise SettingsError(
                    f"records are asked for by their class, such as tuner.records.Noted, got {shown(kind)}."
                )
        return self._store.read(*kinds)

    @checked(trial=index)
    def reported(self, trial: int) -> Iterator[Reported]:
        """Everything a trial has reported, in the order recorded, steps given up included."""
        return self._store.reports(trial)

    @checked(trial=index)
    def traceback(self, trial: int) -> str:
        """The traceback of a trial that failed, or nothing."""
        self.trial(trial)
        ends = [each for each in self._store.read(TrialEnded) if each.trial == trial]
        return ends[-1].traceback if ends else ""

    @checked(trial=index)
    def printed(self, trial: int) -> str:
        """What the training function printed, as far as it was kept."""
        self.trial(trial)
        path = self.place.folder / "logs" / f"{trial}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @checked(trial=index)
    def curve(self, trial: int) -> Curve:
        """The head curve of the objective."""
        return self.state.curve(self.trial(trial))

    @checked(now=amount())
    def coordinator(self, now: float) -> tuple[str, int] | None:
        """Host and pid of the coordinator that runs the study now, or None."""
        return self._store.holder(now)

    def forks(self) -> list[Study]:
        """The runs that begin from a checkpoint of this one and lie beside it, opened to read."""
        found = []
        for name in names(self.place.folder.parent):
            place = Place.of(name, self.place.folder.parent, None)
            try:
                store = Store.open(place.existing(), idle="closed")
            except TunerError:
                continue  # being made, or of a newer tuner
            babysat = store.brief()["kind"] == "babysitting"
            parents = [each.parent or "" for each in store.read(TrialCreated)] if babysat else []
            if any(parent.startswith(f"{self.name}/") for parent in parents):
                found.append(Study(place, store))
            else:
                store.close()
        return found

    def refresh(self) -> bool:
        """Takes in what was recorded since; whether there was anything."""
        records, after = self._store.follow(self._after)
        for request in self._store.new_requests():
            if request.request not in self.state.requests:
                self.state.apply(request)
        for record in records:
            self.state.apply(record)
        self._after = after
        return bool(records)

    def advice(self) -> list[Advice]:
        """What the supervisor makes of a babysat run's curves, most urgent first."""
        from tuner.watching import Watch

        return Watch(self.space, head_curves(self._store, self.state)).look(self.state, self.trial(0))

    def close(self) -> None:
        """Lets go of the database."""
        self._store.close()

    @checked(number=index)
    def trial(self, number: int) -> Trial:
        """One trial of the fold, by number."""
        if not 0 <= number < len(self.state.trials):
            began = len(self.state.trials)
            raise TrialNotFound(
                f"{self.name} has no trial {number}: trials are counted from 0, and {began} began so far."
            )
        return self.state.trials[number]

    def _table(self, name: str) -> pd.DataFrame:
        from tuner import tables

        return tables.build(name, self.state, self._store, self.space)


def fold(store: Store, name: str = "") -> tuple[StudyState, int]:
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


def curves_of(store: Store, state: StudyState) -> Callable[[Trial], Curve]:
    """Reads a trial's head curve from the store."""
    known = weakref.ref(state)  # no circle, so that who drops a study closes its files

    def read(trial: Trial) -> Curve:
        study = known()
        return Curve.of(trial, store.reports(trial.trial), "" if study is None else study.objective)

    return read


def head_curves(store: Store, state: StudyState) -> dict[str, Curve]:
    """Every score of a babysat run on its head, by name."""
    if not state.trials:
        return {}
    trial = state.trials[0]
    flushes = list(store.reports(trial.trial))
    names = dict.fromkeys(name for flush in flushes for name in flush.names)
    return {name: Curve.of(trial, flushes, name) for name in names}
