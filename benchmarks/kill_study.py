"""Kills the coordinator of a sweep at random moments and compares what comes out with the study nobody disturbed.

    python benchmarks/kill_study.py --kills 30 --seed 0
    python benchmarks/kill_study.py --kills 6 --executor ray --samplers random,coarse_to_fine

A child process runs the sweep and prints whatever it shows; this one ends it with SIGKILL, reads the study that is
left, and starts the same command again. The promises held:

* nothing that was shown is lost: every trial, state, score and report printed before a kill is on record after it;
* no trial is trained twice unless a segment says so: the training function notes its calls in a file;
* the settings are those of the undisturbed study; with one worker and an adaptive sampler the whole study is, bit for
  bit: settings, states, steps, scores, curves and rounds.

Prints one line a kill and a verdict; exit code 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

from acknowledged import fact_of, lost, trained_twice

HERE = Path(__file__).resolve().parent
CALLS, PACE = "KILL_STUDY_CALLS", "KILL_STUDY_STEP_S"
ADAPTIVE = "coarse_to_fine"
STEP_S = {"local": 0.005, "ray": 0.02}
# Three of four kills come within this many seconds of the first trial shown, the fourth while the sweep starts.
MOMENTS_S, STARTS_S = 0.7, {"local": 0.4, "ray": 10.0}
PATIENCE_S = 180.0


def train(run: Any) -> None:
    """The noisy bowl, slow enough to be killed in its midst; every call leaves a line in a file."""
    from tuner.workloads.bowl import NOISE, STEPS, Ball, _noise

    with Path(os.environ[CALLS]).open("a") as calls:
        calls.write(f"{run.seed}\n")
    ball = Ball()
    run.state(ball)
    for step in run.steps(STEPS):
        ball.roll(run.params["learning_rate"], run.params["beta"])
        time.sleep(float(os.environ[PACE]))
        loss = ball.height + NOISE * _noise(run.seed, step)
        run.report(loss=loss, score=exp(-loss))


# ── the child: one sweep, and a face that prints ────────────────────────────────────────────────


class Teller:
    """A face that prints every change of a trial as one line of JSON."""

    def __init__(self) -> None:
        self._told: dict[int, str] = {}

    def show(self, study: Any, status: Any) -> None:  # noqa: ARG002 - a face is also told how busy the workers are
        for trial in study.trials:
            line = json.dumps(fact_of(trial))
            if self._told.get(trial.trial) != line:
                self._told[trial.trial] = line
                print(line, flush=True)

    def close(self) -> None:
        """Nothing to put away."""


def run_sweep(results: Path, sampler: str, executor: Any, parallel: int, trials: int) -> None:
    # The slow imports come first, so that the moments of killing fall into the sweep.
    import optuna  # noqa: F401
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401

    import tuner
    from tuner import Space, log, log_one_minus

    space = Space(learning_rate=log(1e-4, 4.0), beta=log_one_minus(0.9, 0.999))
    print("begins", flush=True)
    tuner.sweep(
        "kill_study:train",
        space,
        name=sampler,
        objective="score",
        trials=trials,
        sampler=sampler,
        seed=3,
        stopping="auto" if parallel == 1 else "off",
        executor=executor,
        parallel=parallel,
        checkpoint_every_s=0.03,
        results=results,
        progress=Teller(),
        address="local" if executor == "ray" else None,
    ).close()


# ── the parent: what was shown, what is on record ───────────────────────────────────────────────


@dataclass
class Child:
    """A running sweep, and what it has shown so far."""

    process: subprocess.Popen[str]
    errors: Path
    shown: list[dict[str, Any]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    shows: threading.Event = field(default_factory=threading.Event)
    heard: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, folder: Path, sampler: str, executor: str, *options: str) -> Child:
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            __file__,
            "--child",
            str(folder),
            "--samplers",
            sampler,
            "--executor",
            executor,
            *options,
        ]
        errors = folder / "errors.txt"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=HERE,
                env={**os.environ, CALLS: str(folder / "calls.txt"), PACE: str(STEP_S[executor])},
            )
        child = cls(process, errors)
        threading.Thread(target=child._listen, daemon=True).start()
        return child

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.begun.set()
            if line.startswith("{") and line.endswith("}\n"):  # a line torn by the kill was never shown
                self.shown.append(json.loads(line))
                self.shows.set()
        self.begun.set()
        self.shows.set()
        self.heard.set()

    def kill(self, moment: threading.Event, after_s: float) -> bool:
        """SIGKILL so long after a moment; False where it had ended by then."""
        moment.wait(PATIENCE_S)
        time.sleep(after_s)
        alive = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self.heard.wait(5.0)
        return alive

    def wait(self) -> list[str]:
        """Lets it finish; returns what went wrong."""
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return [f"the sweep hung for {PATIENCE_S:g} s; shown last: {self.shown[-1:]}"]
        self.heard.wait(5.0)
        last_words = " | ".join(self.errors.read_text().strip().splitlines()[-3:])
        return [] if code == 0 else [f"the sweep ended with {code}: {last_words}"]


def differences(study: Any, undisturbed: Any, *, whole: bool) -> list[str]:
    """Where two studies differ: in settings alone, or in anything but times."""
    ours, theirs = study.state, undisturbed.state
    words = ("params", "seed", "round", "state", "steps", "best_score", "best_step") if whole else ("params", "seed")
    found = [
        f"trial {one.trial}: {word} is {getattr(one, word)!r}, undisturbed {getattr(other, word)!r}"
        for one, other in zip(ours.trials, theirs.trials, strict=False)
        for word in words
        if getattr(one, word) != getattr(other, word)
    ]
    if len(ours.trials) != len(theirs.trials):
        found.append(f"{len(ours.trials)} trials, undisturbed {len(theirs.trials)}")
    if whole and ours.rounds != theirs.rounds:
        found.append("the rounds differ")
    if whole and ours.ended_order != theirs.ended_order:
        found.append("the trials ended in another order")
    if whole and not _head(study).equals(_head(undisturbed)):
        found.append("the curves differ")
    return found


def _head(study: Any) -> Any:
    reports = study.reports.query("head")[["trial", "step", "name", "value"]].astype({"name": str})
    return reports.sort_values(["trial", "step", "name"], ignore_index=True)


# ── one study ───────────────────────────────────────────────────────────────────────────────────


def torment(folder: Path, sampler: str, kills: int, moments: random.Random, executor: str, trials: int) -> list[str]:
    """A study killed `kills` times and finished, against the same study undisturbed; returns every broken promise."""
    import tuner

    whole = sampler == ADAPTIVE
    options = (executor, "--trials", str(trials), "--parallel", "1" if whole else "2")
    quiet, disturbed = folder / "undisturbed", folder / "disturbed"
    broken: list[str] = []
    shown: list[dict[str, Any]] = []
    done = 0
    while done < kills:
        child = Child.start(disturbed, sampler, *options)
        starting = moments.random() < 0.25
        after_s = moments.uniform(0.0, STARTS_S[executor] if starting else MOMENTS_S)
        if not child.kill(child.begun if starting else child.shows, after_s):
            break
        done += 1
        shown += child.shown
        try:
            study = tuner.open(sampler, results=disturbed)
        except tuner.TunerError as error:
            complaints = [f"a study that was shown cannot be read: {error}"] if shown else []
            told = "nothing was on record yet"
        else:
            complaints = lost(shown, study) + trained_twice(disturbed / "calls.txt", study)
            told = _told(study)
            study.close()
        broken += complaints
        verdict = f"BROKEN: {complaints[0]}" if complaints else "nothing shown is lost"
        moment = f"{'start' if starting else 'first trial'} + {after_s:.2f} s"
        print(f"kill {done:2d}, {sampler:14} {moment:20}: {told}; {verdict}", flush=True)
    for where in (disturbed, quiet):
        last = Child.start(where, sampler, *options)
        broken += last.wait()
        shown += last.shown if where is disturbed else []
    study, undisturbed = (tuner.open(sampler, results=each) for each in (disturbed, quiet))
    found = differences(study, undisturbed, whole=whole)
    broken += lost(shown, study) + trained_twice(disturbed / "calls.txt", study) + found
    segments = [segment for trial in study.state.trials for segment in trial.segments if segment.cause != "start"]
    resumed = sum(segment.from_step > 0 for segment in segments)
    equal = "the whole study is equal, bit for bit" if whole else "all settings are equal"
    print(
        f"{sampler}: {done} of {kills} kills, {len(segments)} trials taken up again, {resumed} from a checkpoint; "
        f"{f'DIFFERENT: {found[0]}' if found else equal}",
        flush=True,
    )
    study.close()
    undisturbed.close()
    return broken


def _told(study: Any) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in study.state.counts.items() if count)
    return f"{len(study.state.trials)} trials ({counts})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="over all samplers together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    parser.add_argument("--samplers", default=f"random,sobol,{ADAPTIVE}")
    parser.add_argument("--trials", type=int, default=40, help="of each study, of 20 steps each")
    parser.add_argument("--parallel", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        run_sweep(given.child, given.samplers, given.executor, given.parallel, given.trials)
        return 0
    samplers = given.samplers.split(",")
    began, broken = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for place, sampler in enumerate(samplers):
            share = given.kills // len(samplers) + (place < given.kills % len(samplers))
            moments = random.Random(f"{given.seed} {sampler}")
            broken += torment(Path(folder) / sampler, sampler, share, moments, given.executor, given.trials)
    for complaint in broken:
        print(f"BROKEN: {complaint}")
    verdict = f"{len(broken)} promises broken" if broken else "every promise held"
    print(f"{given.kills} kills, executor {given.executor}, {time.monotonic() - began:.0f} s: {verdict}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
