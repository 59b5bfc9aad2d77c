"""Faults by kind, and what every try is: a study of its own, what strikes it, and what is left of both afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from acknowledged import Fact, Follower, lost, trained_twice, twice_on_the_head, unsaid
from struck import CALLS, STEPS

HERE = Path(__file__).resolve().parent
PATIENCE_S = 300.0
_LOOKS_EVERY_S = 0.03
_LEAVES_WITHIN_S = 90.0  # Ray's agents look for their head for a minute
_MARK = "TUNER_FAULTS_TRY"
_SHARED = Path("/dev/shm")
_OF_RAY = {"ray", "_ray_lockfiles"}  # what Ray keeps of its sessions, and Ray Tune of what it locked, struck or not
Found = TypeVar("Found")


class Unwell(Exception):
    """What was struck did not recover; the message says in what way."""


class NotTried(Exception):
    """This machine does not allow such a fault; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one try, in which it may have struck several times."""

    tried: int
    recovered: int
    lost: Sequence[str] = ()
    doubled: Sequence[str] = ()
    unsaid: Sequence[str] = ()
    left: Sequence[str] = ()
    seconds: Sequence[float] = ()
    said: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of fault; `times` is how often it is tried unless told, `strikes` how often in one."""

    name: str
    what: str
    times: int
    strikes: int
    strike: Callable[[Try], None]
    around: Callable[[Path], contextlib.AbstractContextManager[Mapping[str, str]]] | None = None


KINDS: dict[str, Kind] = {}


def kind(
    name: str,
    what: str,
    *,
    times: int = 10,
    strikes: int = 1,
    around: Callable[[Path], contextlib.AbstractContextManager[Mapping[str, str]]] | None = None,
) -> Callable[[Callable[[Try], None]], Callable[[Try], None]]:
    """Declares a kind of fault by the function that tries it; `around` is held over all its tries."""

    def declared(strike: Callable[[Try], None]) -> Callable[[Try], None]:
        KINDS[name] = Kind(name, what, times, strikes, strike, around)
        return strike

    return declared


