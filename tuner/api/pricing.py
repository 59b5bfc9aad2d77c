"""The price of a sweep before it begins, in steps and seconds, from what earlier studies of its function took."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.api.sweep import DEFAULT_TRIALS, MOST_SEEDS
from tuner.errors import TunerError
from tuner.executors import FUNCTION_EXECUTORS, FunctionExecutor
from tuner.programs.command import Program
from tuner.record.events import StudyOpened
from tuner.record.location import places, touched
from tuner.record.object_address import local_folder
from tuner.record.reader import fold
from tuner.record.requests import parallel as parallels
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.values.arguments import (
    amount,
    checked,
    count,
    folder_or_url,
    gpus,
    one_of,
    optional,
    seconds,
    training_function,
    whole_number,
)
from tuner.values.numbers import about
from tuner.values.numbers import count as counted
from tuner.worker.function import portable

_STUDIES = 5  # of the function, the latest; older ones may have trained otherwise


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a sweep would take. What is not known is None, and the sentence says why.

    Attributes:
        function: What trains, as it is recorded.
        trials: How many it may begin. None: as many as its budget allows.
        steps_most: The training steps it takes at most.
        steps: Those it takes by the share that such a sweep trained before, of all that its trials might.
        seconds_per_step: What a step took, the median over earlier trials.
        worker_s: Seconds of training, all workers together.
        wall_s: Seconds from its beginning to its end, with so many at a time.
        parallel: How many train at a time. None: as many as the cluster holds.
        known_from: The studies that it is known from.

    Example:
        >>> priced = tuner.price("tuner.workloads.bowl:train", budget_steps=400, executor="local")
        >>> priced.trials is None, priced.steps_most
        (True, 400)
    """

    function: str
    trials: int | None
    steps_most: int | None
    steps: int | None
    seconds_per_step: float | None
    worker_s: float | None
    wall_s: float | None
    parallel: int | None
    known_from: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The price in words, and what it stands on."""
        return " ".join(_sentences(self))

    def __str__(self) -> str:
        return self.sentence


@checked(
    train=training_function,
    trials=optional(count),
    budget_steps=optional(count),
    time_budget_s=optional(seconds),
    seeds=whole_number(1, MOST_SEEDS),
    executor=one_of(*FUNCTION_EXECUTORS),
    cpus=amount(above=0, most=10_000),
    gpus=gpus,
    parallel=optional(parallels),
    results=folder_or_url,
)
def price(
    train: Callable[..., Any] | str | Program,
    *,
    trials: int | None = None,
    budget_steps: int | None = None,
    time_budget_s: float | None = None,
    stopping: str = "auto",
    seeds: int = 1,
    executor: FunctionExecutor = "ray",
    cpus: float = 1,
    gpus: float = 0,
    parallel: int | None = None,
    address: str | None = None,
    results: str | Path = "results",
) -> Price:
    """What a sweep would take, without training anything; what it stands on are earlier studies of the same function.

    Args:
        train: The function, its import path, or a command, as `sweep` takes it.
        trials: Models in all. None: 64 without another budget.
        budget_steps: Training steps over all trials. None: no bound.
        time_budget_s: Seconds that it may take, above 0. None: no bound.
        stopping: What ends trials early, by name; by default auto.
        seeds: With how many seeds each trial trains, 1 to 100; by default 1. The steps of each count.
        executor: "ray" or "local"; by default ray.
        cpus: CPUs of a trial; by default 1.
        gpus: GPUs of a trial; by default 0.
        parallel: How many train at a time. None: as many as this machine's CPUs, or the cluster, hold.
        address: A Ray cluster. None: this machine.
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.

    Returns:
        The price, with None where nothing is known, and a sentence.

    Raises:
        SettingsError: An argument of another name, or one that makes no sense.
        TrainingError: A function that cannot be found.

    Example:
        >>> print(tuner.price("tuner.workloads.bowl:train", budget_steps=500, executor="local"))
        At most 500 steps...
    """
    function = portable(train, travels=executor != "local").name
    given: dict[str, Any] = {
        "stopping": stopping,
        "seeds": seeds,
        "cpus": cpus,
        "gpus": gpus,
        "parallel": parallel,
        "address": address,
    }
    bounds: dict[str, Any] = {"trials": trials, "budget_steps": budget_steps, "time_budget_s": time_budget_s}
    return price_of(function, local_folder(results), executor=executor, **bounds, **given)


def price_of(
    function: str,
    results: Path,
    *,
    trials: int | None = None,
    budget_steps: int | None = None,
    time_budget_s: float | None = None,
    stopping: str = "auto",
    seeds: int = 1,
    executor: FunctionExecutor = "ray",
    cpus: float = 1,
    gpus: float = 0,
    parallel: int | None = None,
    address: str | None = None,
    store: str | None = None,
) -> Price:
    """The price by the name of the function as it is recorded, which need not be imported for that."""
    if trials is None and budget_steps is None and time_budget_s is None:
        trials = DEFAULT_TRIALS
    known = list(_earlier(function, results, store))
    once = whole_training(known)
    each = None if once is None else seeds * once
    bounds = [budget_steps] if budget_steps is not None else []
    if trials is not None and each is not None:
        bounds.append(trials * each)
    most = min(bounds, default=None)
    share = 1.0 if stopping == "off" else _share(known)
    likely = None if most is None else min(most, budget_steps or most)
    if trials is not None and each is not None and share is not None:
        likely = min(round(trials * each * share), most or 0)
    elif budget_steps is None:
        likely = None
    step_s = _seconds_per_step(known)
    if parallel is None and address in (None, "local") and gpus == 0:
        parallel = 1 if executor == "local" else max(1, int((os.cpu_count() or 1) // max(cpus, 1e-9)))
    worker_s = None if likely is None or step_s is None else likely * step_s
    wall_s = None if worker_s is None or parallel is None else worker_s / parallel
    if time_budget_s is not None:
        wall_s = time_budget_s if wall_s is None else min(wall_s, time_budget_s)
    return Price(
        function=function,
        trials=trials,
        steps_most=most,
        steps=likely,
        seconds_per_step=step_s,
        worker_s=worker_s,
        wall_s=wall_s,
        parallel=parallel,
        known_from=tuple(study.name for study in known),
    )


def whole_training(known: Sequence[StudyState]) -> int | None:
    """How many steps a training takes that nobody ends: the median of what was said, or trained to the end."""
    said = [steps for study in known for trial in study.trials if (steps := _whole(trial)) is not None]
    return None if not said else int(statistics.median(said))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _earlier(function: str, results: Path, store: str | None) -> Iterator[StudyState]:
    """The latest sweeps of the function that trained anything."""
    there = sorted(places(results, store), key=lambda each: -touched(each.folder))
    found = 0
    for place in there:
        try:
            with closing(Store.open(place.existing(), idle="closed")) as records:
                opened = next(iter(records.read(StudyOpened)), None)
                if opened is None or opened.kind != "sweep" or opened.function != function:
                    continue
                state, _ = fold(records, place.name)
        except TunerError:
            continue  # being made, or of a newer tuner
        if any(trial.steps and trial.seconds for trial in state.trials):
            yield state
            found += 1
        if found == _STUDIES:
            return


def _whole(trial: Trial) -> int | None:
    """The steps of a trial if nobody ended it; None where it was ended before it said so."""
    if trial.planned is not None:
        return trial.planned
    return trial.steps if trial.state == "completed" else None


def _share(known: Sequence[StudyState]) -> float | None:
    """How much of what their trials might have trained sweeps that end trials early did train."""
    judged = [study for study in known if "Off" not in str(study.options.get("stopping", ""))]
    each = whole_training(judged)
    trained = [trial for study in judged for trial in study.trials if trial.steps]
    return sum(trial.steps for trial in trained) / (each * len(trained)) if each and trained else None


def _seconds_per_step(known: Sequence[StudyState]) -> float | None:
    trained = [
        trial.seconds / (study.seeds * trial.steps)
        for study in known
        for trial in study.trials
        if trial.steps and trial.seconds
    ]
    return statistics.median(trained) if trained else None


def _sentences(found: Price) -> Iterator[str]:
    if found.steps_most is None:
        many = "as many trials as its time allows" if found.trials is None else counted(found.trials, "trial")
        yield f"{many[:1].upper()}{many[1:]}, and how many steps is not known:"
        yield (
            f"no earlier sweep of {found.function} says how long one trains."
            if not found.known_from
            else f"{found.function} does not say how many steps it means to take."
        )
        yield "--budget-steps bounds it; `tuner check` trains a few steps."
    else:
        yield f"At most {counted(found.steps_most, 'step')}" + (
            f", probably about {counted(found.steps, 'step')}."
            if found.steps is not None and found.steps < found.steps_most
            else "."
        )
    if found.worker_s is not None:
        wall = "" if found.wall_s is None else f", {about(found.wall_s)} with {found.parallel} at a time"
        yield f"About {about(found.worker_s)} of training{wall}."
    elif found.wall_s is not None:
        yield f"It ends after {about(found.wall_s)}."
    else:
        yield "How long that takes is not known" + (
            ": no earlier sweep of it has trained here." if not found.known_from else "."
        )
    if found.known_from:
        yield f"By what {', '.join(found.known_from)} took."
