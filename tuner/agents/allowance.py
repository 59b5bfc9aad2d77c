"""The allowance of an agent: how much it may train, and how much of that is left by what the studies it began took."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import SettingsError, TunerError
from tuner.record.asides import Aside, asides
from tuner.record.events import Requested
from tuner.record.lease import born
from tuner.record.location import Place, places, team_url
from tuner.record.reader import fold
from tuner.record.spending import spending
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.values.arguments import checked, count, name, optional
from tuner.values.numbers import count as counted

LAUNCH = "launch.json"
"""What a study's folder keeps of its launch: by whom, why, and what was set aside for it."""


class OverBudget(TunerError):
    """An agent asks for more than is left of its allowance."""

    code = "over_budget"


@dataclass(frozen=True, kw_only=True)
class Remainder:
    """What is left of an allowance; None: there is no bound."""

    trials: int | None
    steps: int | None

    def __str__(self) -> str:
        told = [
            counted(amount, word)
            for amount, word in ((self.trials, "trial"), (self.steps, "step"))
            if amount is not None
        ]
        return " and ".join(told) or "no bound"


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What an agent may spend in all; None: no bound.

    Args:
        trials: Models it may train, repeats included.
        steps: Training steps, over all studies that it begins, and those by which it extends others.
        parallel: Trials at a time in a study.
        spaces: The search spaces it may search, by name or file.
    """

    trials: int | None = None
    steps: int | None = None
    parallel: int | None = None
    spaces: tuple[str, ...] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Allowance:
        """From a mapping, as a token keeps it; None is no bound at all."""
        try:
            return _allowance(**(given or {}))
        except TypeError as error:
            raise SettingsError(f"a budget has trials, steps, parallel and spaces: {error}.") from error

    def left(self, results: Path, by: str, store: str | None = None, *, beside: str = "") -> Remainder:
        """What is left for `by`, as the studies in a results folder tell, or those of a team's database.

        `beside` is a study that does not count.
        """
        trials, steps = spent(results, by, beside=beside, store=store)
        return Remainder(
            trials=None if self.trials is None else max(0, self.trials - trials),
            steps=None if self.steps is None else max(0, self.steps - steps),
        )

    def check_space(self, space: str) -> None:
        """Refuses a space that it may not search."""
        if self.spaces is not None and space not in self.spaces:
            raise OverBudget(f"the space {space!r} is not among those you may search: {', '.join(self.spaces)}.")

    def check_request(
        self,
        results: Path,
        by: str,
        study: str,
        verb: str,
        arguments: Mapping[str, Any],
        request: str = "",
        store: str | None = None,
    ) -> None:
        """Refuses what a request to a running study would have trained beyond what is left.

        One that was taken under the same id already is not paid for again.
        """
        steps, left = arguments.get("steps"), self.left(results, by, store).steps
        if verb == "extend" and (study, request) in extensions(results, by, store):
            return
        if verb == "extend" and left is not None and isinstance(steps, int) and steps > left:
            raise OverBudget(f"{steps} steps more than it trains are beyond your budget: {left} steps are left.")
        if verb == "set_parallel" and isinstance(arguments.get("parallel"), int):
            self.check_parallel(arguments["parallel"])

    def check_parallel(self, parallel: int | None) -> int | None:
        """How many may train at a time: as asked, or as many as it may."""
        if self.parallel is not None and parallel is not None and parallel > self.parallel:
            raise OverBudget(f"{parallel} trials at a time are more than the {self.parallel} you may train.")
        return self.parallel if parallel is None else parallel


@checked(trials=optional(count), steps=optional(count), parallel=optional(count))
def _allowance(
    trials: int | None = None, steps: int | None = None, parallel: int | None = None, spaces: Any = None
) -> Allowance:
    few = None if spaces is None else tuple(name("a space", each) for each in spaces)
    return Allowance(trials=trials, steps=steps, parallel=parallel, spaces=few)


def share(asked: int | None, left: int | None, already: int, word: str) -> int | None:
    """What a study may have in all of something: as asked, or all that is left beside what it has already.

    `left` leaves out what the study itself took.
    """
    if left is None:
        return asked
    if asked is None:
        asked = left
    if asked > left or left <= already:
        more = f", of which {already} are trained" if already else ""
        raise OverBudget(
            f"{counted(asked, word)} are more than your budget allows: {counted(left, word)} are left for it{more}. "
            "Ask for fewer, or ask a person for more."
        )
    return asked


def spent(results: Path, by: str, *, beside: str = "", store: str | None = None) -> tuple[int, int]:
    """Trials and steps of all that `by` has begun or extended, but for the study `beside`; what runs counts in full.

    What was begun is known by its folder, and in a team's database by what was set aside there, by whichever service.
    """
    aside = {} if store is None else asides(team_url(store), by).studies
    taken_by = [of_aside(Place.of(name, results, store), each) for name, each in aside.items() if name != beside]
    for folder in sorted(results.glob(f"*/{LAUNCH}")):
        place, launched = Place.of(folder.parent.name, results, None), read_launch(folder.parent)
        counted_there = place.name in aside and isinstance(place.database, InDatabase)
        if launched.get("by") == by and place.name != beside and not counted_there:
            taken_by.append(of_study(place, launched))
    trials, steps = (sum(each) for each in zip((0, 0), *taken_by, strict=True))
    return trials, steps + sum(extensions(results, by, store).values())


def extensions(results: Path, by: str, store: str | None = None) -> dict[tuple[str, str], int]:
    """The steps by which `by` has extended runs, whosoever they are, by study and request; what was refused aside."""
    found: dict[tuple[str, str], int] = {}
    for place in places(results, store):
        try:
            with closing(Store.open(place.existing(), idle="closed")) as records:
                asked = [each for each in records.read(Requested) if each.by == by and each.verb == "extend"]
                answers = [records.answer(each.request) for each in asked]
        except TunerError:
            continue  # being made, or of a newer tuner
        for request, answer in zip(asked, answers, strict=True):
            if answer is None or answer.state in ("received", "accepted", "applied"):
                found[place.name, request.request] = int(request.arguments["steps"])
    return found


def of_study(place: Place, launched: Mapping[str, Any]) -> tuple[int, int]:
    """Trials and steps of a study that was launched: what it took, and while it runs what was set aside for it."""
    aside = Aside(trials=launched.get("trials"), steps=launched.get("steps"), is_coming=runs(launched))
    return of_aside(place, aside)


def of_aside(place: Place, aside: Aside) -> tuple[int, int]:
    """The same, by what is on record for whoever shares a database."""
    trials, steps = taken(place)
    if aside.is_coming or holder(place) is not None:
        trials, steps = max(trials, aside.trials or 0), max(steps, aside.steps or 0)
    return trials, steps


def runs(launched: Mapping[str, Any]) -> bool:
    """Whether the process that was launched lives; one that never came to be does not."""
    pid = launched.get("pid")
    return pid is not None and born(int(pid)) == launched.get("born") != ""


def holder(place: Place) -> int | None:
    """The process that coordinates a study now."""
    try:
        with closing(Store.open(place.existing(), idle="closed")) as store:
            held = store.holder(time.time())
    except TunerError:
        return None
    return None if held is None else held[1]


def has_begun(place: Place) -> bool:
    """Whether the study is on record."""
    try:
        with closing(Store.open(place.existing(), idle="closed")) as store:
            return bool(store.brief()["kind"])
    except TunerError:
        return False


def taken(place: Place) -> tuple[int, int]:
    """The trials of a study and their steps, as its record has them."""
    try:
        with closing(Store.open(place.existing(), idle="closed")) as store:
            state, _ = fold(store, place.name)
    except TunerError:
        return 0, 0  # it has not begun
    return len(state.trials), spending(state).steps


def read_launch(folder: Path) -> dict[str, Any]:
    """What the folder of a study keeps of its launch; empty where there is nothing to read."""
    try:
        found: dict[str, Any] = json.loads((folder / LAUNCH).read_text())
    except (OSError, ValueError):
        return {}
    return found
