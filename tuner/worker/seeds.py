"""Several seeds a trial: its function called once for each, side by side, and what they score as one.

Each call has a thread and a `Run` of its own, and only one of them goes on at a time: from step to step in turn, with
the global random generators and the working directory as it left them. So at every step the trial's score is the mean
of scores at this very step, whatever judges, pauses or saves it does so to all of them at once, and what it comes to
follows from its seed.
"""

from __future__ import annotations

import contextvars
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tuner.errors import CheckpointError, TrainingError
from tuner.record.score_names import spread_of
from tuner.worker import contents
from tuner.worker.control import TrialControl
from tuner.worker.generators import capture_generators, restore_generators
from tuner.worker.run import Run
from tuner.worker.state import State

SEEDS = "seeds"
_UNWOUND_S = 10.0  # for what a call does on its way out; its thread is left behind then


def seed_of(seed: int, number: int) -> int:
    """The seed of one of a trial's calls: the first has the trial's own, so that more seeds only add to it."""
    import numpy as np  # a tenth of a second that `tuner ls` need not wait for

    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the sample standard deviation of two values or more; of equal ones exactly themselves and 0."""
    first = values[0]
    mean = first + sum(value - first for value in values) / len(values)
    return mean, math.sqrt(sum((value - mean) * (value - mean) for value in values) / (len(values) - 1))


class SeedRuns:
    """The calls of one trial, one a seed: to who controls the trial they are one run."""

    def __init__(self, train: Callable[[Run], None], control: TrialControl, seeds: int) -> None:
        self._run, self._control = control.run, control
        self._calls = [_Call(number, train, control) for number in range(seeds)]
        self._warned = False

    def train(self) -> None:
        """Trains all of them to their end; what one raises ends the others."""
        try:
            self._let_go(self._calls)
            while standing := [each for each in self._calls if not each.over]:
                if waiting := [each for each in standing if each.asks == "turn"]:
                    self._run.goes_on()
                    self._let_go(waiting)
                elif any(each.asks == "state" for each in standing):
                    self._register()
                else:
                    self._between(standing)
            self._report(None)
        finally:
            for each in self._calls:
                each.abandon()

    def _let_go(self, calls: Sequence[_Call]) -> None:
        for each in calls:
            each.go_on(self._run.ended)
            if each.failure is not None:
                each.failure.add_note(
                    f"Seed {each.number + 1} of {len(self._calls)} raised it: run.seed = {each.run.seed}"
                )
                raise each.failure

    def _register(self) -> None:
        if any(each.asks != "state" for each in self._calls):
            raise TrainingError(
                "run.state(...) was called with one seed and not with another, so the trial cannot be saved as one. "
                "Call it with every seed, before the first step."
            )
        self._control.register(_States(self._calls))
        for each in self._calls:
            if each.over:  # before the checkpoint that it begins from, which has its state
                each.abandon()
        self._let_go([each for each in self._calls if not each.over])

    def _between(self, standing: Sequence[_Call]) -> None:
        """Those that are furthest behind have come between two steps, and nobody else is in the midst of one."""
        done = min(each.done for each in standing)
        planned = [each.run.planned for each in standing]
        self._run.planned = None if None in planned else max(each for each in planned if each is not None)
        self._report(done)
        self._run.ended = self._control.between(done)
        self._let_go([each for each in standing if each.done == done or self._run.ended is not None])

    def _report(self, up_to: int | None) -> None:
        """Hands on what every seed has scored, step by step; None: all that is left."""
        for step in sorted({step for each in self._calls for step in each.scores if up_to is None or step <= up_to}):
            names = dict.fromkeys(name for each in self._calls for name in each.scores.get(step, ()))
            found = [each.at(step) for each in self._calls]
            scores: dict[str, float] = {}
            for name in names:
                values = [each[name] for each in found if name in each]
                if len(values) == len(found):  # of fewer it would be another mean
                    self._add(name, values, scores)
            if scores:
                self._control.report(step, scores)

    def _add(self, name: str, values: Sequence[float], scores: dict[str, float]) -> None:
        scores[name], spread = mean_and_spread(values)
        if name != self._control.objective or self._run.ended is not None:
            return
        if math.isfinite(scores[name]):
            scores[spread_of(name)] = spread
        elif not self._warned:
            self._warned = True
            odd = [each.run.seed for each, value in zip(self._calls, values, strict=True) if not math.isfinite(value)]
            with_seeds = f"with {len(odd)} of {len(values)} seeds"
            self._control.position.warn(
                f"{name} is no finite number {with_seeds}: run.seed = {', '.join(map(str, odd))}"
            )


class _Unwound(BaseException):
    """Unwinds a call whose trial is over without it."""


class _Call:
    """One call, on a thread that goes on while all others stand; who answers to its run."""

    def __init__(self, number: int, train: Callable[[Run], None], control: TrialControl) -> None:
        self.number, self.objective = number, control.objective
        self.folder = None if control.folder is None else control.folder / f"seed-{number}"
        self.run = Run(dict(control.run.params), seed=seed_of(control.run.seed, number), control=self)
        self.scores: dict[int, dict[str, float]] = {}
        """What it has scored and nobody has taken in yet, by step."""
        self.asks: Literal["state", "step", "turn"] | None = None
        """What it stands for."""
        self.state: State | None = None
        self.done, self.over = 0, False
        self.failure: BaseException | None = None
        self._last: dict[str, float] = {}
        self._generators: Mapping[str, Any] | None = None  # None: it has not begun, and takes them as they are
        self._place = Path.cwd()
        self._train = train
        self._abandoned = False
        self._ended: str | None = None
        self._may_go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        work = contextvars.copy_context().run
        self._thread = threading.Thread(target=work, args=(self._work,), name=f"tuner-seed-{number}", daemon=True)

    # ── what is asked of it while it stands ─────────────────────────────────────────────────────

    def go_on(self, ended: str | None) -> None:
        """Lets it train until it stands again or is over."""
        self._ended, self.asks = ended, None
        if self._generators is not None:
            restore_generators(self._generators)
        with suppress(OSError):  # the place may be gone
            os.chdir(self._place)
        if self._thread.ident is None:
            self._thread.start()
        self._may_go.release()
        self._stands.acquire()
        self._generators = capture_generators()
        with suppress(OSError):
            self._place = Path.cwd()

    def at(self, step: int) -> Mapping[str, float]:
        """What it scored at a step, which is taken; of a call that is over and says no more, what it scored last."""
        own = self.scores.pop(step, {})
        self._last |= own
        return self._last if self.over and not self.scores else own

    def abandon(self) -> None:
        """Ends it where it stands, if it has not come to its end."""
        if self._thread.is_alive():
            self._abandoned = True
            self._may_go.release()
            self._thread.join(_UNWOUND_S)

    def kept(self) -> dict[str, Any]:
        """What goes into a checkpoint beside its state."""
        return {"done": self.done, "over": self.over, "last": self._last, "generators": self._generators}

    def put_back(self, kept: Mapping[str, Any]) -> None:
        """It is where it was when a checkpoint was saved."""
        self.done, self.over, self._last = kept["done"], kept["over"], dict(kept["last"])
        self._generators = kept["generators"]

    # ── on its own thread ───────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        self._may_go.acquire()
        try:
            self._train(self.run)
        except _Unwound:
            pass
        except BaseException as raised:  # it is raised where the trial is trained
            self.failure = raised
        self.over = True
        self._stands.release()

    def _stand(self, asks: Literal["state", "step", "turn"]) -> None:
        if not self._abandoned:
            self.asks = asks
            self._stands.release()
            self._may_go.acquire()
        if self._abandoned:
            raise _Unwound

    # ── what its run asks ───────────────────────────────────────────────────────────────────────

    def report(self, step: int, scores: dict[str, float]) -> None:
        self.scores.setdefault(step, {}).update(scores)

    def register(self, state: State) -> int:
        self.state = state
        self._stand("state")
        return self.done

    def between(self, done: int) -> str | None:
        self.done = done
        self._stand("step")
        return self._ended

    def amid(self) -> str | None:
        self._stand("turn")
        return self._ended


class _States:
    """The states of all calls as one: a folder for each, and how far each of them was."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self._calls = calls
        self.pickled: str | None = None

    def capture(self, folder: Path) -> Mapping[str, bytes]:
        files, self.pickled = contents.kept(SEEDS, [each.kept() for each in self._calls])
        for each in self._calls:
            own = _folder_of(each, folder)
            own.mkdir(mode=0o700)
            if each.state is not None:
                files |= {f"{own.name}/{name}": content for name, content in each.state.capture(own).items()}
                self.pickled = self.pickled or each.state.pickled
        return files

    def read(self, folder: Path) -> None:
        path = contents.file_of(folder, SEEDS)
        if path is None:
            raise CheckpointError(
                f"checkpoint {folder.parent} holds one training, and this trial is {len(self._calls)}, one a seed."
            )
        for each, kept in zip(self._calls, contents.read(path), strict=True):
            if each.state is not None:
                each.state.read(_folder_of(each, folder))
            each.put_back(kept)


def _folder_of(call: _Call, folder: Path) -> Path:
    return folder / f"seed-{call.number}"
