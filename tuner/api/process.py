"""The coordinator process of a babysat run, which outlives the terminal: `python -m tuner.api.process FOLDER`.

What it needs to know lies in the study's folder: `run.json`, and `function.pickle` where the function cannot be
imported. What goes wrong before there is a record to write to is the last line of `coordinator.log`.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.api.assignment import Assignment
from tuner.api.environment import as_it_was, secrets_of
from tuner.errors import StudyError, TunerError
from tuner.executors.base import Executor
from tuner.record.lease import alive
from tuner.record.location import Place
from tuner.record.printed import last_line
from tuner.record.store import Store
from tuner.record.team import take_what_was_handed_on
from tuner.values.numbers import duration

if TYPE_CHECKING:
    from tuner.api.session import Session
    from tuner.coordinator.loop import Coordinator
    from tuner.panda.advisor import Advisor
    from tuner.space.space import Space

STILL_BEGINNING = "still_beginning"
"""What is told of a coordinator that has taken too long, and may begin yet."""
_LOG = "coordinator.log"
BEGINS_WITHIN_S = 300.0  # a busy machine takes its time; one that died says so at once


def launch(place: Place) -> tuple[int, Callable[[], bool]]:
    """Starts the coordinator of the study in a process of its own; its pid, and whether it lives, before it begins."""
    if place.database is None:
        raise StudyError("a babysat run needs a folder: it outlives the process that started it.")
    return _in_a_process(place) if _threads is None else _on_a_thread(place, _threads)


def start(place: Place, timeout_s: float | None = None) -> int:
    """Starts the coordinator of the study; returns its pid once it holds the lease, else raises what it said last."""
    pid, lives = launch(place)
    within_s = BEGINS_WITHIN_S if timeout_s is None else timeout_s
    deadline = time.monotonic() + within_s
    while True:
        if (holder := _holder(place)) is not None:
            return holder[1]
        if not lives():
            if _holder(place) is None and _ended(place):
                return pid  # it was quick
            raise StudyError(last_words(place))
        if time.monotonic() >= deadline:
            raise StudyError(
                f"the coordinator of {place.name} (pid {pid}) has not begun within {duration(within_s)}, and still "
                f"may. Look again: tuner show {place.name}",
                code=STILL_BEGINNING,
            )
        time.sleep(0.01)


@contextmanager
def on_threads() -> Iterator[list[threading.Thread]]:
    """Meanwhile each coordinator that is started gets a thread of this process: for tests and debuggers.

    They end with their runs; whoever calls this stops the runs.
    """
    global _threads  # handles, forks and rooms start coordinators wherever they are asked
    before, _threads = _threads, []
    try:
        yield _threads
    finally:
        _threads = before


_threads: list[threading.Thread] | None = None


def _on_a_thread(place: Place, threads: list[threading.Thread]) -> tuple[int, Callable[[], bool]]:
    def coordinate() -> None:
        try:
            run_coordinator(place.folder)
        except TunerError as error:
            with (place.folder / _LOG).open("a") as log:
                print(error, file=log)

    thread = threading.Thread(target=coordinate, name=f"tuner-coordinator-{place.name}", daemon=True)
    threads.append(thread)
    thread.start()
    return os.getpid(), thread.is_alive


def _in_a_process(place: Place) -> tuple[int, Callable[[], bool]]:
    assignment = Assignment.read(place.folder)
    home = Path(assignment.home)  # of none is told where it was begun: it stays here
    with (place.folder / _LOG).open("ab") as log:
        if not home.is_dir():
            log.write(f"the directory {home} that the run was begun in is gone; it goes on in {Path.cwd()}\n".encode())
        parting = subprocess.run(
            [sys.executable, "-m", "tuner.api.process", str(place.folder)],
            cwd=home if home.is_dir() else None,
            env={**os.environ, **place.environment, **secrets_of(place.folder, assignment.runtime_env)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
        )
    if not parting.stdout.strip().isdigit():
        raise StudyError(f"no coordinator could be started for {place.name}: {last_words(place)}")
    pid = int(parting.stdout)
    return pid, lambda: alive(pid)


def _ended(place: Place) -> bool:
    """Whether the run has come to its end already."""
    if not place.is_there:
        return False
    store = Store.open(place.existing())
    try:
        return bool(store.brief()["ended"])
    finally:
        store.close()


def _holder(place: Place) -> tuple[str, int] | None:
    if not place.is_there:
        return None
    try:
        store = Store.open(place.existing())
    except TunerError:
        return None  # being made just now
    try:
        return store.holder(time.time()) if store.brief()["trials"] else None
    finally:
        store.close()


def last_words(place: Place) -> str:
    """What the coordinator said last."""
    log = place.folder / _LOG
    return last_line(log, f"the coordinator ended without a word ({log}).")


def run_coordinator(folder: Path, executor: Executor | None = None) -> None:
    """Runs the coordinator of one babysat run until it is over; `executor` trains it, else what it was assigned."""
    from tuner.api.session import Session
    from tuner.coordinator.watchdog import Timing
    from tuner.panda.policy import Panda
    from tuner.panda.requests import RunRequests
    from tuner.space.space import Space

    assignment = Assignment.read(folder)
    place = Place.of(folder.name, folder.parent, None)
    if executor is None and assignment.executor == "ray":
        import_module("tuner.executors.ray")  # takes its time: before there is a study to see
    with Session(place, place.existing_or_new()) as session, ExitStack() as parting:
        kept_as = session.state.options.get("kept_as") or _kept_as(folder)
        executor = executor or _executor(assignment, folder, kept_as)
        # whatever goes wrong here: what trains on a cluster goes on, and the next coordinator finds it
        parting.callback(executor.leave)
        options = {**assignment.options(session.state), **({"kept_as": kept_as} if executor.outlives else {})}
        session.begin("babysitting", assignment.function, assignment.source_sha256, assignment.identity, options)
        space = None if assignment.space is None else Space.from_dict(assignment.space)
        coordinator = session.coordinator(
            executor,
            Panda(),
            RunRequests(space, None if assignment.level == "off" else _advisor(session, space)),
            Timing(checkpoint_every_s=assignment.checkpoint_every_s),
            disk_budget_gb=assignment.disk_budget_gb,
        )
        if not session.state.trials:
            _create(coordinator, assignment)
        job = session.job(
            assignment.payload(folder),
            assignment.search_path,
            revert=assignment.revert,
            asks_length=True,
            tracks_reads=True,
        )
        executor.open(job, 1, session.state.received)
        try:
            coordinator.run()
        finally:
            if session.records.left_clean:
                parting.pop_all()
                parting.callback(executor.close)


def _advisor(session: Session, space: Space | None) -> Advisor:
    """The supervisor, with all that the run has reported so far."""
    from tuner.panda.advisor import Advisor
    from tuner.record.reader import curves_by_name

    if not session.state.trials:
        return Advisor(space, {}, None)
    trial = session.state.trials[0]
    return Advisor(space, curves_by_name(session.records, trial), trial.head.segment if trial.segments else None)


def _create(coordinator: Coordinator, assignment: Assignment) -> None:
    """Puts the run's one trial on record; recovery takes it up."""
    from tuner.policy.protocol import Draft
    from tuner.record.recipe import UNBOUNDED

    draft = Draft(
        params=assignment.params,
        seed=assignment.trial_seed,
        why=assignment.why,
        purpose=assignment.purpose,
        parent=assignment.parent,
        beginning=assignment.checkpoint,
        from_step=assignment.from_step,
        schedules=assignment.schedules,
        by=assignment.by,
    )
    coordinator.journal.begin(draft)
    if assignment.space is None:
        coordinator.journal.warn(UNBOUNDED, 0, assignment.from_step)
    coordinator.journal.commit()


def _kept_as(folder: Path) -> str:
    """How workers on a cluster are called that outlive their coordinator, by which another machine finds them too."""
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _executor(assignment: Assignment, folder: Path, kept_as: str) -> Executor:
    """What the run was assigned; on a cluster its workers outlive this process."""
    from tuner.api.wiring import executor_of

    return executor_of(
        assignment.executor,
        assignment.address,
        assignment.cpus,
        assignment.gpus,
        resources=assignment.resources,
        runtime_env=as_it_was(assignment.runtime_env, folder),
        keep=kept_as,
    )


def main() -> int:
    """Parts from the terminal that started it, says its pid, and coordinates; its last line says what went wrong."""
    os.umask(0o077)
    child = os.fork()  # before any thread is there
    if child:
        print(child, flush=True)
        os._exit(0)
    os.setsid()
    log = os.dup(sys.stderr.fileno())
    os.dup2(log, sys.stdout.fileno())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # its last words may hold what the terminal's encoding lacks
    take_what_was_handed_on()
    try:
        run_coordinator(Path(sys.argv[1]))
    except TunerError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
