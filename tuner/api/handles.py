"""What a person holds to steer a running study from any process: every verb is one row in `requests`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from tuner.api.asking import SAYS_AFTER_S, Handle, Reply, person
from tuner.api.study import Study
from tuner.arguments import amount, checked, index, name, optional, settings, text
from tuner.errors import SettingsError, StudyBusy, StudyError, TunerError, shown
from tuner.numbers import duration
from tuner.record.events import Answered, Noted
from tuner.record.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Handle", "Reply", "RunHandle", "SweepHandle", "person"]

# A coordinator that dies this often without the run getting any further is not started again.
_DEATHS = 5


class SweepHandle(Handle):
    """Steers a running sweep."""

    @checked()
    def stop_trial(self, trial: int, why: str = "", *, timeout_s: float | None = None) -> Reply:
        """Ends one trial; its worker takes the next."""
        return self._ask("stop_trial", {"trial": trial}, why, timeout_s=timeout_s)

    @checked()
    def add(self, settings: Mapping[str, Any], why: str = "") -> Reply:
        """Trains these settings next."""
        return self._ask("add", {"settings": settings}, why)

    @checked()
    def set_box(
        self,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        /,
        *,
        why: str = "",
        **ranges: tuple[float, float],
    ) -> Reply:
        """Searches between these bounds from the next trial on, for one round: `set_box(learning_rate=(0.01, 0.1))`.

        A few draws still come from the whole space, so that no box is final. A parameter called `why` is named in a
        mapping: `set_box({"why": (0, 1)})`.
        """
        return self._ask("set_box", {"ranges": _together(bounds, ranges)}, why)

    @checked()
    def set_parallel(self, parallel: int, why: str = "") -> Reply:
        """Changes how many trials train at a time."""
        return self._ask("set_parallel", {"parallel": parallel}, why)

    def _unattended(self, verb: str, arguments: Mapping[str, Any], why: str) -> Reply | None:  # noqa: ARG002
        """A sweep is started by its own command; one that is not running need not be stopped."""
        with closing(self.study) as study:
            trials = study.state.trials
        over = [each for each in trials if each.ended]
        count = f"{len(over)} of its {len(trials)} trials {'is' if len(over) == 1 else 'are'} over"
        stands = f"{self.name} is not running: {count}"
        if verb == "stop":
            return Reply(request="", verb=verb, state="applied", step=None, detail=stands)
        if verb == "stop_trial":
            number = arguments["trial"]
            for trial in over:
                if trial.trial == number:
                    raise StudyError(f"{stands}, and trial {number} is: {trial.state}, {trial.why}.")
        raise StudyError(
            f"{stands}, so nobody would carry out {verb!r}. Start its command again first, with more trials if "
            "all were tried."
        )

    def _obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """It answers as soon as it runs."""
        if self._store.holder(time.time()) is None:
            return None
        if answered or waited_s < SAYS_AFTER_S:
            return ""
        return "the coordinator is busy" if self._store.brief()["trials"] else "the coordinator is starting"


class RunHandle(Handle):
    """Steers a babysat run. Each verb takes effect between two steps, all fields of one request at the same step.

    A verb waits while a coordinator starts or a worker is sought, then 15 s, or `timeout_s` in all. What has not taken
    effect by then is on record, and `pending`.
    """

    @checked()
    def set(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        why: str = "",
        at: int | None = None,
        expect: int | None = None,
        evidence: str = "",
        request: str = "",
        timeout_s: float | None = None,
        **values: Any,
    ) -> Reply:
        """Sets effective values now, or `at` a step: `set(learning_rate=3e-4, why="loss spikes")`.

        `expect` is the number of the segment you last saw: somebody else's change since then refuses yours.
        `request` is an id of your own: the same id twice is one request. A setting that is called as one of these
        words is named in a mapping: `set({"at": 3})`.
        """
        if not isinstance(request, str) or request:
            request = name("request", request)
        arguments = {"values": _together(changes, values), "at": at, "expect": expect, "evidence": evidence}
        return self._ask("set", arguments, why, until_accepted=at is not None, request=request, timeout_s=timeout_s)

    @checked()
    def schedule(
        self,
        parameter: str,
        shape: str,
        *,
        why: str = "",
        at: int | None = None,
        expect: int | None = None,
        timeout_s: float | None = None,
        **settings: float,
    ) -> Reply:
        """Lets a value follow a schedule from its present value on: time_based, exponential, square_root, staircase,

        cosine (needs `over=STEPS`), or constant for none: `schedule("learning_rate", "cosine", over=2000)`.
        """
        arguments = {"parameter": parameter, "shape": shape, "shape_settings": settings, "at": at, "expect": expect}
        return self._ask("schedule", arguments, why, until_accepted=at is not None, timeout_s=timeout_s)

    @checked()
    def pause(self, why: str = "", *, release: bool = False, timeout_s: float | None = None) -> Reply:
        """Stands still between two steps; with `release`, saves a checkpoint and frees the worker."""
        return self._ask("pause", {"release": release}, why, timeout_s=timeout_s)

    @checked()
    def step(self, steps: int = 1, why: str = "", *, timeout_s: float | None = None) -> Reply:
        """Trains this many steps, then stands still."""
        return self._ask("step", {"steps": steps}, why, timeout_s=timeout_s)

    @checked()
    def checkpoint(self, why: str = "", *, timeout_s: float | None = None) -> Reply:
        """Writes a checkpoint now, and keeps it."""
        return self._ask("checkpoint", {}, why, timeout_s=timeout_s)

    @checked()
    def revert(
        self,
        *,
        step: int | None = None,
        checkpoint: int | None = None,
        keep_settings: bool = False,
        why: str = "",
        expect: int | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """Goes back to the newest checkpoint at or before `step`, or to a `checkpoint` by number.

        Without either, to the moment before the last adjustment. The settings of that time come back with it, unless
        `keep_settings`.
        """
        arguments = {"step": step, "checkpoint": checkpoint, "keep_settings": keep_settings, "expect": expect}
        return self._ask("revert", arguments, why, timeout_s=timeout_s)

    @checked()
    def undo(self, why: str = "", *, expect: int | None = None, timeout_s: float | None = None) -> Reply:
        """Takes the last adjustment or revert back; that is a change of its own, nothing is erased."""
        return self._ask("undo", {"expect": expect}, why, timeout_s=timeout_s)

    @checked()
    def extend(self, steps: int, why: str = "", *, timeout_s: float | None = None) -> Reply:
        """Trains this many steps longer than the function asks for; a run that is over, from where it stands."""
        return self._ask("extend", {"steps": steps}, why, timeout_s=timeout_s)

    @checked(name=optional(name), step=optional(index), why=text)
    def fork(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        name: str | None = None,
        step: int | None = None,
        why: str = "",
        **values: Any,
    ) -> RunHandle:
        """Starts another run from a checkpoint of this one, with other values: `fork(learning_rate=0.03)`.

        A setting called `name`, `step` or `why` is named in a mapping: `fork({"step": 0.1})`.
        """
        from tuner.api.fork import fork

        changed = settings("what a fork changes", _together(changes, values))
        place = fork(self._place, values=changed, by=self.by, name=name, step=step, why=why)
        return RunHandle(place, Store.open(place.existing()), by=self.by)

    @checked(other=name)
    def compare(self, other: str) -> pd.DataFrame:
        """This run and another side by side: one row a step, one column a run."""
        from tuner.api.fork import compare

        return compare(self._place, other)

    @checked(timeout_s=optional(amount(least=0, unit="seconds")))
    def wait(self, timeout_s: float | None = None) -> Study:
        """Waits until the run is over, and returns its study; a coordinator that died is started again."""
        try:
            return self._wait(timeout_s)
        except KeyboardInterrupt:
            told = f"{self.name} trains on: tuner.attach({self.name!r}) comes back to it, and its stop() ends it"
            raise KeyboardInterrupt(told) from None

    def _wait(self, timeout_s: float | None) -> Study:
        from tuner.api import process as nurse

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        study = self.study
        deaths, furthest = 0, -1
        while True:
            alone = self._store.holder(time.time()) is None
            study.refresh()
            trial = study.trial(0)
            if alone and trial.ended:
                return study
            if alone:
                deaths, furthest = (0, trial.steps) if trial.steps > furthest else (deaths + 1, furthest)
                if deaths > _DEATHS:
                    told = nurse.last_words(self._place)
                    raise StudyError(f"the coordinator of {self.name} dies again and again: {told}")
                nurse.start(self._place)
            if deadline is not None and time.monotonic() > deadline:
                raise StudyError(f"{self.name} is still training after {duration(timeout_s or 0.0)}.")
            time.sleep(0.05)

    def _unattended(self, verb: str, arguments: Mapping[str, Any], why: str) -> Reply | None:
        """A run that goes on, or is to go on, gets another coordinator; one that is over answers the rest at once."""
        from tuner.panda.going_back import check_revival, settled

        try:
            with closing(self.study) as study:
                state = study.state
        except StudyError:
            return None  # it has not begun
        if not state.trials or not state.trials[0].ended:
            return None
        if verb == "note":
            return self._write_down(arguments, why)
        trial = state.trials[0]
        if (done := settled(trial, verb)) is not None:
            return Reply(request="", verb=verb, state="applied", step=trial.steps, detail=done)
        try:
            check_revival(state, trial, verb, arguments)
        except TunerError as error:
            raise StudyError(f"{self.name} refused to {verb}: {error}") from error
        return None

    def _write_down(self, arguments: Mapping[str, Any], why: str) -> Reply | None:
        """A note needs no worker: whoever writes it coordinates for that moment; None where somebody else does."""
        with closing(self.study) as study:
            steps = study.state.trials[0].steps
        with closing(Store.open(self._place.existing())) as record, suppress(StudyBusy):
            record.acquire(time.time())
            name = record.request("note", dict(arguments), by=self.by, why=why)
            at, text = time.time(), str(arguments["text"])
            noted = Noted(trial=0, step=steps, by=self.by, text=text, at=at)
            answer = Answered(request=name, state="applied", step=None, detail="noted", at=at)
            record.append([noted, answer], at)
            return Reply(request=name, verb="note", state="applied", step=None, detail="noted")
        return None

    def _obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """Starts a coordinator where there is none; without a worker nothing can be done between two steps."""
        if self._store.holder(time.time()) is None:
            self._wake()
            return "the coordinator is starting"
        self._started = None
        if waited_s < SAYS_AFTER_S:
            return ""
        if not answered:
            return "the coordinator is starting"
        with closing(self.study) as study:
            trials = study.state.trials
        return "" if trials and trials[0].state not in ("waiting", "lost") else "there is no worker yet"

    def _wake(self) -> None:
        """Starts a coordinator, unless one that was started is on its way; raises what one that failed said last."""
        from tuner.api import process as nurse

        if self._started is None:
            (_, self._started), self._gone = nurse.launch(self._place), False
        elif self._gone:
            self._started = None
            raise StudyError(f"no coordinator could be started for {self.name}: {nurse.last_words(self._place)}")
        else:
            self._gone = not self._started()  # it may have answered before it left: that is looked at first


def _together(mapping: Any, by_name: Mapping[str, Any]) -> dict[str, Any]:
    """What a verb is given in a mapping and by name: every name can be said in one of the two ways."""
    if not isinstance(mapping, Mapping | None):
        raise SettingsError(
            f"settings are given by name, as in learning_rate=0.003, or in a mapping of names to values, got "
            f"{shown(mapping)}."
        )
    return {**(mapping or {}), **by_name}
