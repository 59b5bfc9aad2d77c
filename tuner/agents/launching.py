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
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tuner.agents.allowance import (
    LAUNCH,
    Allowance,
    OverBudget,
    Remainder,
    has_begun,
    holder,
    read_launch,
    runs,
    share,
    taken,
)
from tuner.agents.shell_words import made_ready, shell_words
from tuner.api.environment import as_recorded, kept_out
from tuner.api.fork import branch_of
from tuner.api.sweep import DEFAULT_TRIALS
from tuner.errors import IdentityMismatch, StudyBusy, StudyError, TunerError, format_error, quoted
from tuner.record.asides import Aside, asides, beginner, set_aside, take_back
from tuner.record.atomic import write_whole
from tuner.record.events import StudyOpened
from tuner.record.lease import born
from tuner.record.location import POINTER, Place, team_url
from tuner.record.printed import last_line
from tuner.record.store import Store
from tuner.values.numbers import duration
from tuner.values.plain import clean

_LOG, _SPACE = "launch.log", "space.json"
_BEGINS_WITHIN_S, _ENDS_WITHIN_S = 60.0, 30.0
_RUN_BEGINS_WITHIN_S = 120.0  # its function is imported first, which may take as long as a sweep's to begin
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
    store: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Begins a sweep within what is left, or goes on with it; what there is to know of it once it has begun.

    `train` None: programs ask for its trials. `written` is the space as JSON where it has no name. `store` is the
    team's database that the record is to lie in; None: its own folder. Secrets in `runtime_env` travel to the process
    in its environment, and are written down nowhere.

    With a bound of steps or trials the sweep has one too, all that is left unless less was asked for: its coordinator
    never goes beyond. Asked for again while it runs, as after a lost connection, it is the one that runs.
    """
    place = Place.of(name, results, store)
    allowance.check_space(space)
    parallel = allowance.check_parallel(parallel)
    with _alone(results):
        bounds = {"trials": trials, "budget_steps": budget_steps}
        asked = {"sweep": train, "by": by, "space": written or space, **bounds, **options}
        if runtime_env is not None:
            asked["runtime_env"] = as_recorded(runtime_env)
        if (there := _running(place, asked)) is not None:
            return there
        begun, file = taken(place), place.folder / _SPACE

        def wanted(left: Remainder) -> Aside:
            most = share(trials, left.trials, begun[0], "trial")
            steps = share(budget_steps, left.steps, begun[1], "step")
            return Aside(trials=DEFAULT_TRIALS if most is None and steps is None else most, steps=steps)

        with _undone_if_refused(place, by, store):
            aside = _set_aside(place, allowance, by, store, wanted)
            bounds = {"trials": aside.trials, "budget_steps": aside.steps, "parallel": parallel}
            words = {"space": str(file) if written else space, "name": name, **bounds}
            command = [
                "sweep",
                *([] if train is None else [train]),
                *shell_words({**words, **options, "by": by, "why": clean(why), "results": results}),
                *made_ready(runtime_env),
                "--no-plot",
            ]
            if written:
                write_whole(file, written.encode(), mode=0o600)
            kept = {"by": by, "why": why, "asked": asked, "trials": aside.trials, "steps": aside.steps}
            return _launch(place, command, kept, home, kept_out(runtime_env))


def launch_run(
    place: Place,
    allowance: Allowance,
    *,
    by: str,
    why: str,
    home: Path | None,
    given: Mapping[str, Any],
    store: str | None = None,
) -> dict[str, Any]:
    """Begins a babysat run, or takes it up where nobody coordinates it; what there is to know of it then.

    `given` is what `tuner.babysit` takes, the space as `Space.to_dict` has it. How long a run trains is not known
    before, so with a bound of steps none is begun.
    """
    results = place.folder.parent
    with _alone(results):
        if (pid := holder(place)) is not None and has_begun(place):
            _check_same_run(place, given)
            return _told(place, {"pid": pid, "trials": 1, "steps": None})
        begun = taken(place)
        if not begun[0]:
            _check_steps_unbound(allowance)
        aside = {"by": by, "why": why, "asked": {"babysit": place.name}, "trials": 1, "steps": None}
        with _undone_if_refused(place, by, store):
            if begun[0]:
                _one_more(allowance.left(results, by, store, beside=place.name))
            else:
                _set_aside(place, allowance, by, store, _one_more)
            pid = _begun_run(place, {**given, "name": place.name, "results": str(results), "by": by, "why": why}, home)
            if not begun[0]:  # whoever takes up what another has begun does not pay for it
                kept = {**aside, "at": time.time(), "pid": pid, "born": "" if pid is None else born(pid)}
                write_whole(place.folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
            return _told(place, {"pid": pid, "trials": 1, "steps": None})


def launch_branch(
    results: Path,
    allowance: Allowance,
    *,
    by: str,
    why: str,
    asked: Mapping[str, Any],
    parent: Place,
    begin: Callable[[], str],
    store: str | None = None,
) -> str:
    """Begins a run from a checkpoint of another study, the `parent`, where what is left has room for one; its name.

    `begin` does it, and again only attaches to it; `asked` is what it was asked by, and asked again it is not paid for
    again.
    """
    if allowance.trials is None and allowance.steps is None:
        return begin()
    with _alone(results):
        here = any(read_launch(each.parent).get("asked") == asked for each in results.glob(f"*/{LAUNCH}"))
        if here or branch_of(parent, str(asked.get("request", ""))):  # by a service with another folder
            return begin()
        _check_steps_unbound(allowance)
        with _set_aside_for_a_branch(results, allowance, by, store) as goes_to:
            goes_to(name := begin())
        pid = holder(Place.of(name, results, None))
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
    store: str | None = None,
) -> dict[str, Any]:
    """Begins to train the best of a sweep again, where all of it fits into what is left; `whole` is one training."""
    place = Place.of(name, results, store)
    with _alone(results):
        if (there := _running(place, asked := {"confirm": name, "by": by, "top": top, "repeats": repeats})) is not None:
            return there
        owner = read_launch(place.folder).get("by") or (None if store is None else beginner(team_url(store), name))
        bounded = allowance.trials is not None or allowance.steps is not None
        if bounded and owner != by:
            raise StudyError(f"{name} was begun by {owner or 'somebody else'}: with a budget you confirm your own.")
        if allowance.steps is not None and whole is None:
            raise StudyError(f"how long a training of {name} takes is not known yet, so it cannot be set aside.")
        begun, more = taken(place), top * repeats

        def wanted(left: Remainder) -> Aside:
            trials = share(begun[0] + more, left.trials, begun[0], "trial")
            steps = None if whole is None else share(begun[1] + more * whole, left.steps, begun[1], "step")
            return Aside(trials=trials, steps=steps)

        command = ["confirm", name, *shell_words({"top": top, "repeats": repeats, "results": results})]
        with _undone_if_refused(place, by, store):
            aside = _set_aside(place, allowance, by, store, wanted)
            kept = {"by": by, "why": why, "asked": asked, "trials": aside.trials, "steps": aside.steps}
            return _launch(place, command, kept, home)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _check_same_run(place: Place, given: Mapping[str, Any]) -> None:
    """Refuses another run under the name of one that trains; `given` may leave settings to it."""
    with closing(Store.open(place.existing(), idle="closed")) as store:
        opened = next(iter(store.read(StudyOpened)))
    there = {**opened.identity, "train": opened.function, "kind": opened.kind}
    asked = {
        "kind": "babysitting",
        **{word: given[word] for word in ("train", "objective", "goal", "seed") if word in given},
    }
    for word, wanted in asked.items():
        if there[word] != wanted:
            raise IdentityMismatch(
                f"{place.name} runs already, with another {word}: it has {quoted(there[word])}, this has "
                f"{quoted(wanted)}. Choose another name, or send the same."
            )


def _check_steps_unbound(allowance: Allowance) -> None:
    if allowance.steps is not None:
        raise OverBudget(
            "how many steps a run trains is not known before, so they cannot be set aside from your budget. Sweep "
            "with budget_steps, or ask a person to begin the run."
        )


def _set_aside(
    place: Place, allowance: Allowance, by: str, store: str | None, wanted: Callable[[Remainder], Aside]
) -> Aside:
    """What a study is given of what is left, as `wanted` has it; known to every service that shares a database.

    Where another one sets something aside meanwhile, what is left is counted anew.
    """
    while True:
        seen = 0 if store is None else asides(team_url(store), by).number
        aside = wanted(allowance.left(place.folder.parent, by, store, beside=place.name))
        if store is None or set_aside(team_url(store), by, place.name, aside, seen=seen):
            return aside


@contextmanager
def _set_aside_for_a_branch(
    results: Path, allowance: Allowance, by: str, store: str | None
) -> Iterator[Callable[[str], None]]:
    """Sets aside one trial for what gets its name from whoever begins it, and hands out what it is then told to."""
    for_now = Place.of(f"branch-{uuid.uuid4().hex}", results, store)
    aside = _set_aside(for_now, allowance, by, store, _one_more)

    def goes_to(name: str) -> None:
        if store is not None:
            set_aside(team_url(store), by, name, aside)

    try:
        yield goes_to
    finally:
        if store is not None:
            take_back(team_url(store), by, for_now.name)


def _one_more(left: Remainder) -> Aside:
    return Aside(trials=share(1, left.trials, 0, "trial"), steps=None)


def _running(place: Place, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was launched by the same words and runs; `StudyBusy` where somebody or something else runs the study.

    What has let go of the study and is about to end is waited for: it trains no more.
    """
    launched = read_launch(place.folder)
    pid = launched.get("pid")
    if pid is not None and launched.get("asked") == asked and runs(launched):
        ended = _until_begun(place, pid, lambda: None if runs(launched) else 0)
        if ended is None:
            return _told(place, launched)
    gives_up = time.monotonic() + _ENDS_WITHIN_S
    while (there := holder(place)) is not None or runs(launched):
        if there is not None or time.monotonic() > gives_up:
            raise StudyBusy(f"{place.name} runs already (pid {there or pid}): wait for it, or stop it first.")
        time.sleep(_LOOK_EVERY_S)
    return None


