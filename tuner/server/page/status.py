"""The words for how a study stands: being begun, at work, over, left by whoever coordinated it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tuner.record.lease import began_at
from tuner.values.numbers import count, duration
from tuner.views.activity import activity, delay

if TYPE_CHECKING:
    from tuner.record.reader import StudyReader
    from tuner.record.state import StudyState

Mood: TypeAlias = Literal["starting", "running", "waiting", "over", "lost"]
Tone: TypeAlias = Literal["busy", "well", "held", "ill", "plain"]
_TONES: Mapping[str, Tone] = {
    "starting": "busy",
    "running": "busy",
    "over": "well",
    "completed": "well",
    "waiting": "held",
    "paused": "held",
    "pruned": "held",
    "lost": "ill",
    "failed": "ill",
    "diverged": "ill",
}


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How a study stands: in a word, a colour and a sentence, and who coordinates it since when."""

    mood: Mood
    tone: Tone
    sentence: str
    coordinator: str

    @property
    def is_live(self) -> bool:
        """Whether somebody would answer a request soon."""
        return self.mood in ("starting", "running", "waiting")


def tone_of(state: str, *, has_score: bool = True) -> Tone:
    """What the dot beside a status says before its words are read: beside the state of a trial, or a study's mood.

    A sweep that is over and has no score, as where all its trials failed, is not well.
    """
    return "ill" if state == "over" and not has_score else _TONES.get(state, "plain")


def status_of(study: StudyReader, now: float) -> StudyStatus:
    """How the study stands at a moment, in Unix seconds."""
    holder = study.coordinator(now)
    told = "nobody" if holder is None else coordinator_of(*holder, now)
    state = study.state
    if state.kind == "babysitting" and state.trials:
        trial = state.trials[0]
        mood: Mood = "over" if trial.ended else "lost" if holder is None else "running"
        if holder is not None and trial.state in ("paused", "waiting"):
            mood = "waiting"
        sentence = activity(state, running=holder is not None)
        tone = tone_of(trial.state if trial.ended else mood)
        told = "nobody" if mood == "over" else told  # who still waits for a word leaves, and nothing says so
        return StudyStatus(mood=mood, tone=tone, sentence=f"{sentence[0].upper()}{sentence[1:]}.", coordinator=told)
    mood = mood_of_a_sweep(len(state.trials), _waiting(state), held=holder is not None)
    return StudyStatus(
        mood=mood,
        tone=tone_of(mood, has_score=state.best is not None),
        sentence=_of_a_sweep(state, holder is not None),
        coordinator=told,
    )


def coordinator_of(host: str, pid: int, now: float) -> str:
    """Who coordinates, and since when where that can be known."""
    since = began_at(host, pid)
    return f"pid {pid} on {host}" + ("" if since is None else f", for {duration(max(0.0, now - since))}")


def ago(at: float) -> str:
    """How long ago a moment was."""
    passed = time.time() - at
    return "just now" if passed < 1 else f"{duration(passed)} ago"


def _waiting(state: StudyState) -> int:
    """How many trials have yet to be trained; those that the stopping rule has set aside have not."""
    return sum(not trial.frozen for trial in state.live.values())


def mood_of_a_sweep(begun: int, waiting: int, *, held: bool) -> Mood:
    """How a sweep stands by how many trials have begun, and how many of them have yet to be trained."""
    if held:
        return "running" if begun else "starting"
    return "lost" if waiting or not begun else "over"


def _of_a_sweep(state: StudyState, held: bool) -> str:
    again = f"The same command as then takes it up: tuner sweep {state.function} --name {state.name} …"
    over, begun, waiting = len(state.ended_order), len(state.trials), _waiting(state)
    aside = len(state.live) - waiting
    if not begun:
        if held:
            return "It is being begun: no trial trains yet."
        return f"It was begun and has no trial, and nobody coordinates it. {again}"
    most = max(begun, state.options.get("trials") or 0)
    told = f"{over:,} of {count(most, 'trial')} over" + (f", {aside:,} set aside" if aside else "") + _failures(state)
    if held:
        waits = f"; {delay(state)}" if delay(state) else ""
        return f"{told}{f', {waiting:,} at work' if waiting else ''}{waits}."
    if waiting:
        return f"{told}. Nobody coordinates it, and {waiting:,} {'waits' if waiting == 1 else 'wait'}. {again}"
    told = f"Over: {count(begun, 'trial')}" + (f", {aside:,} of them set aside" if aside else "") + _failures(state)
    return f"{told}. The same command with more trials goes on: tuner sweep … --name {state.name}"


def _failures(state: StudyState) -> str:
    """How many trials failed, and why the last one did."""
    failed = [trial for trial in state.ended() if trial.state == "failed"]
    if not failed:
        return ""
    which = "trial" if len(failed) == 1 else "the last, trial"
    return f"; {len(failed):,} failed, {which} {failed[-1].trial}: {failed[-1].why.rstrip('.')}"
