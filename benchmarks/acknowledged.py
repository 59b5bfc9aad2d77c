"""What a reader was told of a study, and what of it the record has lost since, or holds twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

Fact: TypeAlias = Mapping[str, Any]
"""How a trial stood when somebody looked."""

_LOOKS_EVERY_S = 0.04
UNDER_WAY = ("waiting", "running", "paused", "lost")


def fact_of(trial: Any) -> dict[str, Any]:
    """How a trial stands, as JSON holds it."""
    return {
        "trial": trial.trial,
        "params": dict(trial.params),
        "state": trial.state,
        "steps": trial.steps,
        "segment": len(trial.segments) - 1,
        "best_score": trial.best_score,
        "best_step": trial.best_step,
    }


class Follower:
    """Reads a study again and again, as `tuner watch` does, and keeps every fact that it was told."""

    def __init__(self, name: str, results: Path, store: str | None = None) -> None:
        self.facts: list[Fact] = []
        self._name, self._results, self._store = name, results, store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        import tuner

        told: dict[int, Fact] = {}
        study = None
        while not self._over.wait(_LOOKS_EVERY_S):
            with suppress(tuner.TunerError, OSError):  # it is not there yet, or its database is away
                if study is None:
                    study = tuner.open(self._name, results=self._results, store=self._store)
                elif not study.refresh():
                    continue
                for trial in study.state.trials:
                    if (fact := fact_of(trial)) != told.get(trial.trial):
                        told[trial.trial] = fact
                        self.facts.append(fact)
        if study is not None:
            study.close()

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        self._thread.join()


def lost(shown: Sequence[Fact], study: Any) -> list[str]:
    """What was shown and is not on record."""
    found = []
    reached = study.reports.groupby(["trial", "segment"])["step"].max().to_dict()
    for fact in shown:
        number, segment = fact["trial"], fact["segment"]
        trials = study.state.trials
        if number >= len(trials) or segment >= len(trials[number].segments):
            found.append(f"trial {number}, segment {segment} was shown and is gone")
            continue
        trial = trials[number]
        if dict(trial.params) != fact["params"]:
            found.append(f"trial {number} was shown with {fact['params']}, on record it has {trial.params}")
        done = max(reached.get((number, segment), 0), trial.segments[segment].from_step) if segment >= 0 else 0
        if done < fact["steps"]:
            found.append(f"trial {number} was shown at step {fact['steps']}, its reports end at {done}")
        over = fact["state"] not in UNDER_WAY
        if over and any(getattr(trial, word) != fact[word] for word in ("state", "best_score", "best_step")):
            found.append(f"trial {number} was shown as {fact}, on record it is {trial.state}, {trial.best_score}")
    return found


def trained_twice(calls: Path, study: Any) -> list[str]:
    """Trials whose function was called more often than they have segments."""
    seeds = Counter(calls.read_text().split() if calls.exists() else [])
    return [
        f"trial {trial.trial} was trained {count} times, and has {len(trial.segments)} segments"
        for trial in study.state.trials
        if (count := seeds[str(trial.seed)]) > len(trial.segments)
    ]


def twice_on_the_head(study: Any) -> list[str]:
    """Steps that count more than once."""
    reports = study.reports
    counted = reports[reports["head"]]
    again = counted[counted.duplicated(["trial", "step", "name"])]
    return [
        f"step {step} of trial {trial} counts twice" for trial, step in zip(again["trial"], again["step"], strict=True)
    ]


def unsaid(study: Any) -> list[str]:
    """Ends without a word why."""
    ended = [trial for trial in study.state.trials if trial.ended and not trial.why]
    trials = [f"trial {trial.trial} is {trial.state}, and no reason is on record" for trial in ended]
    segments = study.segments
    again = segments[(segments["cause"] != "start") & (segments["why"].fillna("") == "")]
    return trials + [f"segment {each} has no reason" for each in again["segment"]]