def wait_until(holds: Callable[[], Found], what: str, within_s: float = PATIENCE_S) -> Found:
    """Looks until it holds, and returns what was found; `Unwell` where it does not come to pass."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise Unwell(f"{what}: not within {within_s:g} s")
        time.sleep(_LOOKS_EVERY_S)
    return found


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of what is started for the sake of a folder: all that it starts bears its mark."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TMPDIR": str(temporary),
        CALLS: str(folder / "calls.txt"),
        _MARK: str(folder),
    }


@dataclass
class Child:
    """A process of a try; what it says goes to files."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, where it still lives."""
        self.process.send_signal(number)

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has one."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Unwell(f"it hung for {within_s:g} s: {self.last_words}") from None

    def ends_with(self, *codes: int, within_s: float = PATIENCE_S) -> str:
        """Waits for its end; `Unwell` where that is another or has a traceback; returns what it said last."""
        code = self.ended(within_s)
        if code not in codes:
            raise Unwell(f"exit code {code}: {self.last_words}")
        if "Traceback" in self.said:
            raise Unwell(f"a traceback was shown: {self.last_words}")
        return self.last_words

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        lines = [line for line in self.said.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


@dataclass
class Try:
    """One try of one kind: a study with a name, a seed and a folder of its own, and whoever reads it meanwhile."""

    folder: Path
    number: int
    moments: random.Random
    fixture: Mapping[str, str]
    name: str = "s"
    store: str | None = None
    said: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=lambda: {"lost": [], "doubled": [], "unsaid": []})
    _children: list[Child] = field(default_factory=list)
    _followers: list[Follower] = field(default_factory=list)
    _strikes: int = 0
    _struck: float | None = None
    _seconds: list[float] = field(default_factory=list)
    _shared: set[str] = field(default_factory=lambda: _shared_memory())

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def study_folder(self) -> Path:
        return self.results / self.name

    # ── what is begun ────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *command: str, **environment: str) -> Child:
        """A process that bears this try's mark, as all that it starts will."""
        log = self.folder / f"said-{len(self._children)}.txt"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**self.surroundings(), **environment},
                cwd=self.home,
                start_new_session=True,
            )
        child = Child(process, log)
        self._children.append(child)
        return child

    @property
    def home(self) -> Path:
        """Where all that a try starts stands: apart from what is written, since code from there goes to clusters."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return home

    def surroundings(self) -> dict[str, str]:
        """The environment of all that a try starts."""
        return {**surroundings(self.folder), CALLS: str(self.calls), **self.environment}

    @property
    def calls(self) -> Path:
        """Where training functions leave a line for each call: of a cluster, what its workers were told."""
        return Path(self.fixture.get("calls", self.folder / "calls.txt"))

    def sweep(self, train: str = "steady", *, through: Sequence[str] = (), **given: Any) -> Child:
        """A sweep in a process of its own; the same words again go on with it."""
        options = {
            "name": self.name,
            "seed": self.number,
            "trials": 3,
            "parallel": 2,
            "executor": "local",
            "results": str(self.results),
            "store": self.store,
            **given,
        }
        return self.start(*through, sys.executable, str(HERE / "struck.py"), json.dumps({"train": train, **options}))

    def follow(self) -> None:
        """Reads along from now on: what it reads is acknowledged."""
        self._followers.append(Follower(self.name, self.results, self.store))

    # ── what is watched ──────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def study(self) -> Iterator[Any]:
        """The study as it stands."""
        import tuner

        study = tuner.open(self.name, results=self.results, store=self.store)
        try:
            yield study
        finally:
            study.close()

    def once(self, holds: Callable[[Any], Found], what: str = "the study", within_s: float = PATIENCE_S) -> Found:
        """Looks at the study until something holds of it."""
        import tuner

        def look() -> Found | None:
            with suppress(tuner.TunerError), self.study() as study:
                return holds(study)
            return None

        found = wait_until(look, what, within_s)
        assert found is not None
        return found

    def under_way(self, steps: int = 5) -> None:
        """Waits until so many steps are on record."""
        self.once(lambda study: study.state.steps_done >= steps, "no step was trained")

    def a_moment(self, most_s: float) -> None:
        """Waits for a random while."""
        time.sleep(self.moments.uniform(0.0, most_s))

    def struck(self) -> None:
        """It strikes now."""
        self._strikes += 1
        self._struck = time.monotonic()

    def well(self) -> None:
        """What was struck is well again, or has ended as it should: now."""
        if self._struck is not None:
            self._seconds.append(time.monotonic() - self._struck)
        self._struck = None

    def trains_on(self) -> None:
        """Waits until a step more is on record than now."""
        with self.study() as study:
            before = study.state.steps_done
        self.once(
            lambda study: study.state.steps_done > before or study.state.counts.get("completed"), "it trains no more"
        )
        self.well()

    def completes(self, child: Child, trials: int = 3, steps: int = STEPS) -> None:
        """The sweep comes to its end by itself, with all its trials."""
        child.ends_with(0)
        with self.study() as study:
            states = [(trial.state, trial.steps, trial.why) for trial in study.state.trials]
        wrong = [each for each in states if each[:2] != ("completed", steps)]
        if wrong or len(states) != trials:
            raise Unwell(f"of {len(states)} trials, {trials} expected, these ended otherwise: {wrong[:3]}")
        self.well()

    # ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────

    def outcome(self, trouble: str = "", leaves_within_s: float = _LEAVES_WITHIN_S) -> Outcome:
        """Looks at everything once more, and leaves nothing behind."""
        self.look()
        left = self._left(leaves_within_s)
        tried = self._strikes if trouble else max(1, self._strikes)  # what went wrong before it struck was no try
        recovered = tried if not trouble else min(max(0, tried - 1), len(self._seconds))
        said, trouble = (text.replace(str(self.folder), "…") for text in (self.said, trouble))
        return Outcome(
            tried=tried, recovered=recovered, left=left, seconds=self._seconds, said=said, trouble=trouble, **self.found
        )

    def look(self) -> None:
        """Holds what was acknowledged against the record, and looks no more."""
        facts = self.forget()
        if not facts:
            return
        import tuner

        try:
            with self.study() as study:
                self.said = self.said or _reason(study)
                self.found["lost"] += lost(facts, study)
                self.found["doubled"] += [*trained_twice(self.calls, study), *twice_on_the_head(study)]
                self.found["unsaid"] += unsaid(study)
        except tuner.TunerError as error:
            self.found["lost"].append(f"the study cannot be read: {error}")

    def forget(self) -> list[Fact]:
        """Reads along no more; what was acknowledged so far."""
        for follower in self._followers:
            follower.close()
        facts = [fact for follower in self._followers for fact in follower.facts]
        self._followers.clear()
        return facts

    def _left(self, within_s: float) -> list[str]:
        """Processes, shared memory and temporary files that outlive the try; the processes are ended here."""
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(min(1.0, within_s))
        deadline = time.monotonic() + within_s
        while (living := self._living()) and time.monotonic() < deadline:
            time.sleep(0.2)
        found = [f"process {each.pid}: {_command(each)}" for each in living]
        for each in living:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(living, timeout=5.0)
        found += [f"shared memory {name}" for name in sorted(_unowned(_shared_memory() - self._shared))]
        temporary = self.folder / "tmp"
        files = [each for each in (temporary.iterdir() if temporary.is_dir() else ()) if each.name not in _OF_RAY]
        return found + [f"temporary file {each.name}" for each in files]

    def _living(self) -> list[psutil.Process]:
        return [each for pid in psutil.pids() if (each := _marked(pid, str(self.folder))) is not None]


def _reason(study: Any) -> str:
    """What the record says of the fault: why a segment was opened again, or why a trial ended."""
    again = [each.why for trial in study.state.trials for each in trial.segments if each.cause != "start"]
    ended = [trial.why for trial in study.state.trials if trial.ended and trial.state != "completed"]
    return next(iter(reversed([*again, *ended])), "")


def _marked(pid: int, mark: str) -> psutil.Process | None:
    with suppress(psutil.Error, OSError):
        found = psutil.Process(pid)
        if found.environ().get(_MARK) == mark and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())[-120:]
    return "?"


def _shared_memory() -> set[str]:
    return {each.name for each in _SHARED.iterdir()} if _SHARED.is_dir() else set()


def _unowned(names: set[str]) -> set[str]:
    """Those of Ray, Python or PyTorch that no living process has mapped or opened: others have some of their own."""
    names = {name for name in names if name.startswith(("plasma", "ray", "psm_", "torch_"))}
    if not names:
        return names
    owned = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            text = maps.read_text()
            owned |= {name for name in names if f"{_SHARED}/{name}" in text}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            opened = str(link.readlink())
            owned |= {name for name in names if opened.startswith(f"{_SHARED}/{name}")}
    return names - owned
