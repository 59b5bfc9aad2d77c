"""The handle that steers a running sweep from any process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner.api.answers import Reply, SweepAnswers
from tuner.api.handles import Handle, merged
from tuner.values.arguments import checked, count, name, optional, patience

if TYPE_CHECKING:
    from tuner.api.external import LeasedTrial, Lender


class SweepHandle(Handle):
    """Steers a running sweep: what trains next, where it searches, how many train at a time, and its end.

    A verb waits for an answer, 15 s at most, and raises `StudyError` where the sweep does not run.

    Args:
        place: Where the study lies.
        store: Its record, which the handle closes.
        by: Who asks, as the record will say; the user's name where it is left out.

    Example:
        >>> with tuner.attach("long") as sweeping:
        ...     print(sweeping.set_parallel(2, why="half of the cores are needed"))
        set_parallel: applied (2 trials train at a time)
    """

    _answering = SweepAnswers

    @checked()
    def pause_trial(
        self, trial: int, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Has one trial stand still between two steps; it keeps its worker, and all others train on.

        Args:
            trial: The trial's number, from 0.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: There is no such trial, no worker trains it, or the sweep does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> training = next(each.trial for each in sweeping.study.state.trials if each.state == "running")
            >>> sweeping.pause_trial(training, why="its data is looked at").state
            'applied'
            >>> sweeping.resume_trial(training).state
            'applied'
        """
        return self._ask("pause_trial", {"trial": trial}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def resume_trial(
        self, trial: int, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Lets a trial that was paused by `pause_trial` train on.

        Args:
            trial: The trial's number, from 0.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: There is no such trial, no worker has it, or the sweep is paused as a whole or does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> training = next(each.trial for each in sweeping.study.state.trials if each.state == "running")
            >>> sweeping.resume_trial(training, why="it trains anyway").state
            'applied'
        """
        return self._ask("resume_trial", {"trial": trial}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def stop_trial(
        self, trial: int, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Ends one trial after its present step; its worker takes the next.

        Args:
            trial: The trial's number, from 0.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: There is no such trial, it is over, or the sweep does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> sweeping.stop_trial(0, why="it learns nothing").state
            'applied'
        """
        return self._ask("stop_trial", {"trial": trial}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def add(self, settings: Mapping[str, Any], why: str = "", *, expect: int | None = None, request: str = "") -> Reply:
        """Trains these settings next.

        Args:
            settings: Every parameter of the space with a value in its range; what is inactive is left out.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.

        Returns:
            What became of it.

        Raises:
            StudyError: The settings do not fit the space, or the sweep does not run.
            SettingsError: An argument of another name, or one that cannot be recorded.

        Example:
            >>> sweeping.add({"learning_rate": 0.05, "beta": 0.95}, why="worked last time").state
            'applied'
        """
        return self._ask("add", {"settings": settings}, why, expect=expect, request=request)

    @checked()
    def set_box(
        self,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        /,
        *,
        why: str = "",
        expect: int | None = None,
        request: str = "",
        **ranges: tuple[float, float],
    ) -> Reply:
        """Searches between these bounds from the next trial on, for one round.

        A few draws still come from the whole space, so that no box is final.

        Args:
            bounds: (low, high) by parameter, both in its own units and within its range; for a parameter called as one
                of these words. None: as named.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            **ranges: The same by name. Parameters that are left out keep the bounds of the present round.

        Returns:
            What became of it.

        Raises:
            StudyError: The bounds do not fit the space, or the sweep does not run.
            SettingsError: Not two bounds, or no mapping.

        Example:
            >>> sweeping.set_box(learning_rate=(0.01, 0.1), why="the best five lie there").state
            'applied'
        """
        return self._ask("set_box", {"ranges": merged(bounds, ranges)}, why, expect=expect, request=request)

    @checked()
    def set_parallel(self, parallel: int, why: str = "", *, expect: int | None = None, request: str = "") -> Reply:
        """Changes how many trials train at a time; workers beyond it finish their trials first.

        Args:
            parallel: How many, 1 to 10,000. To stop for a while, `pause`.
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.

        Returns:
            What became of it.

        Raises:
            StudyError: The sweep does not run.
            SettingsError: An argument of another name, or no such number.

        Example:
            >>> sweeping.set_parallel(1).state
            'applied'
        """
        return self._ask("set_parallel", {"parallel": parallel}, why, expect=expect, request=request)

    @checked(worker=optional(name), request=optional(name), wait_s=patience, steps=optional(count))
    def ask(
        self,
        worker: str | None = None,
        *,
        request: str | None = None,
        wait_s: float | None = None,
        steps: int | None = None,
    ) -> LeasedTrial | None:
        """A trial for this program to train, of a sweep with `executor="external"`.

        A worker that asks again before it has told the end of its trial is given the same trial.

        Args:
            worker: Who asks: one trial at a time is lent to each. None: this process, by its host and number.
            request: A name of this call, under which it may be made again after a lost answer. None: a new one.
            wait_s: Seconds to wait for a trial, at least 0; then an error. None: as long as it takes.
            steps: How many steps the program means to train, from 1 up: budgets and stopping rules go by it. None: it
                does not say.

        Returns:
            The trial; None once the study is over.

        Raises:
            StudyError: None came within `wait_s`, or the sweep trains a function of its own.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> trial = lending.ask("worker-1")
            >>> sorted(trial.params), trial.report(score=0.5), trial.tell()
            (['beta', 'learning_rate'], True, 'completed')
        """
        from tuner.api.external import ask

        return ask(self._lender(), self.name, worker, request=request, wait_s=wait_s, steps=steps)

    def _lender(self) -> Lender:
        """Who lends its trials; refused where none are lent."""
        from tuner.api.external import RecordLender, check_lends

        check_lends(self._store, self.name)
        return RecordLender(self._store)
