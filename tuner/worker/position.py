"""The position of a trial in its worker: how far it is, what it trains under, and what is told of that."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Literal

from tuner.record.events import Settings
from tuner.record.patience import waiting_since
from tuner.record.recipe import Recipe
from tuner.worker.channel import Channel
from tuner.worker.checkpoints import restore
from tuner.worker.messages import Changed, Delayed, Did, Held, Job, Order, Planned, Revert, Reverted, Warned
from tuner.worker.reads import ReadTracker
from tuner.worker.run import Run
from tuner.worker.saving import Saver
from tuner.worker.state import State


class Position:
    """One trial as far as it has come: whoever changes it here has it said and saved."""

    run: Run
    """What the function holds now; another one once it is called again."""

    def __init__(self, order: Order, job: Job, channel: Channel) -> None:
        self.order, self.job, self.channel = order, job, channel
        self.done = order.from_step if order.checkpoint is not None else 0
        self.segment = order.segment
        self.recipe = order.recipe
        self.extra_steps = order.extra_steps
        self.first: dict[str, float] = {}
        """The first value of each score, by its name."""
        self.reads = ReadTracker(order.trial, self.done) if job.tracks_reads else None
        self.saver = Saver(
            order, emit=channel.emit, warn=self.warn, now=channel.now, in_background=channel.background_writes
        )
        self._fetched = ExitStack()
        self._to_tell = order.ask_at is not None or order.rung is not None or job.asks_length

    def given(self) -> Settings:
        """The settings in force now, as the function gets them."""
        now = self.recipe.at(self.done)
        return now if self.reads is None else self.reads.hand_out(now)

    @property
    def planned(self) -> int | None:
        """How many steps there are to be in all; None where the function does not say."""
        return self.run.planned

    @property
    def is_at_its_end(self) -> bool:
        """Whether the function has taken all the steps it asked for."""
        return self.run.planned is not None and self.done >= self.run.planned

    @property
    def left(self) -> int | None:
        """How many steps the function has yet to take; None where it has not said."""
        return None if self.run.planned is None else self.run.planned - self.done

    @property
    def can_be_paused(self) -> bool:
        """Whether its function tells how to save its state."""
        return self.saver.possible

    def load(self, state: State) -> None:
        """Reads the checkpoint that the order starts from, if it has one; its files last as long as it trains."""
        order = self.order
        if order.checkpoint is not None and order.storage is not None:
            found = order.storage.fetched(order.checkpoint, sha256=order.sha256, say=self.delayed)
            self.set_back(restore(self._fetched.enter_context(found), state))

    def leave(self) -> None:
        """Lets go of what was fetched for the trial, which trains no more."""
        self._fetched.close()

    def set_back(self, saved: dict[str, Any]) -> None:
        """What a checkpoint knows of the scores before it holds again."""
        self.first = {name: float(value) for name, value in saved.get("first", {}).items()}

    def save(self, kind: str, *, wait: bool = False, must: bool = False, request: str = "") -> bool:
        """Writes a checkpoint of this moment."""
        settings = {"recipe": self.recipe.to_json(), "step": self.done, "first": self.first}
        return self.saver.save(kind, self.segment, self.done, settings, wait=wait, must=must, request=request)

    def become(self, recipe: Recipe, request: str, *, repeated: bool) -> None:
        """A new segment under a new recipe begins here; the values are read back from where the function reads them."""
        before, after = self.recipe.at(self.done), recipe.at(self.done)
        old, new = self.recipe.schedules, recipe.schedules
        changed = [name for name in after if before.get(name) != after[name] or old.get(name) != new.get(name)]
        self.recipe = recipe
        self.run.params = self.given()
        self.segment += 1
        self.channel.emit(
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
                at=self.channel.now(),
            )
        )
        if self.reads is not None:
            self.reads.changed(request, [] if repeated else changed, self.done)

    def return_to(self, command: Revert, saved: dict[str, Any]) -> None:
        """A new segment begins where a checkpoint was written, whose state the function has by now."""
        gone, before = self.done, self.recipe.at(self.done)
        self.done = command.step
        self.set_back(saved)
        self.recipe = command.recipe or Recipe.constant(before)
        self.segment += 1
        self.run.params = self.given()
        if self.reads is not None:
            after = self.recipe.at(self.done)
            self.reads.changed(command.request, [name for name in after if before.get(name) != after[name]], self.done)
        self.run.rewind(self.done)
        self.saver.went_back(self.done)
        self.channel.emit(
            Reverted(
                trial=self.order.trial,
                segment=self.segment,
                request=command.request,
                checkpoint=command.checkpoint,
                from_step=gone,
                step=self.done,
                before=before,
                recipe=self.recipe,
                at=self.channel.now(),
            )
        )

    def extend(self, steps: int) -> None:
        """The loop takes so many steps beyond what the function asks for."""
        self.extra_steps += steps
        self.run.extend(steps)
        self._to_tell = self.job.asks_length

    # ── what is told of it ──────────────────────────────────────────────────────────────────────

    def tell_plan(self) -> None:
        """Says once how many steps the function asks for, and whether it can be saved."""
        if not self._to_tell:
            return
        self._to_tell = False
        self.channel.emit(
            Planned(
                trial=self.order.trial,
                segment=self.segment,
                steps=self.run.planned,
                resumable=self.saver.possible,
                at=self.channel.now(),
            )
        )

    def warn(self, text: str) -> None:
        """Says that something went wrong which does not end the trial."""
        self.channel.emit(Warned(trial=self.order.trial, step=self.done, text=text))

    def held(self, state: Literal["paused", "running"], why: str) -> None:
        """Says that a pause or its end took effect."""
        self.channel.emit(Held(trial=self.order.trial, state=state, step=self.done, why=why, at=self.channel.now()))

    def delayed(self, why: str) -> None:
        """Says why a checkpoint that training goes on from is waited for, since now; empty: it is no longer."""
        why = why and f"{waiting_since(self.channel.now(), 'its checkpoint')}: {why}"
        self.channel.emit(Delayed(trial=self.order.trial, why=why, at=self.channel.now()))

    def did(
        self, request: str, detail: str, *, state: Literal["applied", "rejected", "superseded"] = "applied"
    ) -> None:
        """Says what became of a request; of a command that nobody asked for, nothing."""
        if request:
            self.channel.emit(
                Did(
                    trial=self.order.trial,
                    request=request,
                    step=self.done,
                    state=state,
                    detail=detail,
                    at=self.channel.now(),
                )
            )
