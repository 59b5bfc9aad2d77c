"""The verbs that train the leaders of a study again: confirm, with new seeds; recheck, as of today."""

from __future__ import annotations

import time
from contextlib import chdir, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tuner.api.environment import as_it_was
from tuner.api.session import Session
from tuner.api.wiring import executor_of
from tuner.caviar.repeats import Plan, Repetition
from tuner.errors import StudyError
from tuner.executors import FUNCTION_EXECUTORS, PROGRAMS, FunctionExecutor
from tuner.insight.confirmation import Confirmation, confirmation_of
from tuner.insight.ranking import FEWEST, Recheck, planned_recheck, recheck_of
from tuner.record.events import Configured, Noted
from tuner.record.leaders import leaders
from tuner.record.location import Place
from tuner.record.requests import parallel as parallels
from tuner.values.arguments import amount, checked, count, folder_or_url, gpus, one_of, optional, text
from tuner.worker.function import as_of_today

if TYPE_CHECKING:
    from tuner.coordinator.observers import Observer


_TRAINED = {
    "top": count,
    "repeats": count,
    "executor": optional(one_of(*FUNCTION_EXECUTORS)),
    "cpus": optional(amount(least=0, most=10_000)),
    "gpus": optional(gpus),
    "parallel": optional(parallels),
    "address": optional(text),
    "results": folder_or_url,
}


@checked(**_TRAINED)
def confirm(
    name: str,
    *,
    top: int = 3,
    repeats: int = 5,
    executor: FunctionExecutor | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    parallel: int | None = None,
    address: str | None = None,
    results: str | Path = "results",
    store: str | None = None,
    progress: Literal["auto", "off"] | Observer = "auto",
) -> Confirmation:
    """Trains the best settings of a sweep again, all with the same new seeds, and says how sure the winner is.

    Every repeat trains to its full length: nothing stops it early, and the search does not learn from it. What is on
    record already counts, so the same call goes on after a crash, and with more `repeats` it adds to them.

    Args:
        name: The sweep's name.
        top: How many of the best settings, from 1 up; by default 3.
        repeats: How often each, from 1 up; by default 5. How sure it is takes 2.
        executor: "ray" or "local". None: as it was in the sweep.
        cpus: CPUs of a trial. None: as it was in the sweep.
        gpus: GPUs of a trial. None: as it was in the sweep.
        parallel: How many train at a time, from 1 up. None: as it was in the sweep.
        address: A Ray cluster to join. None: as it was in the sweep.
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
        store: The database, as `sweep` takes it. None: the folder's own.
        progress: "auto" shows progress where there is a terminal, "off" nothing; by default auto.

    Returns:
        The candidates, best first, each with its mean and the chance that it is the best (a posterior over the means of
        blocks that share a seed; Fisher 1935).

    Raises:
        StudyNotFound: No study of that name lies there.
        StudyError: No trial has a score yet.
        StudyBusy: Another coordinator holds the study.
        SettingsError: An argument of another name, or one that makes no sense.
        KeyboardInterrupt: Ctrl-C; everything is kept.

    Example:
        >>> found = tuner.confirm("night", top=2, repeats=2, progress="off")
        >>> len(found.candidates), [len(each.scores) for each in found.candidates]
        (2, [2, 2])
    """
    place = Place.of(name, results, store)
    with _Over(place, executor=executor, cpus=cpus, gpus=gpus, parallel=parallel, address=address) as session:
        plan = Plan.to_confirm(session.state, top, repeats)
        if not plan.trials:
            raise StudyError(f"no trial of {name} has a score yet: there is nothing to confirm.")
        session.train(plan, progress)
        found = confirmation_of(session.state, top, repeats)
    if found is None:
        raise StudyError(f"{name} holds no repeats.")
    return found


@checked(**_TRAINED)
def recheck(
    name: str,
    *,
    top: int = 8,
    repeats: int = 1,
    executor: FunctionExecutor | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    parallel: int | None = None,
    address: str | None = None,
    results: str | Path = "results",
    store: str | None = None,
    progress: Literal["auto", "off"] | Observer = "auto",
) -> Recheck:
    """Trains the leaders of a sweep again, with the code and data of today: does their order still hold?

    Only trials that had completed take part: what was stopped early cannot be compared. A recheck that was interrupted
    goes on as it was begun; once it is done, the next call is another one, with other seeds.

    Args:
        name: The sweep's name.
        top: How many leaders, from 1 up; by default 8. An order takes 3.
        repeats: How often each, from 1 up; by default 1. What a seed alone changes takes 2.
        executor: "ray" or "local". None: as it was in the sweep.
        cpus: CPUs of a trial. None: as it was in the sweep.
        gpus: GPUs of a trial. None: as it was in the sweep.
        parallel: How many train at a time, from 1 up. None: as it was in the sweep.
        address: A Ray cluster to join. None: as it was in the sweep.
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
        store: The database, as `sweep` takes it. None: the folder's own.
        progress: "auto" shows progress where there is a terminal, "off" nothing; by default auto.

    Returns:
        The leaders then and now, and Spearman's ρ of the two orders with its bounds.

    Raises:
        StudyNotFound: No study of that name lies there.
        StudyError: Fewer than 3 trials were trained to the end.
        StudyBusy: Another coordinator holds the study.
        SettingsError: An argument of another name, or one that makes no sense.
        KeyboardInterrupt: Ctrl-C; everything is kept.

    Example:
        >>> found = tuner.recheck("night", top=3, progress="off")
        >>> len(found.leaders), found.verdict
        (3, 'cannot be told')
    """
    place = Place.of(name, results, store)
    with _Over(place, executor=executor, cpus=cpus, gpus=gpus, parallel=parallel, address=address) as session:
        plan = _recheck_plan(session, top, repeats)
        session.train(plan, progress)
        session.configure({"recheck": {**session.state.options["recheck"], "done": plan.done(session.state)}})
        found = recheck_of(session.state, plan)
    if found is None:
        raise StudyError(f"{name} holds no recheck.")
    return found


