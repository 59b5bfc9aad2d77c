"""The control of a trial: who its `Run` answers to, in a worker."""

from __future__ import annotations

from tuner.errors import TrainingError, did_you_mean
from tuner.worker.commands import Commands
from tuner.worker.position import Position
from tuner.worker.run import Run
from tuner.worker.state import State

_HEARD_BY = 20  # steps after which an objective that was never reported is asked for


class TrialControl:
    """One trial being trained: where it stands, what it has been told, and the `Run` that its function holds."""

    def __init__(self, position: Position) -> None:
        self.position, self.commands = position, Commands(position)
        trial, self._job, self._channel = position.order.trial, position.job, position.channel
        self.objective = self._job.objective
        self.folder = None if self._job.trials_folder is None else self._job.trials_folder / str(trial)
        self._scored = -1
        self._listens = trial == 0  # what holds for the first trial's reports holds for all
        self.run = self._begun()

    # ── what a Run asks ─────────────────────────────────────────────────────────────────────────

    def report(self, step: int, scores: dict[str, float]) -> None:
        """Buffers the scores and looks whether they have diverged."""
        position, commands = self.position, self.commands
        if commands.reenter:
            return  # what a function says on its way out, when it is to be called again, belongs to no step
        objective = self._job.objective
        if self.run.ended is not None and objective in scores:  # kept, but it never counts
            scores = {f"{name} (after the end)" if name == objective else name: scores[name] for name in scores}
        now = self._channel.now()
        self._channel.add_report(
            position.order.trial, position.segment, [(step, name, value, now) for name, value in scores.items()]
        )
        position.done = max(position.done, step)
        if objective in scores:
            self._scored = step
        alarm = self._job.alarm
        if alarm is not None and commands.verdict is None:
            reason = alarm(position.first, scores)
            if reason is not None:
                commands.verdict = ("diverged", f"{reason} at step {step}")
        for name, value in scores.items():
            position.first.setdefault(name, value)

    def register(self, state: State) -> int:
        """Loads the checkpoint the order starts from, if it has one."""
        self.position.saver.state = state
        if self.position.order.checkpoint is None:
            return 0
        self.position.load(state)
        return self.position.order.from_step

    def between(self, done: int) -> str | None:
        """Takes commands, asks for a verdict where one is due, saves when it is time."""
        position, commands = self.position, self.commands
        position.done = done
        if position.order.checkpoint is not None and position.saver.state is None:
            raise TrainingError(
                f"this trial continues from its checkpoint of step {position.order.from_step}, but the function took a "
                "step before it called run.state(...). Register the state before the first step."
            )
        position.tell_plan()
        if self._listens and done >= position.order.from_step + _HEARD_BY:
            self._listens = False
            self._ask_for_the_objective()
        self._channel.passed(position.order.trial, done)
        if position.reads is not None:
            for finding in position.reads.look(done):
                self._channel.emit(finding)
        commands.take_effect(self._scored)
        if commands.verdict is None and position.saver.due(position.done):
            position.save("interval")
        if position.recipe.schedules:
            self.run.params = position.given()
        return None if commands.verdict is None else commands.verdict[1]

    def amid(self) -> str | None:
        """Gives others their turn, and hears whether the trial is to stop; all else waits for the end of the step."""
        self._channel.passed(self.position.order.trial, self.position.done)
        self.commands.hear()
        return None if self.commands.verdict is None else self.commands.verdict[1]

    # ── what the worker asks ────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Saves the last state of a trial that completed or was stopped, and waits for what is being written."""
        position, verdict = self.position, self.commands.verdict
        if self.run.planned is not None:
            position.tell_plan()  # a loop that had nothing left to train has never come between two steps
        if (verdict is None or verdict[0] == "stopped") and position.done > position.saver.step:
            position.save("final", wait=True)
        self.settle()

    def settle(self) -> None:
        """Waits for what is being written."""
        self.position.saver.finish()

    def start_again(self) -> Run:
        """A fresh `Run` for a function that is called again after a revert."""
        self.commands.reenter, self.commands.verdict = False, None
        self.run = self._begun()
        return self.run

    def _begun(self) -> Run:
        run = self.position.run = Run(self.position.given(), seed=self.position.order.seed, control=self)
        run.extend(self.position.extra_steps)
        return run

    def _ask_for_the_objective(self) -> None:
        first, objective = self.position.first, self._job.objective
        if first and objective not in first:
            self.position.warn(
                f"no {objective!r} was reported in {_HEARD_BY} steps, and a trial that ends without it has failed; "
                f"reported: {', '.join(first)}. {did_you_mean(objective, first)}"
            )
