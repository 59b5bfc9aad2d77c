"""How fast a babysat run answers: what people wait for, and what training pays for being watched.

    python benchmarks/babysitting.py
    python benchmarks/babysitting.py --executors ray --markdown results/benchmarks/babysitting.md

Each row has its goal and says whether it was reached; steps last 10 ms where nothing else is said. The run trains in a
process of its own, through Ray and in the coordinator's own process beside it; times are those of a client in a third.
A measurement, not a test: nothing here fails because a machine is slow.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from measures import unix_seconds
from rich.console import Console
from rows import Figure, Goal, Measured, Row, load, machine, page, printed, written

import tuner
from tuner.api.handles import RunHandle
from tuner.record.events import TrialStarted

STEP_S = 0.01
FOREVER = 10_000_000
PATIENCE_S = 60.0

# ── what is trained ──────────────────────────────────────────────────────────────────────────────────────────────────


class Weights:
    """So many bytes of state."""

    def __init__(self, size: int) -> None:
        self.content = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {"content": self.content}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.content = state["content"]


def trains(run: tuner.Run) -> None:
    """Steps of 10 ms over a state of `mebibytes`; reports how long tuner took between the last step and this one."""
    run.state(Weights(int(run.params["mebibytes"] * 2**20)))
    between = time.perf_counter()
    for _ in run.steps(FOREVER):
        began = time.perf_counter()
        time.sleep(STEP_S)
        run.report(loss=1.0, between_ms=1000 * (began - between))
        between = time.perf_counter()


def idles(run: tuner.Run) -> None:
    """Empty steps, a million of them; reports what one costs beyond the loop itself."""
    count = 300_000
    began = time.perf_counter()
    for _ in range(count):
        pass
    bare = time.perf_counter() - began
    rounds = []
    began = time.perf_counter()
    for step in run.steps(5 * count):
        if step and step % count == 0:
            rounds.append(time.perf_counter() - began)
            began = time.perf_counter()
    run.report(loss=1.0, step_us=1e6 * (statistics.median(rounds) - bare) / count)


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where, through what, and how often."""

    folder: Path
    executor: Literal["ray", "local"]
    times: int
    seed: int

    @contextmanager
    def run(self, train: Callable[[tuner.Run], None] = trains, mebibytes: float = 0.01) -> Iterator[RunHandle]:
        """A babysat run that has taken its first steps; killed in the end."""
        name = f"{train.__name__}-{self.executor}-{time.monotonic_ns()}"
        handle = tuner.babysit(
            f"babysitting:{train.__name__}",
            {"mebibytes": mebibytes, "rate": 1.0},
            name=name,
            objective="loss",
            goal="minimize",
            executor=self.executor,
            checkpoint_every_s=1e9,
            level="off",
            results=self.folder,
        )
        try:
            if train is trains:
                wait_until(lambda: len(reports(handle)) > 5)
            yield handle
        finally:
            if (holder := handle._store.holder(time.time())) is not None:
                os.kill(holder[1], signal.SIGTERM)
                wait_until(lambda: handle._store.holder(time.time()) is None)
            handle.close()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """When a request was sent, accepted and applied, as its sender saw it."""

    sent: float
    accepted: float
    applied: float


def ask(handle: RunHandle, verb: str, arguments: dict[str, Any]) -> Asked:
    """Sends a request and watches for its answers, half a millisecond at a time."""
    sent = time.time()
    name = handle._store.request(verb, arguments, by="benchmark", why="")
    accepted = None
    while time.time() - sent < PATIENCE_S:
        answer = handle._store.answer(name)
        now = time.time()
        if answer is not None and answer.state == "rejected":
            raise RuntimeError(answer.detail)
        if answer is not None and accepted is None:
            accepted = now
        if answer is not None and answer.state == "applied":
            return Asked(sent=sent, accepted=accepted or now, applied=now)
        time.sleep(0.0005)
    raise RuntimeError(f"{verb} was not answered within {PATIENCE_S:g} s")


def reports(handle: RunHandle) -> Any:
    """Everything reported so far."""
    study = handle.study
    frame = study.reports
    study.close()
    return frame


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing happened for {PATIENCE_S:g} s")
        time.sleep(0.01)


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def idle(bench: Bench) -> Iterator[Row]:
    """What a step costs when nobody asks for anything."""
    with bench.run(idles) as handle:
        frame = handle.wait(PATIENCE_S).reports
        cost = float(frame[frame["name"] == "step_us"]["value"].iloc[0])
    yield Row("idle cost, a step", cost, "µs", goal=Goal(at_most=10))


def answers(bench: Bench) -> Iterator[Row]:
    """How soon a change is on record, and how soon it has taken effect."""
    moments = random.Random(bench.seed)
    with bench.run() as handle:
        asked = []
        for turn in range(bench.times):
            time.sleep(moments.uniform(0.0, 0.05))
            asked.append(ask(handle, "set", {"values": {"rate": 1.0 + turn}}))
    to_accepted = [1000 * (each.accepted - each.sent) for each in asked]
    beyond = [1000 * (each.applied - each.accepted) for each in asked]
    yield Row("set → accepted, median", Measured.of(to_accepted), "ms")
    yield Row("set → accepted, p99", p99(to_accepted), "ms", goal=Goal(at_most=50))
    yield Row("accepted → applied, median", Measured.of(beyond), "ms", goal=Goal(at_most=20))
    yield Row("accepted → applied, p99", p99(beyond), "ms")