def _recheck_plan(session: _Over, top: int, repeats: int) -> Plan:
    """The recheck that was left unfinished, else a new one, which goes on record before anything trains."""
    there = len(leaders(session.state, whole=True))
    if there < FEWEST:
        raise StudyError(
            f"a recheck compares trials that were trained to the end, and {session.place.name} has {there}: an order "
            f"takes {FEWEST}. Let the sweep complete more, with stopping off or more trials."
        )
    asked, latest = session.state.options.get("recheck"), planned_recheck(session.state)
    if asked is not None and latest is not None and not asked["done"]:
        if (asked["top"], asked["repeats"]) != (top, repeats):
            session.note(
                f"the recheck that was begun goes on first: its top {asked['top']}, {asked['repeats']} repeats each"
            )
        return latest
    plan = Plan.to_recheck(session.state, top, repeats, 1 if latest is None else latest.occasion + 1)
    session.configure(
        {
            "recheck": {
                "occasion": plan.occasion,
                "trials": list(plan.trials),
                "top": top,
                "repeats": repeats,
                "done": False,
            }
        }
    )
    return plan


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


class _Over(Session):
    """A sweep that is over, whose leaders are trained again as it was trained, but for what is given."""

    def __init__(self, place: Place, **given: Any) -> None:
        super().__init__(place, place.existing())
        self._given = given

    def __enter__(self) -> Self:
        super().__enter__()
        if self.state.kind != "sweep":
            self.records.close()
            raise StudyError(
                f"{self.place.name} is one babysat run: it has no leaders to train again. To train it a second "
                f"time, start another: tuner babysit … --name {self.place.name}-2"
            )
        if self.state.function == PROGRAMS:
            self.records.close()
            raise StudyError(
                f"{self.place.name} was trained by {PROGRAMS}: there is no function to train its leaders again with. "
                "Give their settings to another sweep of that kind with start=, under another seed."
            )
        return self

    def configure(self, options: dict[str, object]) -> None:
        """Puts options on record."""
        self._append(Configured(options=options, by="caller", why="", at=time.time()))

    def note(self, text: str) -> None:
        """Writes a note."""
        self._append(Noted(trial=None, step=None, by="tuner", text=text, at=time.time()))

    def _append(self, record: Configured | Noted) -> None:
        self.records.append([record], time.time())
        self.state.apply(record)

    def train(self, plan: Plan, progress: Literal["auto", "off"] | Observer) -> None:
        """Trains what the plan still misses; nothing of it needs a worker where all is there."""
        left = any(trial.purpose == plan.purpose for trial in self.state.live.values())
        if not plan.missing(self.state) and not left:
            return
        home = Path(self.state.options.get("home", ""))  # where relative paths of the function start
        with chdir(home) if home.is_dir() else nullcontext():
            self._train(plan, progress)

    def _train(self, plan: Plan, progress: Literal["auto", "off"] | Observer) -> None:
        from tuner.caviar.requests import RepeatRequests
        from tuner.coordinator.watchdog import Timing

        state, function = self.state, as_of_today(self.state, self.place.folder)
        if state.source_sha256 and function.source_sha256 and state.source_sha256 != function.source_sha256:
            self.note(
                f"the source of {state.function} has changed since {state.name!r} began: {plan.purpose} has it new"
            )
        address = self._option("address", None)
        chosen = executor_of(
            self._option("executor", "ray"),
            address,
            self._option("cpus", 1),
            self._option("gpus", 0),
            resources=self.state.options.get("resources"),
            runtime_env=as_it_was(self.state.options.get("runtime_env"), self.place.folder),
            function=function,
        )
        with closing(chosen):
            job = self.job(function.payload, function.search_path, address=address)
            chosen.open(job, self._option("parallel", None))
            self.coordinator(chosen, Repetition(plan), RepeatRequests(), Timing(), progress=progress).run()

    def _option(self, word: str, default: Any) -> Any:
        """What this call says, else what the sweep was trained with."""
        given = self._given[word]
        found = self.state.options.get(word) if given is None else given
        return default if found is None else found
