"""Kills a babysat run at random moments and compares what comes out with the run nobody disturbed.

    python benchmarks/kill_run.py --kills 100 --seed 0
    python benchmarks/kill_run.py --kills 20 --executor ray

A run trains for some hundred steps while this process asks for changes, at steps fixed in advance and at moments that
fall as they may; all the while SIGKILL hits its coordinator, which here trains it too, or through Ray its coordinator
or its worker: at any moment, checkpoints being written among them. A run that has come to its end is followed by
another until all kills are done. Held for each run:

* every request that was accepted has taken effect once, at one step, and none that was not is on record twice;
* the curves that count are, bit for bit, those of the same record played on a run that is not disturbed;
* what was asked for at a step took effect at that step.

Prints one line a kill and a verdict; exit code 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tuner
from tuner.api.handles import RunHandle
from tuner.policy.segments import timeline
from tuner.record.events import TrialStarted
from tuner.record.reports import Row
from tuner.worker.messages import Command, Job, Order, RecipeChange, WorkerEvent
from tuner.worker.position import Position
from tuner.worker.training import train

STEPS = 500
STEP_S = {"local": 0.005, "ray": 0.025}
MEBIBYTES = 4
START = {"rate": 0.1, "beta": 0.9}
PLANNED = (60, 140, 220, 300, 380, 460)
# A kill comes within this many seconds after the coordinator, or the worker, began.
MOMENTS_S = {"local": 1.5, "ray": 9.0}
PATIENCE_S = 180.0

# ── what is trained ──────────────────────────────────────────────────────────────────────────────────────────────────


class Walk:
    """Depends on the settings, on a generator of its own and on the global ones; heavy, to be slow to save."""

    def __init__(self, seed: int) -> None:
        self.place = 0.0
        self.own = np.random.default_rng(seed)
        self.ballast = self.own.integers(0, 255, MEBIBYTES * 2**20, dtype=np.uint8)

    def step(self, rate: float, beta: float) -> None:
        noise = self.own.standard_normal() + np.random.standard_normal() + random.random()
        self.place = beta * self.place + rate * noise
        self.ballast[0] = (int(self.ballast[0]) + 1) % 251

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "own": self.own.bit_generator.state, "ballast": self.ballast}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place, self.ballast = state["place"], state["ballast"].copy()
        self.own.bit_generator.state = state["own"]


def walks(run: tuner.Run) -> None:
    np.random.seed(run.seed % 2**32)
    random.seed(run.seed)
    walk = Walk(run.seed)
    run.state(walk)
    for _ in run.steps(STEPS):
        walk.step(run.params["rate"], run.params["beta"])
        time.sleep(run.params["step_s"])
        run.report(place=walk.place, rate=run.params["rate"], beta=run.params["beta"], ballast=float(walk.ballast[0]))


# ── the same record, played again ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Player:
    """A channel over which nobody says anything; it keeps what is reported."""

    rows: list[Row] = field(default_factory=list)
    background_writes = False

    def emit(self, event: WorkerEvent) -> None:
        """Nobody listens."""

    def passed(self, trial: int, step: int) -> None:
        """Nobody waits."""

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:  # noqa: ARG002
        self.rows.extend(rows)

    def receive(self, *, wait: bool) -> Command | None:  # noqa: ARG002
        return None

    def now(self) -> float:
        return 0.0


def played(study: tuner.Study) -> dict[str, list[tuple[int, float]]]:
    """The curves of the recipes on record, at the steps on record, trained in one go."""
    trial, player = study.state.trials[0], Player()
    course = timeline(trial)
    changes = tuple(
        RecipeChange(step=each.from_step, request=each.request, recipe=quickly(trial.recipe_of(each)))
        for each in course[1:]
    )
    order = Order(trial=0, segment=0, recipe=quickly(trial.recipe_of(course[0])), seed=trial.seed, changes=changes)
    job = Job(study="again", function="", search_path=(), objective="place")
    train(walks, Position(order, job, player))
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, name, value, _ in player.rows:
        curves.setdefault(name, []).append((step, value))
    return curves


def quickly(recipe: Any) -> Any:
    """The same recipe, without the waiting."""
    return recipe.set({"step_s": 0.0}, 0)


def counted(study: tuner.Study) -> dict[str, list[tuple[int, float]]]:
    """The curves on the head, by name."""
    frame = study.reports
    frame = frame[frame["head"]]
    curves = {}
    for name, rows in frame.groupby(frame["name"].astype(str)):
        curves[str(name)] = sorted(zip(rows["step"].tolist(), rows["value"].tolist(), strict=True))
    return curves


# ── what was promised ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Asked:
    """What this process has been told about its requests."""

    planned: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)

    def broken(self, study: tuner.Study) -> list[str]:
        """Every promise that the record of an ended run does not keep."""
        found = []
        requests, trial = study.state.requests, study.state.trials[0]
        if trial.state != "completed" or trial.steps != STEPS:
            found.append(f"the run ended as {trial.state} at step {trial.steps}: {trial.why}")
        took_effect = Counter(study.adjustments["request"])
        on_head = Counter(each.request for each in trial.path() if each.cause == "adjust")
        for name, state in self.acknowledged.items():
            if name not in requests:
                found.append(f"request {name} was {state}, and is not on record")
            elif requests[name].state != "applied":
                found.append(f"request {name} was {state}, on record it is {requests[name].state}")
            elif took_effect[name] != 1 or on_head[name] != 1:
                found.append(f"request {name} took effect {took_effect[name]} times, {on_head[name]} on the head")
        found += [
            f"{each.request} was planned for step {self.planned[each.request]} and took effect at {each.from_step}"
            for each in trial.path()
            if self.planned.get(each.request, each.from_step) != each.from_step
        ]
        curves, again = counted(study), played(study)
        for name, curve in again.items():
            if curves.get(name) != curve:
                differing = sum(one != other for one, other in zip(curves.get(name, ()), curve, strict=False))
                found.append(f"the curve of {name} is not that of the record played again: {differing} steps differ")
        return found


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Patient:
    """A babysat run, and everything that is done to it."""

    def __init__(self, folder: Path, name: str, executor: Literal["ray", "local"], moments: random.Random) -> None:
        self.folder, self.name, self.executor, self.moments = folder, name, executor, moments
        self.asked = Asked()
        self.turn = 0
        self.handle = self._babysit()
        self._plan()

    def _babysit(self) -> RunHandle:
        return tuner.babysit(
            "kill_run:walks",
            {**START, "step_s": STEP_S[self.executor]},
            name=self.name,
            objective="place",
            executor=self.executor,
            checkpoint_every_s=0.15,
            level="off",
            results=self.folder,
        )

    def _plan(self) -> None:
        for place, step in enumerate(PLANNED):
            name = f"planned-{place}"
            try:
                reply = self.handle.set(rate=0.2 + 0.1 * place, at=step, request=name)
            except tuner.TunerError as error:
                if "is over" not in str(error):
                    raise
                continue
            self.asked.planned[name] = step
            self.asked.acknowledged[name] = reply.state

    @property
    def ended(self) -> bool:
        study = self.handle.study
        study.close()
        return study.state.trials[0].ended

    def kill_once(self, number: int) -> str:
        """Lets it train for a while, asks for something, and kills one of its processes; what was done, in words."""
        if self.handle._store.holder(time.time()) is None:
            self.handle = self._babysit()
        began = time.monotonic()
        after_s = self.moments.uniform(0.0, MOMENTS_S[self.executor])
        self.turn += 1
        told = ""
        if self.moments.random() < 0.6 and not self.ended:
            told = self._ask(f"asked-{number}")
        time.sleep(max(0.0, began + after_s - time.monotonic()))
        victim, pid = self._victim()
        if pid is None:
            return f"after {after_s:4.2f} s: it had ended{told}"
        writing = self._writing()
        if self.moments.random() < 0.4:  # into the midst of a checkpoint, if one begins soon
            patience = time.monotonic() + 1.0
            while not writing and time.monotonic() < patience:
                writing = self._writing()
        if not _lives(pid):
            return f"after {after_s:4.2f} s: it had ended{told}"
        os.kill(pid, signal.SIGKILL)
        self._wait_until_gone(pid)
        study = self.handle.study
        trial = study.state.trials[0]
        study.close()
        return (
            f"after {after_s:4.2f} s: {victim} killed at step {trial.steps}"
            f"{', a checkpoint in flight' if writing else ''}, {len(trial.segments)} segments{told}"
        )

    def _ask(self, name: str) -> str:
        """A change for now, sent without waiting for more than its acceptance."""
        beta = round(self.moments.uniform(0.5, 0.99), 6)
        store = self.handle._store
        store.request("set", {"values": {"beta": beta}}, by="benchmark", why="", request=name)
        deadline = time.monotonic() + self.moments.choice([0.0, 0.05, 0.5])  # it may be killed before it answers
        while time.monotonic() < deadline:
            answer = store.answer(name)
            if answer is not None:
                self.asked.acknowledged[name] = answer.state
                return f", {name} {answer.state}"
            time.sleep(0.001)
        return f", {name} sent"

    def _victim(self) -> tuple[str, int | None]:
        holder = self.handle._store.holder(time.time())
        if self.ended or holder is None:
            return "", None
        if self.executor == "ray" and self.moments.random() < 0.5:
            starts = list(self.handle._store.read(TrialStarted))
            if starts and _lives(starts[-1].pid):
                return "worker", starts[-1].pid
        return "coordinator", holder[1]

    def _writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.folder / self.name / "checkpoints").glob("0/.*tmp"))

    def _wait_until_gone(self, pid: int) -> None:
        deadline = time.monotonic() + 10.0
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(0.005)

    def finish(self) -> list[str]:
        """Lets it train to its end; returns every broken promise."""
        study = self.handle.wait(PATIENCE_S)
        # Those that were sent and never answered in time: on record they are, so they are promised too, unless refused.
        for name, request in study.state.requests.items():
            if request.state not in ("rejected", "expired"):
                self.asked.acknowledged.setdefault(name, request.state)
        broken = self.asked.broken(study)
        study.close()
        return [f"{self.name}: {complaint}" for complaint in broken]

    def abandon(self) -> None:
        """Leaves no process behind."""
        holder = self.handle._store.holder(time.time())
        if holder is not None:
            os.kill(holder[1], signal.SIGKILL)
        self.handle.close()


def _lives(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return words[0] != "Z"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    parser.add_argument("--kills-a-run", type=int, default=10, help="at most; then the run may end, and another begins")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    moments = random.Random(given.seed)
    began, done, runs, broken = time.monotonic(), 0, 0, []
    with tempfile.TemporaryDirectory(prefix="kill-run-") as folder:
        while done < given.kills:
            runs += 1
            patient = Patient(Path(folder), f"run-{runs}", given.executor, moments)
            try:
                for _ in range(given.kills_a_run):
                    if done == given.kills or patient.ended:
                        break
                    told = patient.kill_once(done + 1)
                    done += "killed" in told
                    print(f"kill {done:3d}, run {runs} {told}", flush=True)
                found = patient.finish()
            finally:
                patient.abandon()
            broken += found
            kept = "its curves are those of its record, no request lost or doubled"
            verdict = f"BROKEN: {found[0]}" if found else kept
            print(f"run {runs}: {verdict}", flush=True)
    for complaint in broken:
        print(f"BROKEN: {complaint}")
    verdict = f"{len(broken)} promises broken" if broken else "every promise held"
    print(f"{done} kills over {runs} runs, executor {given.executor}, {time.monotonic() - began:.0f} s: {verdict}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
