"""Ask and tell: a study's trials in the hands of programs that train by themselves."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tuner.api.answers import pauses_between_polls
from tuner.errors import StudyError, TakenOver
from tuner.executors import PROGRAMS
from tuner.record.dialogue import ENDS, LONGEST_WAIT_S, End, parse_answer, scores
from tuner.record.events import Answered, Configured, RequestState, StudyOpened
from tuner.record.requests import understood
from tuner.record.told import told
from tuner.values.arguments import checked, index, one_of, optional, text
from tuner.values.numbers import duration

if TYPE_CHECKING:
    from tuner.record.store import Store

NOBODY = "nobody coordinates the study now: its sweep has to be started again"
GRACE_S = 2.0
"""So much longer than a program waits for a trial, an answer may take to come."""
_LOOKS_EVERY_S = 0.5
_STANDS_STILL_S = 1.0  # between two questions whether a paused trial may go on


def check_lends(store: Store, name: str) -> None:
    """Refuses a study whose trials nobody can ask for."""
    opened = next(iter(store.read(StudyOpened)), None)
    if opened is not None and opened.function != PROGRAMS:
        raise StudyError(
            f"{name} trains its own function, {opened.function or 'none'}, so it lends no trials to programs. Start a "
            'study that does: tuner.sweep(None, space, …, executor="external").'
        )


def over(store: Store) -> str | None:
    """Why nothing more is trained, or None while something may be."""
    options: dict[str, Any] = {}
    for each in store.read(Configured):
        options |= each.options
    why: str | None = options.get("over")
    return why


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a program is told."""

    state: RequestState
    """What became of what it said."""
    words: Mapping[str, Any]
    """The answer's words, by name."""


class Lender(Protocol):
    """Where a program says what it has to say: the study's record, or a service before it."""

    def say(
        self, verb: str, arguments: Mapping[str, Any], *, by: str, why: str = "", wait_s: float = 0.0
    ) -> Heard | None:
        """Says it, and waits for the answer; None where nobody is there to give it."""

    def is_over(self) -> bool:
        """Whether nothing more is trained."""


class RecordLender:
    """The record itself, for whoever may write to it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def say(
        self, verb: str, arguments: Mapping[str, Any], *, by: str, why: str = "", wait_s: float = 0.0
    ) -> Heard | None:
        """Puts a request on record, and looks for its answer there."""
        answer = say(self._store, verb, arguments, by=by, why=why, wait_s=wait_s)
        return None if answer is None else Heard(state=answer.state, words=parse_answer(answer.detail))

    def is_over(self) -> bool:
        """Whether the last coordinator said so."""
        return over(self._store) is not None


class LeasedTrial:
    """A trial in this program's hands: `report` its scores, then `tell` how it ended.

    Every call may be made again, and counts once. A trial of which nothing is heard for `lease_s` of its sweep goes to
    another program.

    Args:
        lender: Where it is said what becomes of the trial, which whoever holds it closes.
        worker: Whose trial it is, as the record will say.
        lent: What the worker was told when it asked.

    Example:
        >>> trial = lending.ask("worker-1")
        >>> trial.report(1, score=0.5), trial.tell()
        (True, 'completed')
    """

    def __init__(self, lender: Lender, worker: str, lent: Mapping[str, Any]) -> None:
        """Use `ask` of a handle."""
        self._lender, self._worker = lender, worker
        lent = told(lent, trial=int, segment=int, settings=dict, seed=int, step=int, batch=int)
        self._batch: int = lent["batch"]
        self.trial: int = lent["trial"]
        """Its number, from 0."""
        self.segment: int = lent["segment"]
        """The segment of the trial that is trained here: it says whose words count."""
        self.params: dict[str, Any] = lent["settings"]
        """The settings to train with, by name."""
        self.seed: int = lent["seed"]
        """For everything random in the trial."""
        self.step: int = lent["step"]
        """The step of the last report, 0 before the first."""
        self.why = ""
        """The reason of the last orders, empty where there was none."""
        self.state: str | None = None
        """How the trial ended, in the record's words; None while it trains."""

    def __repr__(self) -> str:
        return f"<LeasedTrial {self.trial}, segment {self.segment}, at step {self.step}>"

    @checked(step=optional(index))
    def report(self, step: int | None = None, /, **named: float) -> bool:
        """Reports scores after a step, and hears whether to go on; waits while the trial is to stand still.

        Args:
            step: The step they belong to, from 0 up. None: the one after the last.
            **named: The scores by name.

        Returns:
            Whether to train on. Where not, the trial is over: `why` says the reason.

        Raises:
            SettingsError: What is no score.

        Example:
            >>> trial = lending.ask("worker-1")
            >>> trial.report(1, score=0.5), trial.step, trial.tell()
            (True, 1, 'completed')
        """
        if self.state is not None:
            return False
        at = self.step + 1 if step is None else step
        orders = self._orders([[at, scores("report", named)]])
        self.step, self._batch = at, self._batch + 1
        while orders == "pause":
            time.sleep(_STANDS_STILL_S)
            orders = self._orders([])
        return orders != "stop"

    def renew(self) -> bool:
        """Says that the trial is still being trained, where a step takes longer than the lease.

        Returns:
            Whether to train on.

        Example:
            >>> trial = lending.ask("worker-1")
            >>> trial.renew(), trial.tell(scores={"score": 0.5})
            (True, 'completed')
        """
        return self.state is None and self._orders([]) != "stop"

    def _orders(self, rows: list[list[Any]]) -> str:
        given = {"trial": self.trial, "segment": self.segment, "batch": self._batch, "rows": rows}
        answer = self._lender.say("report", given, by=self._worker, wait_s=LONGEST_WAIT_S)
        if answer is None:
            self.why = f"on record; {NOBODY}"
            return "go on"
        heard = answer.words
        self.why = str(heard.get("why", ""))
        if answer.state == "rejected":
            raise StudyError(f"the report of trial {self.trial} was refused: {self.why}")
        orders: str = told(heard, orders=str)["orders"]
        if orders == "stop":
            self.state = "superseded" if "superseded_by" in heard else "over"
        return orders

    @checked(state=one_of(*ENDS), scores=optional(scores), why=text, step=optional(index))
    def tell(
        self,
        state: End = "completed",
        scores: Mapping[str, float] | None = None,
        why: str = "",
        *,
        step: int | None = None,
    ) -> str:
        """Says how the trial ended; a second time it is told the same.

        Args:
            state: "completed", by default completed; "infeasible" for settings that nothing can be trained with;
                "failed" where the program is at fault, or "stopped".
            scores: The last scores, by name. None: the best report is the outcome.
            why: The reason; infeasible and failed need one.
            step: The step that `scores` belong to. None: the last.

        Returns:
            How the trial ended by the record: one that was ended before keeps its end.

        Raises:
            TakenOver: The trial went to another program meanwhile.
            StudyError: It cannot have ended so, such as completed without a score.
            SettingsError: An argument that makes no sense.

        Example:
            >>> trial = lending.ask("worker-1")
            >>> trial.tell("infeasible", why="it does not fit into memory")
            'diverged'
        """
        given = {"trial": self.trial, "segment": self.segment, "state": state, "scores": scores, "step": step}
        answer = self._lender.say("tell", given, by=self._worker, why=why, wait_s=LONGEST_WAIT_S)
        if answer is None:
            self.state, self.why = state, f"on record; {NOBODY}"
            return self.state
        heard = answer.words
        self.why = str(heard.get("why", ""))
        if "superseded_by" in heard:
            self.state = "superseded"
            raise TakenOver(f"{self.why}. What was reported here is kept, and counts for nothing: ask for another.")
        if answer.state == "rejected":
            raise StudyError(f"trial {self.trial}: {self.why}")
        self.state = str(told(heard, state=str)["state"])
        return self.state