def _told(place: Place, launched: Mapping[str, Any]) -> dict[str, Any]:
    return {"study": place.name, **{word: launched[word] for word in ("pid", "trials", "steps")}}


@contextmanager
def _undone_if_refused(place: Place, by: str, store: str | None) -> Iterator[None]:
    """Leaves the study's folder as it was, or none, where its process was refused before it had begun anything.

    What was set aside for it is as it was, too.
    """
    folder, was_there = place.folder, place.folder.exists()
    aside = None if store is None else asides(team_url(store), by).studies.get(place.name)
    before = {name: _content(folder / name) for name in (LAUNCH, _SPACE, POINTER)}
    place_in_record = _sequence(place)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.point()  # its process finds the record by the folder
        yield
    except Exception:
        if holder(place) is None and _sequence(place) == place_in_record and not runs(read_launch(folder)):
            if not was_there:
                shutil.rmtree(folder, ignore_errors=True)
            for name, content in before.items() if was_there else ():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    write_whole(folder / name, content, mode=0o600)
            if store is not None and aside is not None:
                set_aside(team_url(store), by, place.name, aside)
            elif store is not None:
                take_back(team_url(store), by, place.name)
        raise


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _sequence(place: Place) -> int:
    """How far the record of a study goes; 0 where there is none."""
    try:
        with closing(Store.open(place.existing(), idle="closed")) as store:
            return store.version()
    except TunerError:
        return 0


