"""A study as a person holds it: its best, its tables, exports, pictures, and what it has learned."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import DatabaseAway, SettingsError, StudyError, did_you_mean, quoted
from tuner.record.reader import StudyReader
from tuner.values import arguments
from tuner.values.arguments import amount, checked, count, index, optional, path, patience

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.explanation import Explanation
    from tuner.api.waiting import Event, Waited
    from tuner.insight.confirmation import Confirmation
    from tuner.insight.recommendation import Recommended
    from tuner.panda.supervisor import Advice
    from tuner.views.digest import Digest
    from tuner.views.optuna import OptunaStudy


def _destination(word: str, given: Any) -> str | Path:
    """A folder, or the URL of a database, as it is written."""
    return given if isinstance(given, str) and "://" in given else path(word, given)


class Study(StudyReader):
    """A study, read only: `tuner.open` and `tuner.sweep` return it. `refresh` takes in what has been written since.

    Args:
        place: Where it lies.
        store: Its record, which the study closes.
        folded: What is true so far and how far that goes, where it is known already. None: it is read.

    Raises:
        StudyNotBegun: Its coordinator has yet to write its first record.

    Example:
        >>> with tuner.open("night") as study:
        ...     print(study.best_params == study.best.params, len(study.trials), list(study.adjustments))
        True 12 [...]
    """

    _recommended: tuple[int, Recommended | None] | None = None  # with the place in the record that it was made at

    def _repr_html_(self) -> str:
        """As a notebook shows it: a table and a picture."""
        from tuner.views.notebook import study_html

        return study_html(self)

    @property
    def recommended(self) -> Recommended | None:
        """The settings expected to score best when trained once more, or None where nothing is scored or searched.

        `best` is the highest score seen, and of many noisy runs that is a lucky one.
        """
        if self.space is None or self.state.kind != "sweep":
            return None
        if self._recommended is None or self._recommended[0] != self._after:
            from tuner.insight.recommendation import recommended_of

            self._recommended = self._after, recommended_of(self.state, self.space)
        return self._recommended[1]

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

    @property
    def winners(self) -> pd.DataFrame:
        """The settings with the best score seen, and those recommended; a row each."""
        from tuner.tables import frames as tables

        rows: list[dict[str, Any]] = []
        if (best := self.best) is not None:
            tried = sum(each.params == best.params and each.best_score is not None for each in self.state.trials)
            known = {"trial": best.trial, "params": best.params, "score": best.score, "doubt": None, "tried": tried}
            rows.append({"which": "best", **known})
        if self.recommended is not None:
            rows.append({"which": "recommended", **vars(self.recommended)})
        return tables.winners(rows, self.state, self.space)

    @property
    def optuna(self) -> OptunaStudy:
        """A live `optuna.Study` of it, for Optuna's plots, importances and dashboard: each look reads the record anew.

        Trials have the same numbers there, a `log_one_minus` setting is `one_minus.beta` on a log scale, and why a
        trial ended is an attribute of it. It is read only: `ask` and `tell` say what to do instead.
        """
        from tuner.views.optuna import live

        return live(self)

    @checked(format=arguments.name, to=optional(_destination))
    def export(self, format: str = "csv", to: str | Path | None = None) -> list[Path]:  # noqa: A002 - the shell's word
        """Writes every table, or the logbook of a babysat run; a file that was there is replaced whole or not at all.

        Args:
            format: "csv", "parquet", "jsonl", "markdown" for the logbook, or "optuna" for a storage of Optuna's, which
                a later export brings up to date; by default csv.
            to: The folder, made where it is not there; for Optuna a database by its URL, such as sqlite:///x.db. None:
                `tables` in the study's folder, for a logbook that itself, for Optuna `optuna.db` in it; where an object
                store has the checkpoints, tables and logbook are sent there too.

        Returns:
            The files, one a table in the order of the tables; or `logbook.md`; or the storage, where it is a file.

        Raises:
            SettingsError: No such format, no folder, or no URL of a database.
            StudyError: The folder or storage cannot be written, it holds another study of this name, there is no
                logbook of a sweep, or the object store does not take the files, which lie in the folder all the same.
            MissingExtra: Parquet without pyarrow.

        Example:
            >>> [each.name for each in study.export("csv", "out")][:3]
            ['trials.csv', 'reports.csv', 'segments.csv']
        """
        if format == "optuna":
            from tuner.views.optuna import copy

            file = copy(self, to).file
            return [] if file is None else [file]
        if isinstance(to, str) and "://" in to:
            raise SettingsError(
                f'to={quoted(to)} is a database, and {format} goes into a folder. Write format="optuna".'
            )
        if format == "markdown":
            from tuner.views.logbook import write_logbook

            return self._sent([write_logbook(self, Path(to) if to is not None else self.place.folder)], to)
        from tuner.tables import frames as tables
        from tuner.tables.files import export

        folder = Path(to) if to is not None else self.place.folder / "tables"
        found = tables.all_in_chunks(self.state, self._store, self.space)
        return self._sent(export({**found, "winners": (self.winners,)}, folder, format), to)

    @checked(to=optional(path), x=optional(arguments.name), y=optional(arguments.name))
    def plot(self, to: str | Path | None = None, *, x: str | None = None, y: str | None = None) -> list[Path]:
        """Draws curves, scatter and progress as PNG; of a babysat run its lineage.

        Args:
            to: The folder, made where it is not there. None: `plots` in the study's folder, and in the object store
                where one has the checkpoints.
            x: The setting along the scatter plot. None: the one that matters most.
            y: The setting, or the objective, up the scatter plot. None: the one that matters next.

        Returns:
            The files drawn; a picture of which there is nothing to show is left out.

        Raises:
            SettingsError: No such setting, or no folder.
            StudyError: The folder cannot be written, x and y are given for a babysat run, or the object store does not
                take the files, which lie in the folder all the same.
            MissingExtra: matplotlib is not installed.

        Example:
            >>> [each.name for each in study.plot("out", y="loss")]
            ['curves.png', 'scatter.png', 'progress.png']
        """
        folder = Path(to) if to is not None else self.place.folder / "plots"
        if self.state.kind == "babysitting":
            if x is not None or y is not None:
                raise StudyError(f"{self.name} is a babysat run: its picture is its lineage, without x= and y=.")
            from tuner.views.plots.lineage import plot_lineage

            return self._sent(plot_lineage(self, folder), to)
        from tuner.views.plots.sweep import plot_all

        return self._sent(plot_all(self.state, self.space, folder, x=x, y=y), to)

    @checked(target_error=amount(least=0.0), more=optional(count))
    def explain(self, *, target_error: float = 0.0, more: int | None = None) -> Explanation:
        """What a sweep has learned, in words, numbers and pictures.

        Args:
            target_error: What one could reach (the Bayes error), from which bias is measured; at least 0; by default
                0.0.
            more: Further trials to weigh, from 1 up. None: half as many as there were.

        Returns:
            The findings; `print` tells them, `save` writes them.

        Raises:
            StudyError: It is a babysat run, whose logbook tells.
            SettingsError: An argument that makes no sense.

        Example:
            >>> study.explain().winner.trial == study.best.trial
            True
        """
        from tuner.api.explanation import Explanation

        return Explanation.of(self, target_error=target_error, more=more)

    @checked(one=index, other=index)
    def compare(self, one: int, other: int) -> Confirmation:
        """Two trials of a sweep, by the repeats with new seeds that are on record: can they be told apart?

        Args:
            one: The number of a trial, from 0.
            other: That of the other.

        Returns:
            The two as candidates; `answer` says it in one value. Without repeats it says how to come by some.

        Raises:
            TrialNotFound: The study has no trial of that number.
            StudyError: It is a babysat run, or one trial twice.
            SettingsError: No number of a trial.

        Example:
            >>> study.compare(0, 1).answer.startswith("not distinguishable with 1 seed")
            True
        """
        from tuner.insight.confirmation import confirmation_of

        self.trial(one), self.trial(other)
        if self.state.kind != "sweep" or one == other:
            raise StudyError(f"{self.name}: two trials of a sweep are compared, got {one} and {other}.")
        found = confirmation_of(self.state, of=(one, other))
        if found is None:
            raise StudyError(f"{self.name} holds no repeats.")
        return found

    def advice(self) -> list[Advice]:
        """What the supervisor makes of a babysat run's curves, most urgent first.

        Returns:
            Each piece of advice with its symptom, the evidence, and the command that would follow it.

        Raises:
            TrialNotFound: The run has yet to begin.

        Example:
            >>> from contextlib import closing
            >>> with closing(tuner.open("tended")) as tended:
            ...     isinstance(tended.advice(), list)
            True
        """
        from tuner.panda.advisor import Advisor

        return Advisor(self.space, self.curves(0)).look(self.state, self.trial(0))

    @checked(since=optional(index), timeout_s=patience)
    def wait(self, *events: Event, since: int | None = None, timeout_s: float | None = None) -> Waited:
        """Waits, without a look at any log, until something is worth a look.

        Args:
            *events: What to wait for, the first of which ends it: "improved", a better score than all before; "advice"
                of the supervisor on a babysat run; "budget", of trials or steps, spent; "ended". None given: "ended".
            since: The cursor of a digest: what has come since then counts at once. None: from now on.
            timeout_s: Seconds to wait, at least 0. None: as long as it takes.

        Returns:
            What ended the wait, with a digest. It ends, too, where the study is over or nobody coordinates it, since
            nothing would come any more; not where a team's database is away, which is waited for.

        Raises:
            SettingsError: Nothing that can be waited for, or no number.
            KeyboardInterrupt: Ctrl-C; what trains goes on.

        Example:
            >>> study.wait("improved", timeout_s=60).event
            'ended'
        """
        from tuner.api.waiting import EVENTS, wait

        for event in events:
            if event not in EVENTS:
                meant = did_you_mean(str(event), EVENTS)
                raise SettingsError(f"wait: {quoted(event)} never comes. {meant} All: {', '.join(EVENTS)}.")
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._store.lasting(until=until):
            with suppress(DatabaseAway):  # which the wait will tell
                self.refresh()
            after = self._after if since is None else since
            return wait(self, self._store.follow, events or ("ended",), after, timeout_s)

    @checked(since=optional(index))
    def digest(self, since: int | None = None) -> Digest:
        """How it stands and what has happened, in at most 2 KB, for whoever comes back again and again.

        Args:
            since: The cursor of the digest before. None: from the beginning.

        Returns:
            The digest, with the cursor from which the next one goes on.

        Raises:
            SettingsError: No cursor.

        Example:
            >>> first = study.digest()
            >>> first.best["trial"] == study.best.trial, study.digest(since=first.cursor).news
            (True, ())
        """
        from tuner.views.digest import digest

        running = self.coordinator(time.time()) is not None
        records, after = self._store.follow(since or 0)
        self.refresh()
        return digest(self.state, records, cursor=after, running=running)

    def _sent(self, files: list[Path], to: str | Path | None) -> list[Path]:
        """The files; where they lie beside the record, copies of them are where the checkpoints are by now."""
        if to is None and self.place.objects is not None:
            from tuner.worker.object_storage import ObjectStorage

            ObjectStorage(self.place.objects).publish(files, self.place.folder)
        return files

    def _table(self, name: str) -> pd.DataFrame:
        from tuner.tables import frames as tables

        return tables.build(name, self.state, self._store, self.space)
