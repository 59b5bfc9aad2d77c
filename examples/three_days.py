"""Babysit one network for a few days, unattended: a script that does what the supervisor advises.

The days are short: each is a stretch of epochs, after which the run stands still and the script looks at it. Base
settings on day 1; a higher rate if it is slow; less momentum if it oscillates; back, if a change made it worse. One
change is nobody's advice but a person's hunch, so that there is something to go back from.

    python examples/three_days.py            # or: make panda-demo
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import tuner
from tuner.panda.supervisor import Advice

START = {"learning_rate": 0.002, "beta": 0.999, "epochs": 10_000}
HUNCH = {"learning_rate": 10.0}
SPACE = tuner.Space(learning_rate=tuner.log(1e-4, 100.0), beta=tuner.log_one_minus(0.9, 0.999))


def live(handle: tuner.RunHandle, epochs: int) -> None:
    """Trains for a day, however long it takes, and stands still."""
    done(handle, handle.step(epochs, timeout_s=0))


def done(handle: tuner.RunHandle, reply: tuner.Reply) -> None:
    """Waits until what is on record has taken effect; on a busy machine that may take a while."""
    with handle.study as study:
        while study.state.requests[reply.request].state in ("received", "accepted"):
            time.sleep(0.1)
            study.refresh()
            if study.state.trials[0].ended:
                break


def follow(handle: tuner.RunHandle, advice: Advice) -> str:
    """Does what is advised, with the supervisor's own words as the reason."""
    name, value = advice.statistic
    evidence = f"{name} {value:.4g}, threshold {advice.threshold:.4g}, steps {advice.window[0]} to {advice.window[1]}"
    done = []
    if advice.verb == "revert":
        done.append(str(handle.revert(step=advice.revert_step, why=advice.sentence)))
    if advice.verb in ("set", "revert") and advice.settings:
        done.append(str(handle.set(dict(advice.settings), why=advice.sentence, evidence=evidence)))
    return "; ".join(done) or "nothing to do"


def main() -> None:
    """Trains, looks, follows, and prints the logbook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--hunch-after", type=int, default=10, metavar="DAY")
    parser.add_argument("--epochs-a-day", type=int, default=40)
    parser.add_argument("--executor", choices=["ray", "local"], default="ray")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--name", default="panda-demo")
    asked = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way the run ends with this script
    try:
        handle = tuner.babysit(
            "tuner.workloads.digits:train",
            START,
            name=asked.name,
            objective="dev_accuracy",
            space=SPACE,
            executor=asked.executor,
            checkpoint_every_s=0.1,
            results=asked.results,
        )
        handle.on_wait = lambda sentence: print(sentence, file=sys.stderr)
        train(handle, asked.days, asked.hunch_after, asked.epochs_a_day)
    finally:
        end(asked.name, asked.results)
    with handle, handle.study as study:
        logbook = study.export("markdown")
        pictures = study.plot()
    print()
    print(logbook[0].read_text())
    print("the run as a picture:", ", ".join(str(picture) for picture in pictures))


def train(handle: tuner.RunHandle, days: int, hunch_after: int, epochs_a_day: int) -> None:
    """A day after another: trains, looks, follows; then stops the run."""
    for day in range(1, days + 1):
        live(handle, epochs_a_day)
        with handle.study as study:
            advice, best = study.advice()[0], study.best
            print(f"day {day}: {advice.sentence}")
            print(f"       {follow(handle, advice)}" + (f"; best so far {best.score:.4f}" if best else ""), flush=True)
        if day == hunch_after:
            print(f"       {handle.set(HUNCH, why='a hunch: it would learn faster still')}")
    handle.stop(why="the days are over")
    handle.wait().close()


def end(name: str, results: Path, within_s: float = 30.0) -> None:
    """Nothing that this script has started outlives it: a coordinator that will not stop is ended by its own pid."""
    with suppress(tuner.TunerError), tuner.attach(name, results=results) as handle, handle.study as study:
        deadline = time.monotonic() + within_s
        try:
            if study.coordinator(time.time()) is not None:
                handle.stop(why="the script that began it has ended", timeout_s=within_s)
            while study.coordinator(time.time()) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            if (holder := study.coordinator(time.time())) is not None:
                os.kill(holder[1], signal.SIGKILL)


if __name__ == "__main__":
    main()
