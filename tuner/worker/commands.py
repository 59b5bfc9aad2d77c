"""The commands to a trial: how each takes effect between two steps, and when the trial waits for one."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module

from tuner.errors import CheckpointError, TunerError, first_line
from tuner.record.events import TrialState
from tuner.worker.checkpoints import restore
from tuner.worker.messages import (
    Act,
    Adjust,
    AsAsked,
    Command,
    Continue,
    Forget,
    Pause,
    RecipeChange,
    Resume,
    Revert,
    Save,
    Stop,
    Waiting,
)
from tuner.worker.position import Position


def _found(act: str) -> Act | None:
    """The function that an act names, of tuner alone; None where this version has none of that name."""
    module, _, name = act.partition(":")
    try:
        found: Act | None = getattr(import_module(module), name, None) if module.startswith("tuner.") else None
    except ModuleNotFoundError:
        return None
    return found


class Commands:
    """What one trial has been told, and has yet to do.

    `verdict` is how the trial ends once something has decided that it does; `reenter` that the function is to be called
    again from the order, after a revert that it cannot do in place.
    """

    def __init__(self, position: Position) -> None:
        self.verdict: tuple[TrialState, str] | None = None
        self.released = False
        self.reenter = False
        self._position, self._hasty = position, bool(position.order.haste_s)
        self._changes = deque(position.order.changes)
        self._later: list[Adjust] = []
        self._heard: deque[Command] = deque()
        self._seen: set[str] = set()
        self._ask_at, self._rung = position.order.ask_at, position.order.rung
        self._asking = self._stopped_at_its_end = False
        self._first: tuple[int, float] | None = None  # step and time: what comes before the first belongs to no pace
        self._pause_at: int | None = position.order.from_step if position.order.paused else None
        self._pause_request = ""

    def take_effect(self, scored: int) -> None:
        """Does what is due at this step and what has arrived, and waits where it must.

        `scored` is the step at which the objective was reported last.
        """
        if self._hasty and self._first is None and self._position.done > self._position.order.from_step:
            self._first = self._position.done, self._position.channel.now()
        if self.verdict is None:
            if self._changes or self._later:
                self._change_what_is_due()
            # before any command: what is set back from where it was to stand still must not train up to there again
            if self._pause_at is not None and self._position.done >= self._pause_at:
                self._stand_still("it has come as far as asked", self._pause_request)
            while self.verdict is None and (command := self._next(wait=False)) is not None:
                self._obey(command)
        if self.verdict is None and self._is_to_ask(scored):
            self._ask()

    def hear(self) -> None:
        """In the midst of a step a trial can be stopped; what else has arrived is done when the step is over."""
        while self.verdict is None and (command := self._position.channel.receive(wait=False)) is not None:
            if isinstance(command, Stop):
                self._obey(command)
            else:
                self._heard.append(command)

    @property
    def outcome(self) -> tuple[TrialState, str]:
        """How the trial ends; one that may not go on beyond its last step has trained all of them."""
        if self.verdict is None or (self._stopped_at_its_end and self._position.is_at_its_end):
            return "completed", f"trained all {self._position.done} steps"
        return self.verdict

    # ── one by one ──────────────────────────────────────────────────────────────────────────────

    def _next(self, *, wait: bool) -> Command | None:
        return self._heard.popleft() if self._heard else self._position.channel.receive(wait=wait)

    def _is_to_ask(self, scored: int) -> bool:
        """Whether a verdict is due here. At a rung it is where the objective was just scored, so never in between."""
        if self._ask_at is not None and self._position.done >= self._ask_at:
            return True
        if self._rung is None or scored != self._position.done or self._position.done < self._rung:
            return False
        return not self._position.is_at_its_end and not self._ends_before_an_answer

    @property
    def _ends_before_an_answer(self) -> bool:
        """Whether the rest of the training takes no longer than a verdict would, at the pace of its steps so far."""
        position, left = self._position, self._position.left
        if not self._hasty or self._first is None or left is None or position.can_be_paused:
            return False
        step, at = self._first
        return position.done > step and left * (position.channel.now() - at) < position.order.haste_s * (
            position.done - step
        )

    def _ask(self) -> None:
        self._ask_at, self._rung, self._asking = None, None, True
        self._position.channel.emit(
            Waiting(trial=self._position.order.trial, segment=self._position.segment, step=self._position.done)
        )
        while self.verdict is None and self._asking:
            command = self._next(wait=True)
            if command is not None:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        if command.trial != self._position.order.trial:
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
                self._stopped_at_its_end = self._asking and self._position.is_at_its_end
                self.verdict = (command.state, command.why)
            case Save():
                self._save_as_asked(command)
            case Adjust(at_step=int(step)) if step > self._position.done:
                self._later.append(command)
            case Adjust() if self._changes:
                self._later.append(command)  # what a retry has yet to repeat was there before it
            case Adjust():
                self._adjust(command)
            case Revert():
                self._revert(command)
            case AsAsked():
                self._do_as_asked(command)
            case Pause(release=True):
                self._release(command)
            case Pause():
                self._stand_still(command.why, command.request)
            case Resume():
                self._position.did(command.request, "it was training already")
            case Forget():
                pass

    def _do_as_asked(self, command: AsAsked) -> None:
        """What needs nothing but the trial; whatever an act raises, training goes on."""
        request = command.request
        if command.verb == "step":
            self._give_way(request)
            self._pause_at, self._pause_request = self._position.done + command.arguments["steps"], request
        elif (act := _found(command.act)) is None:
            why = f"its worker knows no {command.verb!r}: it runs another version of tuner. Stop the run and extend it"
            self._position.did(request, why, state="rejected")
        else:
            try:
                self._position.did(request, act(self._position, command.arguments))
            except TunerError as error:
                self._position.did(request, str(error), state="rejected")
            except Exception as error:
                why = f"a bug in tuner, not a mistake of yours: {first_line(error)}"
                self._position.did(request, why, state="rejected")

    def _stand_still(self, why: str, request: str) -> None:
        self._give_way(request)
        self._position.held("paused", why)
        self._position.did(request, "stands still")
        while self.verdict is None and self._pause_at is None:
            command = self._next(wait=True)
            if isinstance(command, Resume) and command.trial == self._position.order.trial:
                self._position.did(command.request, "training goes on")
                break
            if isinstance(command, Pause) and not command.release:
                self._position.did(command.request, "it stood still already")
            elif command is not None:
                self._obey(command)
        if self.reenter:
            self._pause_at = self._position.done  # the function that is called again stands still where this one did
        elif self.verdict is None:
            self._position.held("running", "resumed")

    def _give_way(self, request: str) -> None:
        if self._pause_request != request:
            self._position.did(
                self._pause_request, "another request to step or pause came after it", state="superseded"
            )
        self._pause_at, self._pause_request = None, ""

    def _release(self, command: Pause) -> None:
        """Gives the worker back once the state is safe on disk; where it cannot be, a person's request is refused."""
        if not self._position.saver.possible and not command.must:
            why = "the function never called run.state(...), so it could not be taken up again: it trains on"
            self._position.did(command.request, why, state="rejected")
        elif not self._position.save("pause", wait=True) and command.request:
            self._position.did(command.request, "the disk refused the checkpoint: it trains on", state="rejected")
        else:
            self._give_way(command.request)
            lost = (
                ""
                if self._position.saver.possible
                else "; it begins anew, for the function never called run.state(...)"
            )
            self.verdict, self.released = ("paused", f"{command.why}{lost}"), True
            self._position.did(command.request, f"step {self._position.done} is saved, its worker is free")

    def _save_as_asked(self, command: Save) -> None:
        if self._position.saver.holds(self._position.segment, self._position.done):
            self._position.saver.finish()
        if self._position.saver.holds(self._position.segment, self._position.done):
            self._position.did(command.request, f"step {self._position.done} is saved already")
        elif not self._position.saver.possible:
            why = "the function never called run.state(...), so there is nothing to save"
            self._position.did(command.request, why, state="rejected")
        else:
            self._position.save(command.kind, must=True, request=command.request)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def _change_what_is_due(self) -> None:
        while self._changes and self._changes[0].step <= self._position.done:
            change: RecipeChange = self._changes.popleft()
            self._position.become(change.recipe, change.request, repeated=True)
        if self._changes:
            return
        for command in [each for each in self._later if (each.at_step or 0) <= self._position.done]:
            self._later.remove(command)
            self._adjust(command)

    def _adjust(self, command: Adjust) -> None:
        try:
            recipe = command.recipe or self._position.recipe.set(command.values, self._position.done)
            for name, schedule in command.schedules.items():
                recipe = recipe.scheduled(name, schedule, self._position.done)
        except TunerError as error:
            self._position.did(command.request, str(error), state="rejected")
            return
        self._position.save("before adjustment", must=True)
        self._position.become(recipe, command.request, repeated=False)

    def _revert(self, command: Revert) -> None:
        """Sets the state back where it can; otherwise training goes on untouched, and the reason is sent."""
        state, storage = self._position.saver.state, self._position.order.storage
        if state is None or storage is None:
            why = "the function never called run.state(...), so there is no state to set back"
            self._position.did(command.request, why, state="rejected")
            return
        with ExitStack() as stack:
            try:
                fetched = stack.enter_context(
                    storage.fetched(command.path, sha256=command.sha256, say=self._position.delayed)
                )
            except CheckpointError as error:
                self._position.did(command.request, str(error), state="rejected")
                return
            # What is given up goes to the disk while the state is read from there.
            saved = self._position.save("before revert", must=True)
            try:
                settings = restore(fetched, state)
            except TunerError as error:
                if not saved or (here := self._position.saver.newest()) is None:
                    raise  # nobody knows what the state is now
                restore(stack.enter_context(storage.fetched(here)), state)
                self._position.did(command.request, str(error), state="rejected")
                return
        if self._pause_at is not None:  # the steps that were asked for and not yet taken are taken from there
            self._pause_at += command.step - self._position.done
        self._position.return_to(command, settings)
        self._changes.clear()
        if self._position.job.revert == "reenter":
            self._position.order = replace(
                self._position.order, checkpoint=command.path, sha256=command.sha256, from_step=command.step
            )
            self.reenter = True
            self.verdict = ("running", "called again after a revert")
