"""The run that a user's training function holds: settings to read, a state to save, steps to take, scores to report.

A bare `Run(params)` works in a notebook or a unit test: it takes every step, keeps what is reported in
`run.reports`, and nothing else happens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Never, Protocol, runtime_checkable

from tuner.errors import TrainingError, kind_of, quoted
from tuner.values.arguments import checked
from tuner.values.plain import COUNTABLE, clean, number, whole
from tuner.worker.state import FolderState, ObjectState, State

_LONGEST_NAME, _MOST_NAMES = 200, 10_000


class Report(NamedTuple):
    """Scores as reported after a step."""

    step: int
    scores: dict[str, float]


class Control(Protocol):
    """Who a `Run` answers to: a worker, or nobody in a notebook."""

    def report(self, step: int, scores: dict[str, float]) -> None:
        """Takes scores; never waits."""
        ...

    def register(self, state: State) -> int:
        """Takes the way to save and load; returns the steps already done in the state that was just loaded."""
        ...

    def between(self, done: int) -> str | None:
        """Between two steps: whatever may pause, adjust, save or stop. A reason ends the loop."""
        ...


@runtime_checkable
class InterruptibleControl(Protocol):
    """A control that hears in the midst of a step too, and knows what the trial may call its own."""

    objective: str
    """The score that counts."""
    folder: Path | None
    """Where the trial may leave files of its own."""

    def amid(self) -> str | None:
        """In the midst of a step: lets others have their turn. A reason ends the loop."""
        ...


class _Notebook:
    """Keeps reports in a list; nothing ever stops."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def report(self, step: int, scores: dict[str, float]) -> None:
        self.reports.append(Report(step, scores))

    def register(self, state: State) -> int:  # noqa: ARG002 - nothing is saved in a notebook
        return 0

    def between(self, done: int) -> str | None:  # noqa: ARG002 - and nothing interferes
        return None


