"""The answers of a verb: for people through rich, for programs as one JSON value alone on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click
from click.core import ParameterSource

from tuner.cli.exit_codes import DONE, FAILED, NOT_YET
from tuner.cli.streams import Unanswered, answering, remark, tell
from tuner.values.plain import json_of, shown_in_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tuner.api.answers import Reply
    from tuner.api.study import Study


def say(text: RenderableType) -> None:
    """Prints for people on stdout."""
    from tuner.views.terminal import HarmlessConsole

    with answering():
        HarmlessConsole(highlight=False, markup=False, emoji=False).print(text)


Piped: TypeAlias = Literal["json", "text"]
"""What a verb prints where stdout is no terminal and nobody says --json or --no-json."""


def json_by_itself(piped: Piped) -> bool:
    """Whether a verb answers in JSON unasked: into a pipe, or as the variable TUNER_OUTPUT says, json or text."""
    wanted = os.environ.get("TUNER_OUTPUT", "").strip().lower()
    if wanted in ("json", "text"):
        return wanted == "json"
    return piped == "json" and not sys.stdout.isatty()


def asked_for_json() -> bool:
    """Whether the JSON was asked for with --json."""
    return click.get_current_context().get_parameter_source("as_json") is not ParameterSource.DEFAULT


def say_json(value: Any) -> None:
    """Prints one JSON value on stdout."""
    tell(shown_in_json(json.dumps(json_of(value), indent=2, ensure_ascii=False)))


def say_refusal(sentence: str, code: str) -> None:
    """Prints for programs what speaks against a verb; for people it is told on stderr."""
    with contextlib.suppress(Unanswered):
        say_json({"error": {"code": code, "sentence": sentence}})


@contextlib.contextmanager
def stdout_kept(for_json: bool) -> Iterator[None]:
    """With `for_json`, whatever training prints meanwhile goes to stderr, also from other processes."""
    if not for_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def answer(name: str, reply: Reply, as_json: bool, *, later: bool = False) -> int:
    """Prints what became of a request; the exit code. `later`: it was not to take effect now."""
    if as_json:
        say_json({"name": name, "answer": format_reply(reply), **json_of(reply)})
    else:
        say(f"{name}: {format_reply(reply)}")
    if reply.pending:
        return DONE if later and reply.state == "accepted" else NOT_YET
    return DONE if reply.state == "applied" else FAILED


def waits(sentence: str) -> None:
    """Says on stderr what a verb waits for."""
    remark(sentence, "yellow")


def format_reply(reply: Reply) -> str:
    """What became of a request, in a line."""
    where = "" if reply.step is None or f"step {reply.step}" in reply.detail else f" at step {reply.step}"
    if reply.state == "applied":
        return f"{reply.detail or 'done'}{where}"
    if reply.pending:
        when = reply.detail or "it takes effect between two steps"
        return f"{reply.verb} {reply.state}{where}: on record, not yet applied: {when}"
    return f"{reply.verb} {reply.state}{where}" + (f": {reply.detail}" if reply.detail else "")


def study_as_json(study: Study) -> dict[str, Any]:
    """What `tuner show NAME` says, for programs."""
    from tuner.record.leaders import leaders
    from tuner.views import terminal as console

    state = study.state
    return {
        "name": state.name,
        "kind": state.kind,
        "objective": state.objective,
        "goal": state.goal,
        "function": state.function,
        "trials": len(state.trials),
        "ended": len(state.ended_order),
        "tried": console.tried(state),
        "states": {name: count for name, count in state.counts.items() if count},
        "best": None if study.best is None else {**json_of(study.best), **console.test_scores(study)},
        "recommended": study.recommended,
        "top": [
            {
                "trial": each.trial,
                "score": each.best_score,
                "spread": state.spread(each),
                "state": each.state,
                "params": each.settings,
            }
            for each in leaders(state, 10)
        ],
        "rounds": [{"round": each.round, "first_trial": each.first_trial, "why": each.why} for each in state.rounds],
        "folder": study.place.folder,
        **({"run": run_as_json(study)} if state.kind == "babysitting" and state.trials else {}),
    }


def run_as_json(study: Study) -> dict[str, Any]:
    """How a babysat run stands, for programs."""
    from tuner.views.activity import activity

    trial = study.state.trials[0]
    running = study.coordinator(time.time()) is not None
    return {
        "state": trial.state,
        "activity": activity(study.state, running=running),
        "why": trial.why,
        "delay": trial.delay,
        "step": trial.steps,
        "parent": trial.parent,
        "settings": trial.recipe.at(trial.steps),
        "schedules": {name: each.to_dict() for name, each in trial.recipe.schedules.items()},
        "segment": trial.head.segment if trial.segments else None,
        "segments": trial.segments,
        "checkpoints": study.state.kept(trial),
    }


def trial_as_json(study: Study, number: int) -> dict[str, Any]:
    """What `tuner show NAME/TRIAL` says, for programs."""
    curve, state = study.curve(number), study.state
    trial = state.trials[number]
    return {
        "name": study.name,
        "trial": number,
        "state": trial.state,
        "why": trial.why,
        "delay": trial.delay,
        "purpose": trial.purpose,
        "round": trial.round,
        "params": trial.settings,
        "score": trial.best_score,
        "spread": state.spread(trial),
        "best_step": trial.best_step,
        "steps": trial.steps,
        "seconds": trial.seconds,
        "node": trial.node,
        "segments": trial.segments,
        "curve": {"steps": list(curve.steps), "scores": list(curve.scores)},
        "checkpoints": state.kept(trial),
        "traceback": study.traceback(number),
    }
