"""What runs a training function: one order after another, every command taking effect between two steps.

The same desk serves a Ray actor and the in-process executor; they differ in the `Channel` that carries events out and
commands in.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tuner.checkpoints import Snapshot, State, load
from tuner.errors import CheckpointError, TrainingError, TunerError, did_you_mean
from tuner.messages import (
    Command,
    Continue,
    Ended,
    Forget,
    Held,
    Job,
    Order,
    Pause,
    Resume,
    Save,
    Saved,
    Started,
    Stop,
    Waiting,
    Warned,
    WorkerEvent,
)
from tuner.records import Row, TrialState
from tuner.run import Run

TrainingFunction: TypeAlias = Callable[[Run], Any]

# A save may cost training at most a twentieth of its time.
_SAVE_SHARE = 20.0


class Channel(Protocol):
    """Carries a worker's events out and its commands in."""

    background_writes: bool
    """Whether checkpoints are written by another thread while training goes on."""

    def emit(self, event: WorkerEvent) -> None:
        """Sends an event, after all reports added before it."""
        ...

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        """Buffers reports; they leave with the next event or the next flush."""
        ...

    def passed(self, trial: int, step: int) -> None:
        """A step is over."""
        ...

    def receive(self, *, wait: bool) -> Command | None:
        """The next command; with `wait`, blocks until there is one."""
        ...

    def now(self) -> float:
        """Unix seconds by the executor's clock."""
        ...