class Run:
    """One trial, as its training function sees it; a bare one takes every step, keeps all reports and saves nothing.

    Args:
        params: The settings by name.
        seed: For everything random in the trial; by default 0. The same in every retry.
        control: Who answers to the run: a worker. None: nobody.
        desk: The earlier name of `control`, with a `DeprecationWarning`; None: it is not used.

    Raises:
        TrainingError: Settings that are no mapping, an argument of another name, or both `control` and `desk`.

    Example:
        >>> run = Run({"learning_rate": 0.1})
        >>> for epoch in run.steps(2):
        ...     run.report(loss=1.0 / (epoch + 1))
        >>> run.reports
        [Report(step=1, scores={'loss': 1.0}), Report(step=2, scores={'loss': 0.5})]
    """

    @checked(TrainingError)
    def __init__(
        self, params: Mapping[str, Any], *, seed: int = 0, control: Control | None = None, desk: Control | None = None
    ) -> None:
        if not isinstance(params, Mapping):
            raise TrainingError(f'Run takes settings by name, as in Run({{"rate": 0.1}}), got {quoted(params)}.')
        if desk is not None and control is not None:
            raise TrainingError(
                "Run was given control= and desk=, its earlier name: both say who answers to it. Leave desk out."
            )
        if desk is not None:
            warnings.warn("the argument desk of Run is now called control", DeprecationWarning, stacklevel=3)
            control = desk
        self.params: Mapping[str, Any] = params
        """The settings in force now; read them at every step, since a person may change them."""
        self.seed = seed
        """A seed for everything random in this trial; the same in every retry of it."""
        self.ended: str | None = None
        """Why the loop ended early, or None. An objective reported after that is kept, but it never counts."""
        self._control: Control = control if control is not None else _Notebook()
        self._done = 0
        self._reported = 0
        self._in_step = False
        self._loops = False
        self._extra = 0
        self._names: set[str] = set()
        self.planned: int | None = None
        """How many steps the loop is to take, once it has begun; None where a framework owns it, or no end is meant."""

    @property
    def done(self) -> int:
        """Steps completed, those before a resume included."""
        return self._done if self._loops else self._done + self._reported

    @property
    def reports(self) -> list[Report]:
        """What a bare run has reported; a run that belongs to a study keeps its reports in the study's tables."""
        return self._control.reports if isinstance(self._control, _Notebook) else []

    @property
    def objective(self) -> str:
        """The score that counts in this run's study, by its name; `score` where it belongs to none."""
        return self._control.objective if isinstance(self._control, InterruptibleControl) else "score"

    @property
    def folder(self) -> Path | None:
        """Where this trial may leave files of its own, to be made by whoever does; None without a study on disk."""
        return self._control.folder if isinstance(self._control, InterruptibleControl) else None

    @checked(TrainingError)
    def state(
        self, *objects: Any, save: Callable[[Path], object] | None = None, load: Callable[[Path], object] | None = None
    ) -> None:
        """Says how to save and load the training; tuner decides when.

        When the trial continues from a checkpoint the state is loaded here, so call it once everything is built and
        before the first step.

        Args:
            *objects: What is trained, each with `state_dict` and `load_state_dict`.
            save: Writes the state into a folder, which is there; it must write something. None: the objects are saved.
            load: Reads it from such a folder; given where `save` is. None: the objects are loaded.

        Raises:
            TrainingError: After the first step; neither objects nor both functions; an object without these methods.

        Example:
            >>> from tuner.workloads.bowl import Ball
            >>> run = Run({})
            >>> run.state(Ball())
        """
        if self._loops:
            raise TrainingError("call run.state before the first step, so that a resumed trial starts from it.")
        if (save is None) != (load is None) or (objects and save is not None):
            raise TrainingError(
                "run.state takes objects with state_dict()/load_state_dict(), or both save= and load=, got "
                f"{len(objects)} objects, save={save!r}, load={load!r}."
            )
        state = FolderState(save, load) if save is not None and load is not None else ObjectState(*objects)
        self._done = self._control.register(state)

    @checked(TrainingError)
    def steps(self, count: int) -> Iterator[int]:
        """The training loop: between two of its steps whatever waits takes effect.

        What is reported inside the step that begins at k counts for step k+1, the steps then done, so that a report and
        the checkpoint of the same moment carry the same number.

        Args:
            count: How many steps in all, from 0 up, those before a resume included. A person may extend it.

        Returns:
            An iterator over how many steps are done: 0 … count − 1, like `range`, later ones only after a resume,
            earlier ones again after a revert. It ends early where the trial is stopped.

        Raises:
            TrainingError: No whole number, or one below 0.

        Example:
            >>> list(Run({}).steps(3))
            [0, 1, 2]
        """
        if type(count) is not int or count < 0:
            count = _steps(count)
        return self._steps(count)

    def _steps(self, count: int) -> Iterator[int]:
        planned = count + self._extra
        self.planned = planned if planned <= COUNTABLE else None
        while self._done + self._in_step < count + self._extra and self.step():
            yield self._done
            if self._in_step and self._done + 1 >= count + self._extra:
                self._close_step()  # a person may still set the run back, or extend it

    def step(self, /, *misplaced: Never, **unknown: Never) -> bool:
        """Ends the step before, lets whatever waits take effect, and says whether to take another.

        For loops that a framework owns, or that have no end; `steps` is the loop around it.

        Returns:
            Whether to go on; `ended` says why not.

        Raises:
            TrainingError: It takes no argument.

        Example:
            >>> run = Run({})
            >>> while run.step() and run.done < 3:
            ...     run.report(loss=0.5)
            >>> [report.step for report in run.reports]
            [1, 2, 3]
        """
        if misplaced or unknown:
            raise TrainingError(
                "run.step takes no arguments: it takes one step. For a loop of many, write run.steps(50)."
            )
        if self.ended is not None:
            return False
        if not self._loops:
            self._loops = True
            self.ended = self._control.between(self._done)
        elif self._in_step:
            self._close_step()
        self._in_step = self.ended is None
        return self._in_step

    def goes_on(self) -> bool:
        """Whether to go on, asked in the midst of a step by a function that waits there for something else.

        Ask it every few hundredths of a second: a trial that is to stop then does so before the step is over, and
        others that train in this process have their turn. Nothing else takes effect before the step ends.

        Returns:
            Whether to go on; `ended` says why not.

        Example:
            >>> Run({}).goes_on()
            True
        """
        if self.ended is None and isinstance(self._control, InterruptibleControl):
            self.ended = self._control.amid()
        return self.ended is None

    @checked(TrainingError)
    def extend(self, steps: int) -> None:
        """Lets `steps` go on for longer than the function asks; for who controls the run, not for the function.

        Args:
            steps: How many steps more.

        Raises:
            TrainingError: An argument of another name.

        Example:
            >>> run = Run({})
            >>> run.extend(2)
            >>> list(run.steps(1))
            [0, 1, 2]
        """
        self._extra += steps
        if self.planned is not None:
            self.planned += steps

    @checked(TrainingError)
    def rewind(self, done: int) -> None:
        """Says that the registered state was set back; for who controls the run, not for the function.

        Args:
            done: The steps done in the state as it is now.

        Raises:
            TrainingError: An argument of another name.

        Example:
            >>> run = Run({})
            >>> run.rewind(1)
            >>> list(run.steps(3))
            [1, 2]
        """
        self._done = done

    def report(self, /, *misplaced: Never, **scores: Any) -> None:
        """Records scores of the present step; it never waits.

        Without a loop every report is a step. One before the first step takes none away: what the step itself reports
        replaces it. Of two reports of one step the last counts.

        Args:
            **scores: Numbers, NumPy or torch scalars by name, a name of 1 to 200 characters and not "step", 10,000
                names at most in a trial. One that is not finite is kept, and may tell that the trial diverges.

        Raises:
            TrainingError: A score without a name, one that is no single number, or a name that cannot be recorded.

        Example:
            >>> run = Run({})
            >>> run.report(dev_accuracy=0.9)
            >>> run.report(0.9)
            Traceback (most recent call last):
            tuner.errors.TrainingError: run.report needs scores by name: ...
        """
        if misplaced or not scores:
            raise TrainingError(_UNNAMED if not misplaced else f"{_UNNAMED} Got {quoted(misplaced[0])} without a name.")
        if not self._names.issuperset(scores):
            scores = self._named(scores)
        for name, value in scores.items():
            if type(value) is not float:
                scores[name] = _score(name, value)
        if self._loops:
            step = self._done + self._in_step
        else:
            self._reported += 1  # an objective without steps: every report is one
            step = self.done
        self._control.report(step, scores)

    def _named(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """The scores under names that can be written down; those that are so already are remembered."""
        named: dict[str, Any] = {}
        for name, value in scores.items():
            if name == "step":
                raise TrainingError(
                    "run.report counts the steps itself: leave step= out. What is reported between two steps of "
                    "run.steps(…) belongs to the one that is being trained."
                )
            if not 0 < len(name) <= _LONGEST_NAME:
                raise TrainingError(
                    f"the name of a score has 1 to {_LONGEST_NAME} characters, got {len(name):,}: {quoted(name)}."
                )
            named[clean(name)] = value
        self._names.update(named)
        if len(self._names) > _MOST_NAMES:
            raise TrainingError(
                f"this trial has reported scores under more than {_MOST_NAMES:,} names, the last {quoted(name)}. A "
                "name says what is measured; when, is the step's to say."
            )
        return named

    def _close_step(self) -> None:
        self._in_step = False
        self._done += 1
        self.ended = self._control.between(self._done)


_UNNAMED = "run.report needs scores by name: run.report(dev_accuracy=0.9), or run.report(**scores)."


def _steps(count: Any) -> int:
    """How many steps were asked for, from anything that is a whole number."""
    steps = whole(count)
    if steps is None or steps < 0:
        raise TrainingError(
            f"run.steps takes a whole number of steps, 0 or more, got {quoted(count)}. For a loop without an end, "
            "write while run.step():"
        )
    return steps


def _score(name: str, value: Any) -> float:
    if isinstance(value, float):  # a NumPy scalar, most of the time
        return float(value)
    score = number(value)
    if score is None:
        raise TrainingError(
            f"run.report: {name} must be one number, got {kind_of(value)} {quoted(value)}. "
            "Report its mean, or one score a name."
        )
    return score
