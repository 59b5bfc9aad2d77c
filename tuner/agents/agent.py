"""The agent as tuner knows it: what it may look at, ask for and begin, each a plain call with a plain answer."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.agents.allowance import Allowance
from tuner.agents.launching import launch_branch, launch_confirm, launch_run, launch_sweep
from tuner.agents.showing import study_shown, trial_shown
from tuner.api.answers import Reply
from tuner.api.handles import RunHandle, person
from tuner.api.pricing import price_of, whole_training
from tuner.api.studies import attach, promote, studies
from tuner.api.studies import open as open_study
from tuner.api.sweep_handle import SweepHandle
from tuner.api.waiting import Event
from tuner.errors import SettingsError, StudyError
from tuner.executors import FunctionExecutor
from tuner.record.events import Goal
from tuner.record.leaders import leaders
from tuner.record.location import Place
from tuner.record.requests import AGENT, check_asker
from tuner.space.space import Space
from tuner.values.arguments import settings
from tuner.values.plain import json_of
from tuner.views.logbook import logbook

if TYPE_CHECKING:
    from tuner.api.study import Study

Steer = Literal["pause", "resume", "step", "checkpoint", "extend", "schedule", "note", "fork", "promote"]
LONGEST_WAIT_S = 600.0
"""No tool waits longer for a study."""
_LISTED = 50


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A program that acts by itself in one results folder, with what it may spend there.

    Args:
        by: Its name, which the record gives for all it asks; "agent:" is put before it where that is missing.
        results: The folder in which studies lie.
        allowance: What it may spend.
        refuses: What speaks against sweeping a function, by its import path; empty: nothing. None: nothing ever does.
        home: The folder that what it begins is started in, where functions are imported from. None: where it is.
        store: The team's database that has the records. None: each study's folder says where its record lies.
    """

    by: str
    results: Path
    allowance: Allowance
    refuses: Callable[[str], str] | None = None
    home: Path | None = None
    store: str | None = field(default=None, repr=False)

    @classmethod
    def called(
        cls,
        by: str,
        results: Path,
        budget: Mapping[str, Any] | None,
        refuses: Callable[[str], str] | None = None,
        home: Path | None = None,
        store: str | None = None,
    ) -> Agent:
        """The agent of this name, with a budget as a token keeps it."""
        given: dict[str, Any] = {"refuses": refuses, "home": home, "store": store}
        return cls(by=name_of(by), results=results.absolute(), allowance=Allowance.of(budget), **given)

    # ── what changes nothing ────────────────────────────────────────────────────────────────────

    def studies(self) -> dict[str, Any]:
        """Lists the studies there are, the latest first, and what you have left to spend."""
        listed = [asdict(each) for each in studies(self.results, self.store)]
        return plain({"you": self.by, "left": asdict(self._left()), "studies": listed[:_LISTED], "of": len(listed)})

    def digest(self, study: str, since: int | None = None) -> dict[str, Any]:
        """Tells in at most 2 KB how a study stands and what has happened since a cursor, which the last digest gave.

        Read this in place of logs.
        """
        with closing(self._open(study)) as opened:
            return plain(opened.digest(since).as_value())

    def wait(
        self, study: str, events: list[Event] | None = None, since: int | None = None, timeout_s: float = 50.0
    ) -> dict[str, Any]:
        """Waits until a study improves, is advised, has spent its budget or has ended; the answer holds a digest.

        Use this in place of asking again and again. "timeout" is no failure: wait again, with the digest's cursor.
        """
        with closing(self._open(study)) as opened:
            found = opened.wait(*(events or ()), since=since, timeout_s=min(timeout_s, LONGEST_WAIT_S))
        told = {"event": found.event, "came": found.came, "sentence": found.sentence, "waited_s": found.waited_s}
        return plain({**told, "digest": found.digest.as_value()})

    def show(self, study: str, trial: int | None = None) -> dict[str, Any]:
        """Shows a study with its best and its leaders, or one trial with its curve, settings and segments.

        `segment` of a babysat run, or `round` of a sweep, is what `expect` guards a change with.
        """
        with closing(self._open(study)) as opened:
            return plain(study_shown(opened) if trial is None else trial_shown(opened, trial))

    def curves(self, study: str) -> bytes:
        """Draws the learning curves of a study, or the lineage of a babysat run, as a picture."""
        with closing(self._open(study)) as opened, tempfile.TemporaryDirectory() as folder:
            drawn = opened.plot(folder)
            if not drawn:
                raise StudyError(f"{study} has nothing to show yet.", code="not_begun")
            return drawn[0].read_bytes()

    def explain(self, study: str) -> dict[str, Any]:
        """Says what a sweep has learned: the winner and how sure it is, what matters, where to look next."""
        with closing(self._open(study)) as opened:
            found = opened.explain()
        sections = [{"title": each.title, "sentences": list(each.sentences)} for each in found.sections]
        answer = None if found.confirmation is None else found.confirmation.answer
        return plain({"study": found.study, "trials": found.trials, "sections": sections, "confirmation": answer})

    def compare(self, study: str, one: int, other: int) -> dict[str, Any]:
        """Says whether two trials of a sweep can be told apart by their repeats, or how many more seeds would tell."""
        with closing(self._open(study)) as opened:
            found = opened.compare(one, other)
        seen = [{"trial": each.trial, "mean": each.mean, "error": each.error} for each in found.candidates]
        return plain({"answer": found.answer, "confirmed": found.confirmed, "more": found.more, "candidates": seen})

    def price(self, train: str, trials: int | None = None, budget_steps: int | None = None) -> dict[str, Any]:
        """Prices a sweep in steps and seconds without training, by what earlier ones of its function took."""
        self._check_train(train)
        found = price_of(train, self.results, store=self.store, trials=trials, budget_steps=budget_steps)
        return plain({**vars(found), "sentence": found.sentence, "left": asdict(self._left())})

    # ── what trains or changes ──────────────────────────────────────────────────────────────────

    def sweep(
        self,
        name: str,
        train: str,
        space: str,
        objective: str,
        why: str,
        goal: Goal = "maximize",
        trials: int | None = None,
        budget_steps: int | None = None,
        parallel: int | None = None,
        warm_start: str | None = None,
        seed: int = 0,
        seeds: int = 1,
        executor: FunctionExecutor = "ray",
        kind: Literal["sweep", "babysitting"] = "sweep",
        params: dict[str, float | int | str | bool] | None = None,
    ) -> dict[str, Any]:
        """Begins a sweep in a process of its own, which goes on without you; the same name goes on where it ended.

        The seed is no setting: a better score by another seed alone is luck, which `confirm` tells from merit. With
        `seeds` each trial trains with so many, its score is their mean, and the steps of each count.

        `kind` "babysitting" begins one run in its place, which you `set`, `steer` and `revert` while it trains. It
        begins with `params`, and the space draws those left out; the space "" lets them be set to anything. It is one
        trial of your budget, and with a bound of steps it is refused: how long it trains is not known before.
        """
        check_asker("sweep" if kind == "sweep" else "babysit", self.by, why)
        self._check_train(train)
        of_both: dict[str, Any] = {"objective": objective, "goal": goal, "seed": seed, "executor": executor}
        of_sweep = {"trials": trials, "budget_steps": budget_steps, "parallel": parallel, "warm_start": warm_start}
        if seeds != 1:
            of_sweep["seeds"] = seeds
        told: dict[str, Any] = {"by": self.by, "why": why, "home": self.home, "store": self.store}
        if kind == "sweep":
            _check_left_out(kind, {"params": params})
            given = {"name": name, "train": train, "space": space, **of_both, **of_sweep}
            begun = launch_sweep(self.results, self.allowance, **told, **given)
        else:
            _check_left_out(kind, of_sweep)
            if space:
                self.allowance.check_space(space)
            place, searched = Place.of(name, **self._where), Space.load(space).to_dict() if space else None
            given = {"train": train, "params": settings("params", params or {}), "space": searched, **of_both}
            begun = launch_run(place, self.allowance, given=given, **told)
        return plain({**begun, "left": asdict(self._left())})

    def confirm(self, study: str, why: str, top: int = 3, repeats: int = 5) -> dict[str, Any]:
        """Begins to train the best settings again with new seeds, in a process of its own: wait, then compare."""
        check_asker("confirm", self.by, why)
        if top < 1 or repeats < 1:
            raise SettingsError(f"top and repeats must be at least 1, got {top} and {repeats}.")
        with closing(self._open(study)) as opened:
            once = whole_training([opened.state])
            whole = None if once is None else once * opened.state.seeds
            top = min(top, len(leaders(opened.state, top)))
        given: dict[str, Any] = {"by": self.by, "why": why, "name": study, "top": top, "repeats": repeats}
        begun = launch_confirm(self.results, self.allowance, whole=whole, home=self.home, store=self.store, **given)
        return plain({**begun, "left": asdict(self._left())})

    def set(
        self,
        study: str,
        values: dict[str, float | int | str | bool],
        why: str,
        at: int | None = None,
        expect: int | None = None,
        request: str = "",
    ) -> dict[str, Any]:
        """Changes settings of a babysat run while it trains; `expect` is the segment you saw, `request` an id of yours.

        The same id twice is one request with one answer, so that you may ask again after a lost connection.
        """
        return self._ask(study, lambda run: run.set(values, why=why, at=at, expect=expect, request=request))

    def steer(
        self,
        study: str,
        verb: Steer,
        why: str,
        arguments: dict[str, Any] | None = None,
        expect: int | None = None,
        request: str = "",
    ) -> dict[str, Any]:
        """Pauses or resumes a study, or notes something; steps, saves, extends, schedules or forks a babysat run.

        Promote makes a trial of a sweep a babysat run. `arguments`: {"steps": 10} for step and extend; {"parameter",
        "shape", and over, rate, every or floor} for schedule; {"text"} for note, whose reason is its text; {"values",
        and where wanted step, name} for fork; {"trial", and where wanted name} for promote.
        """
        given = dict(arguments or {})
        if verb in ("fork", "promote"):
            return self._branch(study, verb, given, why, request)
        asked: dict[str, Any] = {"request": request}
        if verb != "note":
            asked |= {"why": why, "expect": expect}
        if among := sorted(set(given) & set(asked)):
            raise SettingsError(f"{verb} is given {', '.join(among)} beside its arguments, not among them.")
        self.allowance.check_request(self.results, self.by, study, verb, given, request, self.store)
        return self._ask(study, lambda run: getattr(run, verb)(**given, **asked), either=verb in _OF_ANY)

    def revert(
        self,
        study: str,
        why: str,
        step: int | None = None,
        undo: bool = False,
        expect: int | None = None,
        request: str = "",
    ) -> dict[str, Any]:
        """Takes a babysat run back to a checkpoint, or with `undo` takes back its last change; nothing is erased."""
        if undo:
            return self._ask(study, lambda run: run.undo(why, expect=expect, request=request))
        return self._ask(study, lambda run: run.revert(step=step, why=why, expect=expect, request=request))

    def stop(
        self, study: str, why: str, trial: int | None = None, expect: int | None = None, request: str = ""
    ) -> dict[str, Any]:
        """Ends a study, or one trial of a sweep, after its present step; everything is kept."""
        if trial is None:
            return self._ask(study, lambda run: run.stop(why, expect=expect, request=request), either=True)

        def act(handle: Any) -> Reply:
            if not isinstance(handle, SweepHandle):
                raise StudyError(f"{study} is one babysat run: stop it without a trial.")
            return handle.stop_trial(trial, why, expect=expect, request=request)

        return self._ask(study, act, either=True)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _branch(self, study: str, verb: str, given: Mapping[str, Any], why: str, request: str) -> dict[str, Any]:
        """Begins a run from a checkpoint of a study, one trial of what may be spent."""
        check_asker(verb, self.by, why)
        taken = ("trial", "name") if verb == "promote" else ("values", "step", "name")
        if unknown := sorted(set(given) - set(taken)):
            raise SettingsError(f"{verb} takes {', '.join(taken)}, and no {', '.join(unknown)}.")
        with closing(self._open(study)) as opened:
            if self.refuses is not None and (refusal := self.refuses(opened.state.function)):
                raise SettingsError(refusal, code="train")

        def begin() -> str:
            asked: dict[str, Any] = {"name": given.get("name"), "why": why, "request": request}
            if verb == "promote":
                with promote(study, given.get("trial", -1), by=self.by, **self._where, **asked) as run:
                    return run.name
            with attach(study, by=self.by, **self._where) as parent:
                if not isinstance(parent, RunHandle):
                    raise StudyError(f"{study} is a sweep, and a fork is of a babysat run: promote a trial of it.")
                with parent.fork(given.get("values"), step=given.get("step"), **asked) as run:
                    return run.name

        words = {verb: study, "request": request, "by": self.by} if request else {verb: study, "id": uuid.uuid4().hex}
        begun = launch_branch(
            self.results,
            self.allowance,
            by=self.by,
            why=why,
            asked=words,
            parent=Place.of(study, self.results, self.store),
            begin=begin,
            store=self.store,
        )
        told = {"study": begun, "verb": verb, "state": "applied", "detail": f"{begun} has begun"}
        return plain({**told, "left": asdict(self._left())})

    def logbook(self, study: str) -> str:
        """Who changed what, when, why and what came of it, as Markdown; of a sweep, its news."""
        with closing(self._open(study)) as opened:
            return logbook(opened) if opened.state.kind == "babysitting" else f"# {study}\n\n{opened.digest()}\n"

    @property
    def _where(self) -> dict[str, Any]:
        return {"results": self.results, "store": self.store}

    def _open(self, study: str) -> Study:
        return open_study(study, **self._where)

    def _left(self) -> Any:
        return self.allowance.left(self.results, self.by, self.store)

    def _check_train(self, train: str) -> None:
        if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", train) is None:
            raise SettingsError(f"{train!r} names no function. Write package.module:function.", code="train")
        if self.refuses is not None and (refusal := self.refuses(train)):
            raise SettingsError(refusal, code="train")

    def _ask(self, study: str, act: Callable[[Any], Reply], *, either: bool = False) -> dict[str, Any]:
        with closing(attach(study, by=self.by, **self._where)) as handle:
            if not either and not isinstance(handle, RunHandle):
                raise StudyError(f"{study} is a sweep, and this is for a babysat run.")
            return plain({**vars(act(handle)), "study": study})


def _check_left_out(kind: str, given: Mapping[str, Any]) -> None:
    """Refuses what is for the other kind of study."""
    if found := [word for word, value in given.items() if value is not None]:
        raise SettingsError(f"kind={kind!r} takes no {', '.join(found)}.")


def name_of(by: str) -> str:
    """What the record calls an agent of that name."""
    return person(by if by.startswith(AGENT) else f"{AGENT}{by or 'mcp'}")


_OF_ANY = ("pause", "resume", "note")


def allow_only(trains: Sequence[str]) -> Callable[[str], str] | None:
    """Refuses every function but these; none of them: any is allowed."""
    told = f"is not among what you may train: {', '.join(trains)}."
    return (lambda train: "" if train in trains else f"{train!r} {told}") if trains else None


def plain(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as JSON can hold it."""
    return {word: json_of(value) for word, value in answer.items()}
