"""A sweep that lends its trials, with programs that a test plays by hand: one thread, and a clock that it moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

from waiting import PATIENCE_S

from tuner.caviar.external import ExternalRequests
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.rules import rule_by_name
from tuner.coordinator.loop import Coordinator
from tuner.coordinator.watchdog import Timing
from tuner.executors import PROGRAMS
from tuner.executors.external import ExternalExecutor
from tuner.executors.loan import lent
from tuner.record.dialogue import parse_answer
from tuner.record.events import Answered, StudyOpened
from tuner.record.reader import fold
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.samplers import by_name
from tuner.space.constructors import log
from tuner.space.space import Space
from tuner.worker.divergence import DivergenceAlarm
from tuner.worker.messages import Event, Job

SPACE = Space(rate=log(1e-4, 1.0))
NOON = 1_790_000_000.0
LEASE_S = 60.0

Heard: TypeAlias = dict[str, Any]
Script: TypeAlias = Generator[None, None, None]


class Killed(BaseException):
    """The coordinator dies here, without a word."""


class Desk:
    """What programs say and hear, and the time."""

    def __init__(self, store: Store) -> None:
        self.store, self.time = store, NOON
        self.study = StudyState()
        self.answers: dict[str, Answered] = {}
        self._after = 0

    def say(self, verb: str, *, why: str = "", **arguments: Any) -> str:
        """Puts it on record, as whoever carries a program's words does."""
        return self.store.request(verb, arguments, by=arguments.get("worker", "a program"), why=why, at=self.time)

    def heard(self, request: str) -> Answered | None:
        """The answer, if there is one."""
        found, self._after = self.store.answers(self._after)
        self.answers.update({each.request: each for each in found})
        return self.answers.get(request)

    def call(self, verb: str, *, why: str = "", **arguments: Any) -> Generator[None, None, Heard]:
        """Says it and waits for the answer: what was told, with the `state` of the request beside it."""
        request = self.say(verb, why=why, **arguments)
        return (yield from self.answer(request))

    def answer(self, request: str) -> Generator[None, None, Heard]:
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.heard(request)) is None:
            assert time.monotonic() < deadline, "no answer came"
            yield
        return {"request_state": found.state, **parse_answer(found.detail)}

    def state(self, trial: int) -> str:
        """How a trial stands by the record."""
        return self.study.trials[trial].state

    # ── what a program says, in short ───────────────────────────────────────────────────────────

    def ask(self, worker: str, wait_s: float = 300.0, **more: Any) -> Generator[None, None, Heard]:
        return (yield from self.call("ask", worker=worker, wait_s=wait_s, **more))

    def report(self, lent: Heard, batch: int, *rows: tuple[int, float], **more: Any) -> Generator[None, None, Heard]:
        spoken = {"trial": lent["trial"], "segment": lent["segment"], "batch": batch}
        return (yield from self.call("report", **spoken, rows=[[step, {"score": each}] for step, each in rows], **more))

    def tell(
        self, lent: Heard, state: str = "completed", *, why: str = "", **more: Any
    ) -> Generator[None, None, Heard]:
        spoken = {"trial": lent["trial"], "segment": lent["segment"], "state": state}
        return (yield from self.call("tell", why=why, **spoken, **more))

    def beats(self, turns: int = 5) -> Script:
        """Lets the coordinator have some turns."""
        for _ in range(turns):
            yield

    def passes(self, seconds: float) -> Script:
        """Lets time pass."""
        self.time += seconds
        yield from self.beats()


class _Scripted(ExternalExecutor):
    """Has the script go on by one word before each turn; the coordinator is stopped where it ends."""

    def __init__(self, desk: Desk, script: Script) -> None:
        super().__init__(lease_s=LEASE_S, now=lambda: desk.time)
        self._desk, self._script, self._ends = desk, script, False

    def poll(self, timeout_s: float) -> list[Event]:
        if not self._ends:
            try:
                next(self._script)
            except StopIteration:
                self._ends = True
                self._desk.say("stop", why="the script is over")
        else:
            self._desk.time += 1.0  # what is still lent runs out
        return super().poll(min(timeout_s, 0.001))


def play(
    script: Callable[[Desk], Script],
    *,
    store: Store | None = None,
    trials: int = 4,
    stopping: str = "off",
    sampler: str = "random",
    parallel: int | None = None,
    budget_steps: int | None = None,
    goal: Any = "maximize",
    timing: Timing | None = None,
    keeps_open: bool = False,
    at: float = NOON,
) -> StudyState:
    """The study once the script is over, and the coordinator with it; or has died, where the script raises `Killed`."""
    store = Store.in_memory() if store is None else store
    store.acquire(time.time())
    study, _ = fold(store, "night")
    if not study.identity:
        identity = {"space": SPACE.to_dict(), "objective": "score", "goal": goal, "seed": 0, "sampler": sampler}
        opened = StudyOpened(
            name="night", kind="sweep", identity=identity, function=PROGRAMS, source_sha256="", version="0", at=at
        )
        store.append([opened], time.time())
        study.apply(opened)
    desk = Desk(store)
    desk.time = at
    desk.study = study
    executor = _Scripted(desk, script(desk))
    executor.restore(lent(study))
    alarm = DivergenceAlarm(objective="score", goal=goal)
    job = Job(study="night", function="", search_path=(), objective="score", alarm=alarm)
    policy = Caviar(
        space=SPACE,
        seed=0,
        proposer=by_name(sampler),
        stopping=rule_by_name(stopping),
        limits=Limits(trials=trials, budget_steps=budget_steps),
        parallel=executor.open(job, parallel),
    )
    coordinator = Coordinator(
        study=study,
        store=store,
        policy=policy,
        requests=ExternalRequests(policy),
        executor=executor,
        keeper=None,
        timing=timing or Timing(),
    )
    try:
        coordinator.run()
    except Killed:
        pass
    finally:
        if not keeps_open:
            store.close()
    return study


def on_disk(folder: Path) -> Store:
    """A record that a coordinator after another may open."""
    return Store.create(folder / "study.db")
