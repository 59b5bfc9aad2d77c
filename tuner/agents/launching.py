"""Studies begun for somebody else, such as an agent: each a process of its own, which outlives whoever asked for it.

What is refused leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tuner.agents.allowance import (
    LAUNCH,
    Allowance,
    OverBudget,
    database_of,
    has_begun,
    holder,
    read_launch,
    runs,
    share,
    spent,
    taken,
)
from tuner.api.sweep import DEFAULT_TRIALS
from tuner.errors import StudyBusy, StudyError, TunerError
from tuner.numbers import duration
from tuner.record.atomic import write_whole
from tuner.record.lease import born
from tuner.record.location import Place
from tuner.record.store import Store

_LOG, _SPACE = "launch.log", "space.toml"
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
    written: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Begins a sweep within what is left, or goes on with it; what there is to know of it once it has begun.

    `train` None: programs ask for its trials. `written` is the space as TOML where it has no name.

    With a bound of steps or trials the sweep has one too, all that is left unless less was asked for: its coordinator
    never goes beyond. Asked for again while it runs, as after a lost connection, it is the one that runs.
    """
    place = Place.of(name, results, None)
    allowance.check_space(space)
    parallel = allowance.check_parallel(parallel)
    with _alone(results):
        bounds = {"trials": trials, "budget_steps": budget_steps}
        asked = {"sweep": train, "by": by, "space": written or space, **bounds, **options}
        if (there := _running(place, asked)) is not None:
            return there
        begun = taken(place.folder)
        left = _left_beside(results, allowance, by, name)
        trials = share(trials, left[0], begun[0], "trial")
        budget_steps = share(budget_steps, left[1], begun[1], "step")
        if trials is None and budget_steps is None:
            trials = DEFAULT_TRIALS
        file = place.folder / _SPACE
        bounds = {"trials": trials, "budget_steps": budget_steps, "parallel": parallel}
        words = {"space": str(file) if written else space, "name": name, **bounds}
        command = [
            "sweep",
            *([] if train is None else [train]),
            *_words({**words, **options, "by": by, "why": why, "results": results}),
            "--no-plot",
        ]
        aside = {"by": by, "why": why, "asked": asked, "trials": trials, "steps": budget_steps}
        with _undone_if_refused(place):
            if written:
                write_whole(file, written.encode(), mode=0o600)
            return _launch(place, command, aside, home)


def launch_run(
    place: Place, allowance: Allowance, *, by: str, why: str, home: Path, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Begins a babysat run, or takes it up where nobody coordinates it; what there is to know of it then.

    `given` is what `tuner.babysit` takes, the space as `Space.to_dict` has it. How long a run trains is not known
    before, so with a bound of steps none is begun.
    """
    results = place.folder.parent
    with _alone(results):
        if (pid := holder(place.folder)) is not None and has_begun(place.folder):
            return _told(place, {"pid": pid, "trials": 1, "steps": None})
        begun = taken(place.folder)
        if not begun[0]:
            _check_steps_unbound(allowance)
        share(1, _left_beside(results, allowance, by, place.name)[0], 0, "trial")
        aside = {"by": by, "why": why, "asked": {"babysit": place.name}, "trials": 1, "steps": None}
        with _undone_if_refused(place):
            place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            pid = _begun_run(place, {**given, "name": place.name, "results": str(results), "by": by, "why": why}, home)
            if not begun[0]:  # whoever takes up what another has begun does not pay for it
                kept = {**aside, "at": time.time(), "pid": pid, "born": "" if pid is None else born(pid)}
                write_whole(place.folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
            return _told(place, {"pid": pid, "trials": 1, "steps": None})


def launch_branch(
    results: Path, allowance: Allowance, *, by: str, why: str, asked: Mapping[str, Any], begin: Callable[[], str]
) -> str:
    """Begins a run from a checkpoint of another study, where what is left has room for one; its name.

    `begin` does it, and again only attaches to it; `asked` is what it was asked by, and asked again it is not paid for
    again.
    """
    if allowance.trials is None and allowance.steps is None:
        return begin()
    with _alone(results):
        if any(read_launch(each.parent).get("asked") == asked for each in results.glob(f"*/{LAUNCH}")):
            return begin()
        _check_steps_unbound(allowance)
        share(1, _left_beside(results, allowance, by, "")[0], 0, "trial")
        name = begin()
        pid = holder(results / name)
        kept = {"by": by, "why": why, "asked": asked, "trials": 1, "steps": None, "at": time.time(), "pid": pid}
        born_at = "" if pid is None else born(pid)
        write_whole(results / name / LAUNCH, json.dumps({**kept, "born": born_at}, indent=1).encode(), mode=0o600)
        return name


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
        with _undone_if_refused(place):
            aside = {"by": by, "why": why, "asked": asked, "trials": trials, "steps": steps}
            return _launch(place, command, aside, home)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _check_steps_unbound(allowance: Allowance) -> None:
    if allowance.steps is not None:
        raise OverBudget(
            "how many steps a run trains is not known before, so they cannot be set aside from your budget. Sweep "
            "with budget_steps, or ask a person to begin the run."
        )


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
def _undone_if_refused(place: Place) -> Iterator[None]:
    """Leaves the study's folder as it was, or none, where its process was refused before it had begun anything."""
    folder, was_there = place.folder, place.folder.exists()
    before = {name: _content(folder / name) for name in (LAUNCH, _SPACE)}
    place_in_record = _sequence(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except Exception:
        if holder(folder) is None and _sequence(folder) == place_in_record and not runs(read_launch(folder)):
            if not was_there:
                shutil.rmtree(folder, ignore_errors=True)
            for name, content in before.items() if was_there else ():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    write_whole(folder / name, content, mode=0o600)
        raise


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _sequence(folder: Path) -> int:
    """How far the record of a study goes; 0 where there is none."""
    try:
        with closing(Store.open(database_of(folder), idle="closed")) as store:
            return store.version()
    except TunerError:
        return 0


def _begun_run(place: Place, given: Mapping[str, Any], home: Path) -> int | None:
    """The pid of the coordinator that a process has started; None where the run is over already.

    That process imports the function, in this one's place.
    """
    with (place.folder / _LOG).open("ab") as log:
        found = subprocess.run(
            [sys.executable, "-m", "tuner.agents.babysitting"],
            input=json.dumps(given).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=home,
            check=False,
        )
    try:
        told = json.loads(found.stdout)
    except ValueError:
        told = {"code": "study", "why": f"{place.name} could not be begun: {_last_words(place, found.returncode)}"}
    if "pid" not in told:
        raise StudyError(str(told["why"]), code=str(told["code"]))
    return None if told["pid"] is None else int(told["pid"])


def _last_words(place: Place, code: int) -> str:
    """What a process said last."""
    told = (place.folder / _LOG).read_text(errors="replace").strip().splitlines()
    return told[-1] if told else f"it ended with exit code {code}"


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
        raise StudyError(f"{place.name} could not be begun: {_last_words(place, code)}")
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
    given = {name: value for name, value in options.items() if value not in (None, "")}
    spans = {name: f"{value:.6f}s" for name, value in given.items() if name.endswith("_s")}
    return [f"--{name.removesuffix('_s').replace('_', '-')}={spans.get(name, value)}" for name, value in given.items()]
