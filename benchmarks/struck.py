"""What trains while a fault strikes: each a training function, and a process that sweeps with one of them.

    python benchmarks/struck.py '{"train": "steady", "name": "s", "results": "results", "trials": 3}'

It says what went wrong as the shell does: in a sentence on stderr, with exit code 1, or 130 once it was interrupted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import tuner

CLOCK = "TUNER_FAULTS_CLOCK"
"""The file that says by how many seconds the clock of the process is off, where it is."""

STEPS = 25
HANGS_AFTER = 6
"""So many steps come to an end, and the next never does."""

CALLS = "TUNER_FAULTS_CALLS"
"""The file in which every call of a training function leaves a line, its seed."""

SPACE = tuner.Space(learning_rate=tuner.log(1e-4, 0.5))


class Count:
    """All the state there is: how many steps were taken."""

    def __init__(self, ballast: int = 0) -> None:
        self.steps, self.ballast = 0, ballast

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "ballast": os.urandom(self.ballast)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def steady(run: tuner.Run, step_s: float = 0.02, ballast: int = 0) -> Any:
    """Trains step by step, and is not fooled about where it stands."""
    with Path(os.environ[CALLS]).open("a") as calls:
        calls.write(f"{run.seed}\n")
    count = Count(ballast)
    run.state(count)
    for step in run.steps(STEPS):
        if count.steps != step:
            raise RuntimeError(f"the state is of step {count.steps}, and this is step {step}")
        count.steps += 1
        time.sleep(step_s)
        run.report(score=step + run.params["learning_rate"])


def slow(run: tuner.Run) -> None:
    """The same, for two or three seconds."""
    steady(run, step_s=0.1)


def hangs_once(run: tuner.Run) -> None:
    """A step of the first trial that is never over, the first time that it is trained."""
    if once(run, "hung"):
        hangs_in_the_midst(run)
    steady(run)


def hangs_in_the_midst(run: tuner.Run) -> None:
    """Some steps, and one that is never over."""
    for step in run.steps(STEPS):
        time.sleep(3600.0 if step == HANGS_AFTER else 0.02)
        run.report(score=0.0)


def heavy(run: tuner.Run) -> None:
    """The same, with checkpoints of four megabytes."""
    steady(run, step_s=0.1, ballast=2**22)


def endless(run: tuner.Run) -> None:
    """Trains until it is told to stop."""
    with Path(os.environ[CALLS]).open("a") as calls:
        calls.write(f"{run.seed}\n")
    count = Count()
    run.state(count)
    for step in run.steps(1_000_000):
        if count.steps != step:
            raise RuntimeError(f"the state is of step {count.steps}, and this is step {step}")
        count.steps += 1
        time.sleep(0.02)
        run.report(score=step + run.params["learning_rate"])


# ── functions that do harm ───────────────────────────────────────────────────────────────────────────────────────────


def hangs_in_one(run: tuner.Run) -> None:
    """A step that is never over, in one trial."""
    if chosen(run):
        hangs_in_the_midst(run)
    steady(run)


def exits_in_one(run: tuner.Run) -> None:
    """One trial ends whatever process trains it."""
    if chosen(run):
        os._exit(3)
    steady(run)


def eats_memory_once(run: tuner.Run) -> None:
    """Eats memory until the kernel kills the process, where no more than so much is granted."""
    if once(run, "ate"):
        place = memory_limit()
        assert place is not None
        (place.parent / "cgroup.procs").write_text(str(os.getpid()))
        eaten = []
        while True:
            eaten.append(b"x" * 2**24)
    steady(run)


def memory_limit() -> Path | None:
    """A control group whose processes have little memory, by the file that says how much; None where none can be."""
    for home, name in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        place = Path(home) / "tuner-faults" / name
        with suppress(OSError):
            place.parent.mkdir(exist_ok=True)
            if place.exists():
                place.write_text(str(600 * 2**20))
                return place
            place.parent.rmdir()
    return None


def prints_much_once(run: tuner.Run) -> None:
    """Prints 100 MB."""
    if once(run, "printed"):
        for _ in range(1000):
            print("x" * 99_999)
    steady(run)


def leaves_children_once(run: tuner.Run) -> None:
    """Leaves children: some in its own group, some in sessions of their own, one that is a fork."""
    if once(run, "left"):
        for apart in (False, True):
            subprocess.Popen(["sleep", "3600"], start_new_session=apart)
        if os.fork() == 0:
            time.sleep(3600)
            os._exit(0)
    steady(run)


def removes_its_folder(run: tuner.Run) -> None:
    """Stands in a folder that is gone."""
    here = tempfile.mkdtemp()
    os.chdir(here)
    Path(here).rmdir()
    steady(run)


def closes_its_streams(run: tuner.Run) -> None:
    """Closes stdout and stderr, as Python has them and as the process has them."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.close()
        with suppress(OSError):
            os.close(number)
    steady(run)


def chosen(run: tuner.Run) -> bool:
    """Whether this is the one trial that was the first to come here, whoever trains it."""
    assert run.folder is not None
    place = run.folder.parent / "chosen"
    if once(run, "first"):
        place.write_text(str(run.seed))
    return place.exists() and place.read_text() == str(run.seed)


def once(run: tuner.Run, what: str) -> bool:
    """Whether this is the first training of the whole study to come here."""
    assert run.folder is not None
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        (run.folder.parent / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def keep_another_time(told: Path) -> None:
    """From now on the clock of this process is off by as many seconds as stand in a file."""
    right = time.time
    time.time = lambda: right() + float(told.read_text())


def main() -> int:
    """Sweeps as it is told to."""
    if CLOCK in os.environ:
        keep_another_time(Path(os.environ[CLOCK]))
    given = json.loads(sys.argv[1])
    train = given.pop("train")
    defaults = {
        "objective": "score",
        "sampler": "random",
        "stopping": "off",
        "progress": "off",
        "checkpoint_every_s": 0.1,
    }
    try:
        tuner.sweep(train if ":" in train else f"struck:{train}", SPACE, **{**defaults, **given}).close()
    except tuner.TunerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupted:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
