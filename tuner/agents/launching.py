"""Sweeps and confirmations begun for an agent: each a process of its own, which outlives whoever asked for it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.agents.allowance import LAUNCH, Allowance, has_begun, holder, read_launch, runs, share, spent, taken
from tuner.api.sweep import DEFAULT_TRIALS
from tuner.errors import StudyBusy, StudyError
from tuner.numbers import duration
from tuner.record.atomic import write_whole
from tuner.record.lease import born
from tuner.record.location import Place

_LOG = "launch.log"
_BEGINS_WITHIN_S, _ENDS_WITHIN_S = 60.0, 30.0
_LOOK_EVERY_S = 0.05


def launch_sweep(
    results: Path,
    allowance: Allowance,
    *,
    by: str,
    why: str,
    name: str,
    train: str | None,
    space: str,
    trials: int | None = None,
    budget_steps: int | None = None,
    parallel: int | None = None,
    home: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Begins a sweep within what is left, or goes on with it; what there is to know of it once it has begun.

    `train` None: programs ask for its trials.

    With a bound of steps or trials the sweep has one too, all that is left unless less was asked for: its coordinator
    never goes beyond. Asked for again while it runs, as after a lost connection, it is the one that runs.
    """
    place = Place.of(name, results, None)
    allowance.check_space(space)
    parallel = allowance.check_parallel(parallel)
    with _alone(results):
        asked = {"sweep": train, "by": by, "space": space, "trials": trials, "budget_steps": budget_steps, **options}
        if (there := _running(place, asked)) is not None:
            return there
        begun = taken(place.folder)
        left = _left_beside(results, allowance, by, name)
        trials = share(trials, left[0], begun[0], "trial")
        budget_steps = share(budget_steps, left[1], begun[1], "step")
        if trials is None and budget_steps is None:
            trials = DEFAULT_TRIALS
        words = {"space": space, "name": name, "trials": trials, "budget_steps": budget_steps, "parallel": parallel}
        command = [
            "sweep",
            *([] if train is None else [train]),
            *_words({**words, **options, "by": by, "why": why, "results": results}),
            "--no-plot",
        ]
        aside = {"by": by, "why": why, "asked": asked, "trials": trials, "steps": budget_steps}
        return _launch(place, command, aside, home)


def launch_confirm(
    results: Path,
    allowance: Allowance,
    *,
    by: str,
    why: str,
    name: str,
    top: int,
    repeats: int,
    whole: int | None,
    home: Path | None = None,
) -> dict[str, Any]:
    """Begins to train the best of a sweep again, where all of it fits into what is left; `whole` is one training."""
    place = Place.of(name, results, None)
    with _alone(results):
        asked = {"confirm": name, "by": by, "top": top, "repeats": repeats}
        if (there := _running(place, asked)) is not None:
            return there
        owner = read_launch(place.folder).get("by")
        bounded = allowance.trials is not None or allowance.steps is not None
        if bounded and owner != by:
            raise StudyError(f"{name} was begun by {owner or 'somebody else'}: with a budget you confirm your own.")
        if allowance.steps is not None and whole is None:
            raise StudyError(f"how long a training of {name} takes is not known yet, so it cannot be set aside.")
        begun = taken(place.folder)
        left = _left_beside(results, allowance, by, name)
        trials = share(begun[0] + top * repeats, left[0], begun[0], "trial")
        steps = None if whole is None else share(begun[1] + top * repeats * whole, left[1], begun[1], "step")
        command = ["confirm", name, *_words({"top": top, "repeats": repeats, "results": results})]
        return _launch(place, command, {"by": by, "why": why, "asked": asked, "trials": trials, "steps": steps}, home)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _left_beside(results: Path, allowance: Allowance, by: str, name: str) -> tuple[int | None, int | None]:
    """Trials and steps that one study may have in all."""
    trials, steps = spent(results, by, beside=name)
    return (
        None if allowance.trials is None else max(0, allowance.trials - trials),
        None if allowance.steps is None else max(0, allowance.steps - steps),
    )


def _running(place: Place, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was launched by the same words and runs; `StudyBusy` where somebody or something else runs the study.

    What has let go of the study and is about to end is waited for.
    """
    launched = read_launch(place.folder)
    pid = launched.get("pid")
    if pid is not None and launched.get("asked") == asked and runs(launched):
        _until_begun(place, pid, lambda: None if runs(launched) else 0)
        return _told(place, launched)
    gives_up = time.monotonic() + _ENDS_WITHIN_S
    while (there := holder(place.folder)) is not None or runs(launched):
        if there is not None or time.monotonic() > gives_up:
            raise StudyBusy(f"{place.name} runs already (pid {there or pid}): wait for it, or stop it first.")
        time.sleep(_LOOK_EVERY_S)
    return None


def _told(place: Place, launched: Mapping[str, Any]) -> dict[str, Any]:
    return {"study": place.name, **{word: launched[word] for word in ("pid", "trials", "steps")}}


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """One launch at a time in a results folder: what is left is counted, and set aside, at once."""
    results.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(results / ".launching", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _launch(place: Place, command: list[str], aside: Mapping[str, Any], home: Path | None) -> dict[str, Any]:
    """Starts the process, once its folder says what is set aside for it, and waits until it holds the study."""
    folder = place.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = {**aside, "at": time.time(), "pid": None, "born": ""}
    write_whole(folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
    with (folder / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=home,
            env={**os.environ, "TUNER_OUTPUT": "text"},
        )
    kept |= {"pid": process.pid, "born": born(process.pid)}
    write_whole(folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
    code = _until_begun(place, process.pid, process.poll)
    if code:
        told = (folder / _LOG).read_text(errors="replace").strip().splitlines()
        raise StudyError(f"{place.name} could not be begun: {told[-1] if told else f'it ended with exit code {code}'}")
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie if it ends before this one
    return _told(place, kept)


def _until_begun(place: Place, pid: int, poll: Callable[[], int | None]) -> int | None:
    """Waits until a process holds the study, or is over; its exit code then."""
    gives_up = time.monotonic() + _BEGINS_WITHIN_S
    while (code := poll()) is None and not (holder(place.folder) == pid and has_begun(place.folder)):
        if time.monotonic() > gives_up:
            log = place.folder / _LOG
            raise StudyError(f"{place.name} has not begun within {duration(_BEGINS_WITHIN_S)}; its log: {log}")
        time.sleep(_LOOK_EVERY_S)
    return code


def _words(options: Mapping[str, Any]) -> list[str]:
    """Options of the shell, those that are given; each in one word, so that no value is taken for an option."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value not in (None, "")]