def _begun_run(place: Place, given: Mapping[str, Any], home: Path | None) -> int | None:
    """The pid of the coordinator that a process has started; None where the run is over already.

    That process imports the function, in this one's place.
    """
    with (place.folder / _LOG).open("ab") as log:
        try:
            found = subprocess.run(
                [sys.executable, "-m", "tuner.agents.babysitting"],
                input=json.dumps(given).encode(),
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home,
                env=_environment(place),
                check=False,
                timeout=_RUN_BEGINS_WITHIN_S,
            )
        except subprocess.TimeoutExpired:  # it is ended: whoever begins another study would wait for it
            raise StudyError(
                f"{place.name} has not begun within {duration(_RUN_BEGINS_WITHIN_S)}: importing {given['train']} takes "
                "longer, or never ends. Let its module do nothing but define what it holds."
            ) from None
    try:
        told = json.loads(found.stdout)
    except ValueError:
        last = last_line(place.folder / _LOG, f"it ended with exit code {found.returncode}")
        told = {"code": "study", "why": f"{place.name} could not be begun: {last}"}
    if "pid" not in told:
        raise StudyError(str(told["why"]), code=str(told["code"]))
    return None if told["pid"] is None else int(told["pid"])


def _environment(place: Place) -> dict[str, str]:
    """What a process inherits that coordinates a study: not which database others mean, but where its record lies."""
    return {**{word: text for word, text in os.environ.items() if word != "TUNER_STORE"}, **place.environment}


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


def _launch(
    place: Place,
    command: list[str],
    aside: Mapping[str, Any],
    home: Path | None,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Starts the process, once its folder says what is set aside for it, and waits until it holds the study."""
    folder = place.folder
    kept = {**aside, "at": time.time(), "pid": None, "born": ""}
    write_whole(folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
    with (folder / _LOG).open("ab") as log:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "tuner", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=home,
                env={**_environment(place), "TUNER_OUTPUT": "text", **(secrets or {})},
            )
        except (OSError, ValueError) as error:  # words that no command line holds, or more of them than it does
            raise StudyError(f"{place.name} could not be begun: {format_error(error)}.") from None
    kept |= {"pid": process.pid, "born": born(process.pid)}
    write_whole(folder / LAUNCH, json.dumps(kept, indent=1).encode(), mode=0o600)
    code = _until_begun(place, process.pid, process.poll)
    if code:
        last = last_line(folder / _LOG, f"it ended with exit code {code}")
        raise StudyError(f"{place.name} could not be begun: {last}")
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie if it ends before this one
    return _told(place, kept)


def _until_begun(place: Place, pid: int, poll: Callable[[], int | None]) -> int | None:
    """Waits until a process holds the study, or is over; its exit code then."""
    gives_up = time.monotonic() + _BEGINS_WITHIN_S
    while (code := poll()) is None and not (holder(place) == pid and has_begun(place)):
        if time.monotonic() > gives_up:
            log = place.folder / _LOG
            raise StudyError(f"{place.name} has not begun within {duration(_BEGINS_WITHIN_S)}; its log: {log}")
        time.sleep(_LOOK_EVERY_S)
    return code
