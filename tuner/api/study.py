"""A study as a person holds it: its best, its tables, exports, pictures, and what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner import arguments
from tuner.arguments import amount, checked, count, optional, path
from tuner.errors import StudyError
from tuner.record.reader import StudyReader

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.explanation import Explanation
    from tuner.panda.supervisor import Advice


class Study(StudyReader):
    """A study, read only. `refresh` takes in what has been written since."""

    def _repr_html_(self) -> str:
        """As a notebook shows it: a table and a picture."""
        from tuner.views.notebook import study_html

        return study_html(self)

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
            from tuner.views.logbook import write_logbook

            return [write_logbook(self, Path(to) if to is not None else self.place.folder)]
        from tuner.tables import frames as tables
        from tuner.tables.files import export

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
            from tuner.views.plots.lineage import plot_lineage

            return plot_lineage(self, folder)
        from tuner.views.plots.sweep import plot_all

        return plot_all(self.state, self.space, folder, x=x, y=y)

    @checked(target_error=amount(least=0.0), more=optional(count))
    def explain(self, *, target_error: float = 0.0, more: int | None = None) -> Explanation:
        """What a sweep has learned, in words, numbers and pictures.

        `target_error` is what one could reach (the Bayes error), from which bias is measured; `more` the number of
        further trials to weigh, by default half as many as there were.
        """
        from tuner.api.explanation import Explanation

        return Explanation.of(self, target_error=target_error, more=more)

    def advice(self) -> list[Advice]:
        """What the supervisor makes of a babysat run's curves, most urgent first."""
        from tuner.panda.advisor import Watch

        return Watch(self.space, self.curves(0)).look(self.state, self.trial(0))

    def _table(self, name: str) -> pd.DataFrame:
        from tuner.tables import frames as tables

        return tables.build(name, self.state, self._store, self.space)