def pauses(bench: Bench) -> Iterator[Row]:
    """How many steps end after a pause was accepted."""
    late = []
    with bench.run() as handle:
        for _ in range(max(20, bench.times // 5)):
            accepted = ask(handle, "pause", {}).accepted
            frame = reports(handle)
            late.append(int((unix_seconds(frame[frame["name"] == "loss"]["at"]) > accepted).sum()))
            handle.resume()
            time.sleep(0.03)
    what = f"steps that end after a pause was accepted, median of {len(late)}"
    yield Row(what, Measured.of(late), goal=Goal(at_most=1))


def saves(bench: Bench) -> Iterator[Row]:
    """How long training stands still for a checkpoint."""
    with bench.run(mebibytes=10) as handle:
        asked = []
        for _ in range(max(10, bench.times // 10)):
            asked.append(ask(handle, "checkpoint", {}))
            time.sleep(0.1)
        frame = reports(handle)
        took = frame[frame["name"] == "between_ms"].set_index("step")["value"]
        study = handle.study
        steps = [each.step for each in study.state.checkpoints.values()]
        study.close()
    stalls = [float(took.loc[step + 1]) for step in steps if step + 1 in took.index]
    usual = float(took.median())
    still = Measured.of([stall - usual for stall in stalls])
    yield Row("training stands still for a checkpoint of 10 MiB, median", still, "ms", goal=Goal(at_most=20))
    whole = Measured.of([1000 * (each.applied - each.sent) for each in asked])
    yield Row("checkpoint of 10 MiB: asked → whole on disk, median", whole, "ms")


def reverts(bench: Bench) -> Iterator[Row]:
    """How soon training goes on from where it was."""
    for size, goal, times in ((10, 0.2, 10), (100, 1.0, 5)):
        with bench.run(mebibytes=size) as handle:
            step = handle.checkpoint().step
            took = []
            for _ in range(times):
                time.sleep(0.3)
                asked = ask(handle, "revert", {"step": step})
                took.append(asked.applied - asked.sent)
        what = f"revert to a checkpoint of {size} MiB, median"
        yield Row(what, Measured.of(took), "s", goal=Goal(at_most=goal))


def losses(bench: Bench) -> Iterator[Row]:
    """How soon training goes on after its worker's process was killed."""
    if bench.executor == "local":
        return  # its worker is its coordinator
    took = []
    with bench.run() as handle:
        for _ in range(3):
            handle.checkpoint()
            frame = reports(handle)
            segments = frame["segment"].max()
            killed = time.time()
            os.kill(list(handle._store.read(TrialStarted))[-1].pid, signal.SIGKILL)
            wait_until(lambda last=segments: reports(handle)["segment"].max() > last)  # type: ignore[misc]
            frame = reports(handle)
            again = frame[frame["segment"] > segments]["at"].min()
            took.append(again.timestamp() - killed)
    yield Row("worker killed → stepping again, median", Measured.of(took), "s", goal=Goal(at_most=5))


def looks(bench: Bench) -> Iterator[Row]:
    """How long somebody waits at a terminal until the curve of a running run is there, without starting Ray."""
    with bench.run() as handle:
        wait_until(lambda: len(reports(handle)) > 200)
        command = ["show", handle.name, "--results", str(bench.folder)]
        program = (
            "import sys; from tuner.cli import main\ntry:\n    main()\nfinally:\n    assert 'ray' not in sys.modules"
        )
        took = []
        for _ in range(7):
            began = time.perf_counter()
            shown = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True)
            took.append(time.perf_counter() - began)
            if shown.returncode:
                raise RuntimeError(f"tuner show ended with {shown.returncode}: {shown.stderr.strip()[-200:]}")
    what = "attach and first terminal plot (tuner show), median of 7"
    yield Row(what, Measured.of(took), "s", goal=Goal(at_most=1))


def starts(bench: Bench) -> Iterator[Row]:
    """How long `tuner.babysit` takes until the first step has ended."""
    began = time.perf_counter()
    with bench.run():
        took = time.perf_counter() - began
    yield Row("tuner.babysit → its first steps", took, "s")


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    row.__name__: row for row in (idle, answers, pauses, saves, reverts, losses, looks, starts)
}


def measured(row: Callable[[Bench], Iterator[Row]], bench: Bench) -> list[Row]:
    """The lines of one row; what goes wrong is told in place of a figure."""
    try:
        found = list(row(bench))
    except Exception as error:
        failed: Figure = f"{type(error).__name__}: {error}"
        return [Row(f"{bench.executor}: {(row.__doc__ or '').strip()}", failed, goal=Goal(at_most=0))]
    return [replace(each, what=f"{bench.executor}: {each.what}") for each in found]


def main() -> None:
    """Measure the rows, print them as they come, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--executors", default="ray,local")
    parser.add_argument("--times", type=int, default=200, help="how many changes are asked for")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which they are")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(ROWS)):
        parser.error(f"no row named {', '.join(unknown)}; rows: {', '.join(ROWS)}")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    lines: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="babysitting-") as folder:
        facts = machine(Path(folder)) | {
            "seed": str(options.seed),
            "changes asked for": str(options.times),
            "a step": f"{1000 * STEP_S:g} ms",
            "load before": load(),
        }
        for executor in options.executors.split(","):
            bench = Bench(folder=Path(folder), executor=executor, times=options.times, seed=options.seed)
            for name in names:
                console.print(f"[dim]measuring {executor}, {name} …[/]")
                lines += measured(ROWS[name], bench)
        facts["load after"] = load()
    console.print(printed(lines, f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}"))
    written(options.markdown, page("Babysitting", lines, facts))


if __name__ == "__main__":
    main()
