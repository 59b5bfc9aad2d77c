"""The worker's side of a `Run`: every command takes effect here, between two steps."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal, Protocol

from tuner.errors import CheckpointError, TrainingError, TunerError, did_you_mean
from tuner.record.events import Settings, TrialState
from tuner.record.recipe import Recipe
from tuner.record.reports import Row
from tuner.worker.checkpoints import load, restore, verify
from tuner.worker.heeding import Heed
from tuner.worker.messages import (
    Adjust,
    Advance,
    Changed,
    Command,
    Continue,
    Did,
    Extend,
    Forget,
    Held,
    Job,
    Order,
    Pause,
    Planned,
    RecipeChange,
    Resume,
    Revert,
    Reverted,
    Save,
    Stop,
    Waiting,
    Warned,
    WorkerEvent,
)
from tuner.worker.run import Run
from tuner.worker.saving import Saver
from tuner.worker.state import State

_HEARD_BY = 20  # steps after which an objective that was never reported is asked for


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


class TrialDesk:
    """One trial being trained: what its `Run` answers to.

    `verdict` is how the trial ends once something has decided that it does; `reenter` that the function is to be called
    again from `order`, after a revert that it cannot do in place.
    """

    def __init__(self, order: Order, job: Job, channel: Channel) -> None:
        self.order = order
        self.verdict: tuple[TrialState, str] | None = None
        self.released = False
        self.reenter = False
        self.done = order.from_step if order.checkpoint is not None else 0
        self.segment = order.segment
        self._job, self._channel = job, channel
        self._recipe = order.recipe
        self._changes = deque(order.changes)
        self._later: list[Adjust] = []
        self._seen: set[str] = set()
        self._ask_at, self._rung = order.ask_at, order.rung
        self._scored = -1
        self._asking = self._stopped_at_its_end = False
        self._to_tell = order.ask_at is not None or order.rung is not None or job.asks_length
        self._pause_at: int | None = order.from_step if order.paused else None
        self._pause_request = ""
        self._extra_steps = order.extra_steps
        self._first: dict[str, float] = {}
        self._listens = order.trial == 0  # what holds for the first trial's reports holds for all
        self._heed = Heed(order.trial, self.done) if job.heeds else None
        self._saver = Saver(
            order, emit=channel.emit, warn=self.warn, now=channel.now, in_background=channel.background_writes
        )
        self.run = self._sit_down()

    # ── what a Run asks ─────────────────────────────────────────────────────────────────────────

    def report(self, step: int, scores: dict[str, float]) -> None:
        """Buffers the scores and looks whether they have diverged."""
        if self.reenter:
            return  # what a function says on its way out, when it is to be called again, belongs to no step
        objective = self._job.objective
        if self.run.ended is not None and objective in scores:  # kept, but it never counts
            scores = {f"{name} (after the end)" if name == objective else name: scores[name] for name in scores}
        at = self._channel.now()
        self._channel.add_report(
            self.order.trial, self.segment, [(step, name, value, at) for name, value in scores.items()]
        )
        self.done = max(self.done, step)
        if objective in scores:
            self._scored = step
        alarm = self._job.alarm
        if alarm is not None and self.verdict is None:
            reason = alarm(self._first, scores)
            if reason is not None:
                self.verdict = ("diverged", f"{reason} at step {step}")
        for name, value in scores.items():
            self._first.setdefault(name, value)

    def register(self, state: State) -> int:
        """Loads the checkpoint the order starts from, if it has one."""
        self._saver.state = state
        if self.order.checkpoint is None:
            return 0
        self._load(state)
        return self.order.from_step

    def between(self, done: int) -> str | None:
        """Takes commands, asks for a verdict where one is due, saves when it is time."""
        self.done = done
        if self.order.checkpoint is not None and self._saver.state is None:
            raise TrainingError(
                f"this trial continues from its checkpoint of step {self.order.from_step}, but the function took a "
                "step before it called run.state(...). Register the state before the first step."
            )
        self._tell_plan()
        if self._listens and done >= self.order.from_step + _HEARD_BY:
            self._listens = False
            self._ask_for_the_objective()
        self._channel.passed(self.order.trial, done)
        if self._heed is not None:
            for finding in self._heed.look(done):
                self._channel.emit(finding)
        if self.verdict is None:
            self._change_what_is_due()
            while self.verdict is None and (command := self._channel.receive(wait=False)) is not None:
                self._obey(command)
        if self.verdict is None and self._is_to_ask():
            self._ask()
        if self.verdict is None and self._pause_at is not None and self.done >= self._pause_at:
            self._stand_still("it has come as far as asked", self._pause_request)
        if self.verdict is None and self._saver.due(self.done):
            self.save("interval")
        if self._recipe.schedules:
            self.run.params = self._given()
        return None if self.verdict is None else self.verdict[1]

    # ── what the worker asks ────────────────────────────────────────────────────────────────────

    @property
    def outcome(self) -> tuple[TrialState, str]:
        """How the trial ends; one that may not go on beyond its last step has trained all of them."""
        if self.verdict is None or (self._stopped_at_its_end and self._is_at_its_end):
            return "completed", f"trained all {self.done} steps"
        return self.verdict

    def save(self, kind: str, *, wait: bool = False, must: bool = False, request: str = "") -> bool:
        """Writes a checkpoint of this moment."""
        settings = {"recipe": self._recipe.to_json(), "step": self.done, "first": self._first}
        return self._saver.save(kind, self.segment, self.done, settings, wait=wait, must=must, request=request)

    def finish(self) -> None:
        """Saves the last state of a trial that completed or was stopped, and waits for what is being written."""
        if self.run.planned is not None:
            self._tell_plan()  # a loop that had nothing left to train has never come between two steps
        stopped = self.verdict is not None and self.verdict[0] == "stopped"
        if (self.verdict is None or stopped) and self.done > self._saver.step:
            self.save("final", wait=True)
        self.settle()

    def _tell_plan(self) -> None:
        """Says once how many steps the function asks for, and whether it can be saved."""
        if not self._to_tell:
            return
        self._to_tell = False
        self._channel.emit(
            Planned(
                trial=self.order.trial,
                segment=self.segment,
                steps=self.run.planned,
                resumable=self._saver.possible,
                at=self._channel.now(),
            )
        )

    def settle(self) -> None:
        """Waits for what is being written."""
        self._saver.finish()

    def warn(self, text: str) -> None:
        """Says that something went wrong which does not end the trial."""
        self._channel.emit(Warned(trial=self.order.trial, step=self.done, text=text))

    def start_again(self) -> Run:
        """A fresh `Run` for a function that is called again after a revert."""
        self.reenter, self.verdict = False, None
        self.run = self._sit_down()
        return self.run

    def _sit_down(self) -> Run:
        run = Run(self._given(), seed=self.order.seed, desk=self)
        run.extend(self._extra_steps)
        return run

    def _given(self) -> Settings:
        """The settings in force now, as the function gets them."""
        now = self._recipe.at(self.done)
        return now if self._heed is None else self._heed.hand_out(now)

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    def _is_to_ask(self) -> bool:
        """Whether a verdict is due here. At a rung it is where the objective was just scored, so never in between."""
        if self._ask_at is not None and self.done >= self._ask_at:
            return True
        if self._rung is None or self._scored != self.done or self.done < self._rung:
            return False
        return not self._is_at_its_end

    @property
    def _is_at_its_end(self) -> bool:
        return self.run.planned is not None and self.done >= self.run.planned

    def _ask(self) -> None:
        self._ask_at, self._rung, self._asking = None, None, True
        self._channel.emit(Waiting(trial=self.order.trial, segment=self.segment, step=self.done))
        while self.verdict is None and self._asking:
            command = self._channel.receive(wait=True)
            if command is not None:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        if command.trial != self.order.trial:
            return  # meant for a trial that has ended meanwhile
        request = getattr(command, "request", "")
        if request in self._seen:
            return  # a coordinator that took this worker over asks once more, to be sure
        if request:
            self._seen.add(request)
        match command:
            case Continue():
                self._ask_at, self._rung, self._asking = command.ask_at, command.rung, False
            case Stop():
                self._stopped_at_its_end = self._asking and self._is_at_its_end
                self.verdict = (command.state, command.why)
            case Save():
                self._save_as_asked(command)
            case Adjust(at_step=int(step)) if step > self.done:
                self._later.append(command)
            case Adjust() if self._changes:
                self._later.append(command)  # what a retry has yet to repeat was there before it
            case Adjust():
                self._adjust(command)
            case Revert():
                self._revert(command)
            case Advance():
                self._give_way(command.request)
                self._pause_at, self._pause_request = self.done + command.steps, command.request
            case Extend():
                self._extend(command)
            case Pause(release=True):
                self._release(command)
            case Pause():
                self._stand_still(command.why, command.request)
            case Resume():
                self._did(command.request, "it was training already")
            case Forget():
                pass

    def _extend(self, command: Extend) -> None:
        if self.run.planned is None:
            why = "only a loop over run.steps(...) can be told how long it is, and this one takes its steps one by one"
            self._did(command.request, why, state="rejected")
            return
        self._extra_steps += command.steps
        self.run.extend(command.steps)
        self._to_tell = self._job.asks_length
        self._did(command.request, f"{command.steps} steps longer: to step {self.run.planned}")

    def _stand_still(self, why: str, request: str) -> None:
        self._give_way(request)
        self._held("paused", why)
        self._did(request, "stands still")
        while self.verdict is None and self._pause_at is None:
            command = self._channel.receive(wait=True)
            if isinstance(command, Resume) and command.trial == self.order.trial:
                self._did(command.request, "training goes on")
                break
            if isinstance(command, Pause) and not command.release:
                self._did(command.request, "it stood still already")
            elif command is not None:
                self._obey(command)
        if self.reenter:
            self._pause_at = self.done  # the function that is called again stands still where this one did
        elif self.verdict is None:
            self._held("running", "resumed")

    def _give_way(self, request: str) -> None:
        if self._pause_request != request:
            self._did(self._pause_request, "another request to step or pause came after it", state="superseded")
        self._pause_at, self._pause_request = None, ""

    def _release(self, command: Pause) -> None:
        """Gives the worker back once the state is safe on disk; where it cannot be, a person's request is refused."""
        if not self._saver.possible and not command.must:
            why = "the function never called run.state(...), so it could not be taken up again: it trains on"
            self._did(command.request, why, state="rejected")
        elif not self.save("pause", wait=True) and command.request:
            self._did(command.request, "the disk refused the checkpoint: it trains on", state="rejected")
        else:
            self._give_way(command.request)
            lost = "" if self._saver.possible else "; it begins anew, for the function never called run.state(...)"
            self.verdict, self.released = ("paused", f"{command.why}{lost}"), True
            self._did(command.request, f"step {self.done} is saved, its worker is free")

    def _save_as_asked(self, command: Save) -> None:
        if self._saver.holds(self.segment, self.done):
            self.settle()
        if self._saver.holds(self.segment, self.done):
            self._did(command.request, f"step {self.done} is saved already")
        elif not self._saver.possible:
            why = "the function never called run.state(...), so there is nothing to save"
            self._did(command.request, why, state="rejected")
        else:
            self.save(command.kind, must=True, request=command.request)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def _change_what_is_due(self) -> None:
        while self._changes and self._changes[0].step <= self.done:
            change: RecipeChange = self._changes.popleft()
            self._become(change.recipe, change.request, repeated=True)
        if self._changes:
            return
        for command in [each for each in self._later if (each.at_step or 0) <= self.done]:
            self._later.remove(command)
            self._adjust(command)

    def _adjust(self, command: Adjust) -> None:
        try:
            recipe = command.recipe or self._recipe.set(command.values, self.done)
            for name, schedule in command.schedules.items():
                recipe = recipe.scheduled(name, schedule, self.done)
        except TunerError as error:
            self._did(command.request, str(error), state="rejected")
            return
        self.save("before adjustment", must=True)
        self._become(recipe, command.request, repeated=False)

    def _become(self, recipe: Recipe, request: str, *, repeated: bool) -> None:
        """A new segment under a new recipe begins here; the values are read back from where the function reads them."""
        before, after = self._recipe.at(self.done), recipe.at(self.done)
        old, new = self._recipe.schedules, recipe.schedules
        changed = [name for name in after if before.get(name) != after[name] or old.get(name) != new.get(name)]
        self._recipe = recipe
        self.run.params = self._given()
        self.segment += 1
        self._channel.emit(
            Changed(
                trial=self.order.trial,
                segment=self.segment,
                request=request,
                step=self.done,
                before={name: before.get(name) for name in changed},
                after={name: after[name] for name in changed},
                read_back={name: self.run.params[name] for name in changed},
                recipe=recipe,
                repeated=repeated,
                at=self._channel.now(),
            )
        )
        if self._heed is not None:
            self._heed.changed(request, [] if repeated else changed, self.done)

    def _revert(self, command: Revert) -> None:
        """Sets the state back where it can; otherwise training goes on untouched, and the reason is sent."""
        state = self._saver.state
        if state is None:
            why = "the function never called run.state(...), so there is no state to set back"
            self._did(command.request, why, state="rejected")
            return
        try:
            verify(command.path, sha256=command.sha256)
        except CheckpointError as error:
            self._did(command.request, str(error), state="rejected")
            return
        # on record before the revert is: whoever undoes it at once takes the tail up again where it was given up
        saved = self.save("before revert", wait=True)
        try:
            settings = restore(command.path, state)
        except TunerError as error:
            if not saved or (here := self._saver.newest()) is None:
                raise  # nobody knows what the state is now
            load(here, state)
            self._did(command.request, str(error), state="rejected")
            return
        self.settle()  # what is given up is on record before the way back is: an undo that follows at once finds it
        gone, before = self.done, self._recipe.at(self.done)
        self.done = command.step
        self._first = {name: float(value) for name, value in settings.get("first", {}).items()}
        self._recipe = command.recipe or Recipe.constant(before)
        self._changes.clear()
        self.segment += 1
        self.run.params = self._given()
        if self._heed is not None:
            after = self._recipe.at(self.done)
            self._heed.changed(command.request, [name for name in after if before.get(name) != after[name]], self.done)
        self.run.rewind(self.done)
        self._saver.went_back(self.done)
        self._channel.emit(
            Reverted(
                trial=self.order.trial,
                segment=self.segment,
                request=command.request,
                checkpoint=command.checkpoint,
                from_step=gone,
                step=self.done,
                before=before,
                recipe=self._recipe,
                at=self._channel.now(),
            )
        )
        if self._job.revert == "reenter":
            self.order = replace(self.order, checkpoint=command.path, sha256=command.sha256, from_step=command.step)
            self.reenter = True
            self.verdict = ("running", "called again after a revert")

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _load(self, state: State) -> None:
        if self.order.checkpoint is not None:
            settings = load(self.order.checkpoint, state, sha256=self.order.sha256)
            self._first = {name: float(value) for name, value in settings.get("first", {}).items()}

    def _held(self, state: Literal["paused", "running"], why: str) -> None:
        self._channel.emit(Held(trial=self.order.trial, state=state, step=self.done, why=why, at=self._channel.now()))

    def _did(
        self, request: str, detail: str, *, state: Literal["applied", "rejected", "superseded"] = "applied"
    ) -> None:
        if request:
            self._channel.emit(
                Did(
                    trial=self.order.trial,
                    request=request,
                    step=self.done,
                    state=state,
                    detail=detail,
                    at=self._channel.now(),
                )
            )

    def _ask_for_the_objective(self) -> None:
        if self._first and (objective := self._job.objective) not in self._first:
            self.warn(
                f"no {objective!r} was reported in {_HEARD_BY} steps, and a trial that ends without it has failed; "
                f"reported: {', '.join(self._first)}. {did_you_mean(objective, self._first)}"
            )