def ask(
    lender: Lender, name: str, worker: str | None, *, request: str | None, wait_s: float | None, steps: int | None
) -> LeasedTrial | None:
    """A trial to train, the pending one where this worker has one; None once the study is over."""
    worker = worker or f"{socket.gethostname()}-{os.getpid()}"
    deadline = None if wait_s is None else time.monotonic() + wait_s
    while True:
        left = LONGEST_WAIT_S if deadline is None else max(0.0, min(LONGEST_WAIT_S, deadline - time.monotonic()))
        given = {
            "worker": worker,
            "request": request or uuid.uuid4().hex,
            "wait_s": left,
            "steps": steps,
            "node": socket.gethostname(),
            "pid": os.getpid(),
        }
        answer = lender.say("ask", given, by=worker, wait_s=left + GRACE_S)
        heard = {"why": NOBODY} if answer is None else answer.words
        if answer is not None and answer.state == "applied":
            return LeasedTrial(lender, worker, heard)
        why = heard.get("why", "")
        if heard.get("over") or (answer is None and lender.is_over()):
            return None
        if answer is not None and answer.state == "rejected":
            raise StudyError(f"{name} lends no trial: {why}")
        if wait_s is not None and deadline is not None and time.monotonic() >= deadline:
            raise StudyError(f"{name} had no trial within {duration(wait_s)}: {why}")
        if answer is None:
            time.sleep(_LOOKS_EVERY_S)


def say(
    store: Store, verb: str, arguments: Mapping[str, Any], *, by: str, why: str = "", wait_s: float = 0.0
) -> Answered | None:
    """Puts on record what a program says, and waits for the answer; None where nobody is there to give it."""
    checked_arguments = understood(verb, arguments)
    after = store.version()
    request = store.request(verb, checked_arguments, by=by, why=why)
    deadline, looks_at = time.monotonic() + wait_s, time.monotonic() + _LOOKS_EVERY_S
    for pause in pauses_between_polls():
        answers, after = store.answers(after)
        found = next((each for each in answers if each.request == request), None)
        now = time.monotonic()
        if found is not None:
            return found
        if now >= deadline or (now >= looks_at and store.holder(time.time()) is None):
            return None
        looks_at = now + _LOOKS_EVERY_S if now >= looks_at else looks_at
        time.sleep(pause)
    return None
