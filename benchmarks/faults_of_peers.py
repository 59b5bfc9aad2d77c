"""The faults that Optuna and Ray Tune can be given as well, and what becomes of them."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from injuries import HERE, Child, NotTried, Try, Unwell, kind, wait_until

PYTHON = "TUNER_FAULTS_PEERS"
"""The Python that has them."""
_TRIALS = 4


def _peer(one: Try, what: str) -> Child:
    python = os.environ.get(PYTHON)
    if python is None:
        raise NotTried("no --peers PYTHON was given")
    return one.start(python, "-W", "ignore", str(HERE / "peers_struck.py"), what, str(one.folder), str(_TRIALS))


def _lines(place: Path) -> list[dict[str, Any]]:
    """Whole lines of JSON."""
    text = place.read_text() if place.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]


def _answer(child: Child) -> dict[str, Any]:
    """What it printed last, once it has ended."""
    code = child.ended()
    found = [line for line in child.said.splitlines() if line.startswith("{")]
    if code or not found:
        raise Unwell(f"exit code {code}: {child.last_words}")
    answer: dict[str, Any] = json.loads(found[-1])
    return answer


def _kill_driver(one: Try, what: str) -> dict[str, Any]:
    """SIGKILL in the midst of the second trial, and the same once more."""
    first = _peer(one, what)
    wait_until(lambda: len(_lines(one.folder / "told.txt")) > 13 or first.process.poll() is not None, "nothing trained")
    one.a_moment(0.2)
    one.struck()
    first.send(signal.SIGKILL)
    first.ended()
    answer = _answer(_peer(one, what))
    one.well()
    return answer


@kind("peer_optuna_killed", "Optuna on SQLite: SIGKILL of the process, begun again", times=5)
def peer_optuna_killed(one: Try) -> None:
    states = _kill_driver(one, "optuna_sqlite")
    held = _answer(_peer(one, "optuna_held"))
    for told in _lines(one.folder / "told.txt"):
        if told["step"] not in held.get(str(told["trial"]), ()):
            one.found["lost"].append(f"step {told['step']} of trial {told['trial']} was told and is gone")
    one.said = f"trials afterwards: {states}"
    if states.get("RUNNING"):
        raise Unwell(f"{states['RUNNING']} trial is RUNNING for ever, and is never trained to its end")


@kind("peer_optuna_torn", "Optuna's journal: SIGKILL, the last line torn, begun again", times=5)
def peer_optuna_torn(one: Try) -> None:
    first = _peer(one, "optuna_journal")
    wait_until(lambda: len(_lines(one.folder / "told.txt")) > 13 or first.process.poll() is not None, "nothing trained")
    first.send(signal.SIGKILL)
    first.ended()
    journal = one.folder / "optuna.log"
    os.truncate(journal, journal.stat().st_size - one.moments.randint(2, 20))
    one.struck()
    one.said = f"trials afterwards: {_answer(_peer(one, 'optuna_journal'))}"
    one.said = f"and once more: {_answer(_peer(one, 'optuna_journal'))}"
    one.well()


@kind("peer_optuna_nan", "Optuna: every score is NaN", times=2)
def peer_optuna_nan(one: Try) -> None:
    one.struck()
    states = _answer(_peer(one, "optuna_nan"))
    one.well()
    one.said = f"trials afterwards: {states}"


@kind("peer_tune_killed", "Ray Tune: SIGKILL of the driver, restored", times=3)
def peer_tune_killed(one: Try) -> None:
    answer = _kill_driver(one, "ray_tune")
    held = Counter(
        (line["trial_id"], line["training_iteration"])
        for place in (one.folder / "tune" / "s").glob("*/result.json")
        for line in _lines(place)
    )
    trained = Counter(each["trial"] for each in _lines(one.folder / "calls.txt"))
    for told in _lines(one.folder / "told.txt"):
        if not held[told["trial"], told["step"] + 1]:
            one.found["lost"].append(f"step {told['step'] + 1} of trial {told['trial']} was told and is gone")
    again = [step for step, times in held.items() if times > 1]
    if again:
        one.found["doubled"].append(f"{len(again)} steps are on record twice")
    one.said = f"afterwards: {answer}; {sum(trained.values())} trainings of {len(trained)} trials"
    if answer["ended"] != _TRIALS:
        raise Unwell(one.said)


@kind("peer_tune_nan", "Ray Tune: every score is NaN", times=2)
def peer_tune_nan(one: Try) -> None:
    one.struck()
    child = _peer(one, "ray_tune_nan")
    answer = _answer(child)
    one.well()
    one.said = f"afterwards: {answer}"