def resolve(function: str | bytes, search_path: tuple[str, ...] = ()) -> TrainingFunction:
    """The training function behind an import path `package.module:name`, or the bytes of a cloudpickle."""
    for folder in reversed(search_path):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    if isinstance(function, bytes):
        import cloudpickle

        found: TrainingFunction = cloudpickle.loads(function)
        return found
    module_name, colon, name = function.partition(":")
    if not colon or not name:
        raise TrainingError(
            f"{function!r} names no function: write package.module:function, for example my_code:train."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = f"no module named {error.name!r}"
        raise TrainingError(
            f"{function}: {missing} was found from {Path.cwd()}. "
            f"Run tuner where `python -c 'import {module_name}'` works."
        ) from error
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
            raise TrainingError(f"{module_name} has no function {part!r}. {did_you_mean(part, functions)}")
        target = getattr(target, part)
    if not callable(target):
        raise TrainingError(f"{function} is a {type(target).__name__}, not a function of a Run.")
    trained: TrainingFunction = target
    return trained


class TrialDesk:
    """One order being trained: what its `Run` answers to."""

    def __init__(self, order: Order, job: Job, channel: Channel) -> None:
        self._order, self._job, self._channel = order, job, channel
        self._ask_at = order.ask_at
        self._first: dict[str, float] = {}
        self._verdict: tuple[TrialState, str] | None = None
        self._released = False
        self._state: State | None = None
        self._writing: Future[None] | None = None
        self._saved_step = order.from_step
        self._saved_at = channel.now()
        self._write_cost_s = 0.0
        self.done = order.from_step if order.checkpoint is not None else 0

    # ── what a Run asks ─────────────────────────────────────────────────────────────────────────

    def report(self, step: int, scores: dict[str, float]) -> None:
        """Buffers the scores and looks whether they have diverged."""
        at = self._channel.now()
        self._channel.add_report(
            self._order.trial, self._order.segment, [(step, name, value, at) for name, value in scores.items()]
        )
        self.done = max(self.done, step)
        alarm = self._job.alarm
        if alarm is not None and self._verdict is None:
            reason = alarm(self._first, scores)
            if reason is not None:
                self._verdict = ("diverged", f"{reason} at step {step}")
        for name, value in scores.items():
            self._first.setdefault(name, value)

    def register(self, state: State) -> int:
        """Loads the checkpoint the order starts from, if it has one."""
        self._state = state
        if self._order.checkpoint is None:
            return 0
        settings = load(self._order.checkpoint, state)
        self._first = {name: float(value) for name, value in settings.get("first", {}).items()}
        return self._order.from_step

    def between(self, done: int) -> str | None:
        """Takes commands, asks for a verdict where one is due, saves when it is time."""
        self.done = done
        if self._order.checkpoint is not None and self._state is None:
            raise TrainingError(
                f"this trial continues from its checkpoint of step {self._order.from_step}, but the function took a "
                "step before it called run.state(...). Register the state before the first step."
            )
        self._channel.passed(self._order.trial, done)
        if self._verdict is None:
            while (command := self._channel.receive(wait=False)) is not None:
                self._obey(command)
        if self._verdict is None and self._ask_at is not None and done >= self._ask_at:
            self._ask()
        if self._verdict is None and done > self._saved_step and self._save_is_due():
            self.save("interval")
        return None if self._verdict is None else self._verdict[1]

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    def _ask(self) -> None:
        self._ask_at = None
        self._channel.emit(Waiting(trial=self._order.trial, segment=self._order.segment, step=self.done))
        while self._verdict is None and self._ask_at is None:
            command = self._channel.receive(wait=True)
            if isinstance(command, Continue) and command.trial == self._order.trial:
                self._ask_at = command.ask_at
                return
            if command is not None:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        if command.trial != self._order.trial:
            return  # meant for a trial that has ended meanwhile
        match command:
            case Continue():
                self._ask_at = command.ask_at
            case Stop():
                self._verdict = (command.state, command.why)
            case Save():
                self.save(command.kind)
            case Pause(release=True) if self._state is not None and self._order.folder is not None:
                self._verdict, self._released = ("paused", command.why), True
                self.save("pause", wait=True)
            case Pause(release=True):
                pass  # nothing could be taken up again: it trains on
            case Pause():
                self._stand_still(command.why)
            case Resume() | Forget():
                pass

    def _stand_still(self, why: str) -> None:
        trial = self._order.trial
        self._channel.emit(Held(trial=trial, state="paused", step=self.done, why=why, at=self._channel.now()))
        while self._verdict is None:
            command = self._channel.receive(wait=True)
            if isinstance(command, Resume) and command.trial == trial:
                break
            if command is not None and not isinstance(command, Pause):
                self._obey(command)
        self._channel.emit(Held(trial=trial, state="running", step=self.done, why="resumed", at=self._channel.now()))

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────

    def _save_is_due(self) -> bool:
        if self._state is None or self._order.folder is None:
            return False
        waited = self._channel.now() - self._saved_at
        return waited >= max(self._order.checkpoint_every_s, _SAVE_SHARE * self._write_cost_s)

    def save(self, kind: str, *, wait: bool = False) -> None:
        """Fixes the state now and writes it; at most one write is in flight, a due save meanwhile is passed over."""
        if self._state is None or self._order.folder is None:
            return
        if self._writing is not None and not self._writing.done() and not wait:
            return
        self._finish_write()
        folder = self._order.folder / str(self._order.trial) / f"{self._order.segment}-{self.done}"
        settings = {"params": dict(self._order.params), "step": self.done, "first": self._first}
        try:
            snapshot = Snapshot.take(folder, step=self.done, state=self._state, settings=settings)
        except CheckpointError as error:
            self._warn(str(error))
            return
        self._saved_step, self._saved_at = self.done, self._channel.now()
        if self._channel.background_writes and not wait:
            self._writing = _WRITER.submit(self._write, snapshot, kind, self.done)
        else:
            self._write(snapshot, kind, self.done)

    def _write(self, snapshot: Snapshot, kind: str, step: int) -> None:
        try:
            saved = snapshot.write()
        except CheckpointError as error:
            self._warn(str(error))
            return
        self._write_cost_s = saved.seconds
        self._channel.emit(
            Saved(
                trial=self._order.trial, segment=self._order.segment, step=step, kind=kind, bytes=saved.bytes,
                sha256=saved.sha256, path=saved.path, at=self._channel.now(),
            )
        )  # fmt: skip

    def _finish_write(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _warn(self, text: str) -> None:
        self._channel.emit(Warned(trial=self._order.trial, step=self.done, text=text))

    # ── the whole of an order ───────────────────────────────────────────────────────────────────

    def train(self, function: TrainingFunction) -> Ended:
        """Calls the function; whatever it does, an `Ended` comes back."""
        started = self._channel.now()
        self._channel.emit(Started(trial=self._order.trial, segment=self._order.segment, at=started))
        state: TrialState
        error: tuple[str, ...] = ()
        trace = ""
        try:
            run = Run(dict(self._order.params), seed=self._order.seed, desk=self)
            self._take_result(run, function(run))
            state, why = self._verdict or ("completed", f"trained all {self.done} steps")
            if state == "completed" and self.done > self._saved_step:
                self.save("final", wait=True)
        except BaseException as failure:
            state, why = "failed", _first_line(failure)
            error = tuple(kind.__name__ for kind in type(failure).__mro__[:-2]) or (type(failure).__name__,)
            trace = _users_traceback(failure)
        try:
            self._finish_write()
        except TunerError as failure:
            self._warn(str(failure))
        return Ended(
            trial=self._order.trial, segment=self._order.segment, state=state, why=why, step=self.done,
            started=started, at=self._channel.now(), error=error, traceback=trace, released=self._released,
        )  # fmt: skip

    def _take_result(self, run: Run, result: Any) -> None:
        """A function may return its score instead of reporting it."""
        if result is None:
            return
        if isinstance(result, Mapping):
            run.report(**result)
        elif isinstance(result, int | float) or hasattr(result, "__float__"):
            run.report(**{self._job.objective: result})


_WRITER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tuner-checkpoint")


def check_results_are_shared(job: Job) -> None:
    """Reads the small file the coordinator wrote: a results folder that this node does not see is refused."""
    if job.token_file is None:
        return
    try:
        found = job.token_file.read_text()
    except OSError:
        found = ""
    if found != job.token:
        raise TunerError(
            f"the results folder {job.token_file.parent} is not shared with node {os.uname().nodename}: a file "
            "written by the coordinator cannot be read there. Choose a folder that every node mounts (--results DIR)."
        )


def _first_line(failure: BaseException) -> str:
    text = str(failure).strip().splitlines()
    return f"{type(failure).__name__}: {text[0]}" if text else type(failure).__name__


def _users_traceback(failure: BaseException) -> str:
    """The traceback without tuner's own frames at its top."""
    frames = failure.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(failure), failure, frames or failure.__traceback__))
