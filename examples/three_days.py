"""Babysit one network for a few days, unattended: a script that does what the supervisor advises.

The days are short: each is a stretch of epochs, after which the run stands still and the script looks at it. Base
settings on day 1; a higher rate if it is slow; less momentum if it oscillates; back, if a change made it worse. One
change is nobody's advice but a person's hunch, so that there is something to go back from.

    python examples/three_days.py            # or: make panda-demo
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import tuner
from tuner.supervisor import Advice

START = {"learning_rate": 0.002, "beta": 0.999, "epochs": 10_000}
HUNCH = {"learning_rate": 10.0}
SPACE = tuner.Space(learning_rate=tuner.log(1e-4, 100.0), beta=tuner.log_one_minus(0.9, 0.999))


def live(handle: tuner.RunHandle, epochs: int) -> None:
    """Trains for a day, however long it takes, and stands still."""
    reply = handle.step(epochs)
    study = handle.study
    while study.state.requests[reply.request].state == "accepted":
        time.sleep(0.1)
        study.refresh()
    study.close()


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
    for day in range(1, asked.days + 1):
        live(handle, asked.epochs_a_day)
        study = handle.study
        advice = study.advice()[0]
        best = study.best
        print(f"day {day}: {advice.sentence}")
        print(f"       {follow(handle, advice)}" + (f"; best so far {best.score:.4f}" if best else ""), flush=True)
        study.close()
        if day == asked.hunch_after:
            print(f"       {handle.set(HUNCH, why='a hunch: it would learn faster still')}")
    handle.stop(why="the days are over")
    study = handle.wait()
    logbook = study.export("markdown")
    pictures = study.plot()
    print()
    print(logbook[0].read_text())
    print("the run as a picture:", ", ".join(str(picture) for picture in pictures))
    handle.close()


if __name__ == "__main__":
    main()
