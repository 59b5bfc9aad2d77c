"""The answer to a request: who there is to give it, and the wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from tuner.api.study import Study
from tuner.errors import StudyBusy, StudyError, TunerError, uncoded
from tuner.record.events import Answered, Noted, RequestState
from tuner.record.location import Place
from tuner.record.store import Store

# How long a verb waits: while somebody could carry it out, and with the time in which a coordinator starts or a worker
# is sought. An answer is polled for at once, then less and less often; what is in its way is looked at now and then.
ANSWER_WITHIN_S, _PATIENCE_S = 15.0, 300.0
_POLLS_FROM_S, _POLLS_UP_TO_S = 0.002, 0.1
_LOOKS_AGAIN_S, _LOOKS_UP_TO_S = 0.5, 4.0
_SAYS_AFTER_S = 1.0  # a verb says what it waits for once it has waited this long


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of a request: `applied` has taken effect at `step`; `received` and `accepted` are on record alone.

    What is on record is carried out later, when its step comes or the run can.

    Attributes:
        request: The request's id in the study's `requests`; empty where none had to be written.
        verb: What was asked for, such as "set".
        state: "received", "accepted" or "applied"; one that is rejected raises `StudyError` in place of a reply.
        step: The step at which it took effect; None where no step is meant, or not yet.
        detail: What happened, or what it waits for, in words.

    Example:
        >>> print(handle.note("day 2"))
        note: applied (noted)
    """

    request: str
    verb: str
    state: RequestState
    step: int | None
    detail: str

    @property
    def pending(self) -> bool:
        """Whether it is on record and has yet to take effect."""
        return self.state in ("received", "accepted")

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        return f"{self.verb}: {self.state}{where}" + (f" ({self.detail})" if self.detail else "")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - IPython's protocol
        """As a notebook shows it: in words."""
        printer.text(str(self))


def pauses_between_polls() -> Iterator[float]:
    """The seconds between one look at an answer and the next: most come at once, the others are not needed so soon."""
    pause = _POLLS_FROM_S
    while True:
        yield pause
        pause = min(1.3 * pause, _POLLS_UP_TO_S)


class Answers:
    """The answers to what is asked of one study, by a handle in this process."""

    def __init__(self, place: Place, store: Store) -> None:
        self._place, self._store = place, store

    def unattended(self, verb: str, arguments: Mapping[str, Any], why: str, by: str, request: str) -> Reply | None:
        """Nobody coordinates the study: what there is to say at once; None where a coordinator is to be started."""
        raise NotImplementedError

    def so_far(self, name: str, verb: str) -> Reply | None:
        """What became of a request as yet; None where nobody has looked at it."""
        answer = self._store.answer(name)
        if answer is None:
            return None
        return Reply(request=name, verb=verb, state=answer.state, step=answer.step, detail=answer.detail)

    def wait(
        self,
        name: str,
        verb: str,
        *,
        until_accepted: bool,
        timeout_s: float | None,
        on_wait: Callable[[str], None] | None,
    ) -> Wait:
        """The wait for what becomes of a request; `on_wait` is told in a sentence what it waits for."""
        self._begin_waiting()
        return Wait(self, name, verb, until_accepted=until_accepted, timeout_s=timeout_s, on_wait=on_wait)

    def refused(self, reply: Reply) -> StudyError:
        """What a request was rejected with."""
        sentence, code = uncoded(reply.detail)
        return StudyError(f"{self._place.name} refused to {reply.verb.replace('_', ' ')}: {sentence}", code=code)

    def obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """What keeps a request from being carried out; empty where nothing does, None where nobody will see to it."""
        raise NotImplementedError

    def nobody(self) -> str:
        """That nobody will see to a request."""
        return f"{self._place.name} is not running any more"

    def _begin_waiting(self) -> None:
        """A wait begins, in which nothing has been started yet."""

    def _study(self) -> Study:
        return Study(self._place, Store.open(self._place.existing(), idle="closed"))


class Wait:
    """The wait for one answer, a look at a time: how the time in between is spent is for whoever waits."""

    def __init__(
        self,
        answers: Answers,
        request: str,
        verb: str,
        *,
        until_accepted: bool,
        timeout_s: float | None,
        on_wait: Callable[[str], None] | None,
    ) -> None:
        """Begins now; `timeout_s` None: as long as there is patience."""
        self.request = request
        self._answers, self._verb, self._until_accepted = answers, verb, until_accepted
        self._timeout_s, self._on_wait = timeout_s, on_wait
        self._last = self._began = self._looks_at = time.monotonic()
        self._looks_every, self._spent, self._obstacle, self._told = _LOOKS_AGAIN_S, 0.0, "", ""

    def suffices(self, state: RequestState, detail: str) -> bool:
        """Whether nobody waits on after such an answer."""
        # a detail of what is merely accepted says when it takes effect
        return self._until_accepted or state not in ("received", "accepted") or bool(detail)

    @property
    def pause_s(self) -> float:
        """Seconds in which no look is needed, unless an answer comes."""
        ends_at = self._looks_at if self._timeout_s is None else min(self._looks_at, self._began + self._timeout_s)
        return max(ends_at - time.monotonic(), 0.0)

    def look(self) -> Reply | None:
        """What became of the request: final, or what there is to say when patience ends; None: it is waited for."""
        reply = self._answers.so_far(self.request, self._verb)
        if reply is not None and reply.state == "rejected":
            raise self._answers.refused(reply)
        if reply is not None and self.suffices(reply.state, reply.detail):
            return reply
        now = time.monotonic()
        self._spent += 0.0 if self._obstacle else now - self._last
        self._last, waited_s = now, now - self._began
        if now >= self._looks_at:  # whoever was there may have been about to leave
            found = self._answers.obstacle(answered=reply is not None, waited_s=waited_s)
            if found is None:
                return replace(self._on_record(), detail=self._answers.nobody())
            self._say(found)
            self._looks_at = time.monotonic() + self._looks_every
            self._looks_every = min(2 * self._looks_every, _LOOKS_UP_TO_S)
        enough = self._spent >= ANSWER_WITHIN_S or waited_s >= _PATIENCE_S
        return self.standing(reply) if (enough if self._timeout_s is None else waited_s >= self._timeout_s) else None

    def until_answered(self) -> Reply:
        """What became of the request, by whoever has nothing else to do."""
        pauses = pauses_between_polls()
        while (reply := self.look()) is None:
            time.sleep(next(pauses))
        return reply

    def standing(self, reply: Reply | None = None) -> Reply:
        """What there is to say where nobody waits on; `reply` is what is known."""
        detail = self._obstacle or ("it takes effect between two steps" if reply else "nobody has looked at it yet")
        return replace(reply or self._on_record(), detail=detail)

    def _on_record(self) -> Reply:
        return Reply(request=self.request, verb=self._verb, state="received", step=None, detail="")

    def _say(self, obstacle: str) -> None:
        self._obstacle = obstacle
        if obstacle and obstacle != self._told and self._on_wait is not None:
            self._on_wait(f"waiting: {obstacle}")
            self._told = obstacle


class SweepAnswers(Answers):
    """The answers of a sweep, which its own command has to run."""

    def unattended(self, verb: str, arguments: Mapping[str, Any], why: str, by: str, request: str) -> Reply | None:  # noqa: ARG002
        """A sweep is started by its own command; one that is not running need not be stopped."""
        with closing(self._study()) as study:
            trials = study.state.trials
        over = [each for each in trials if each.ended]
        count = f"{len(over)} of its {len(trials)} trials {'is' if len(over) == 1 else 'are'} over"
        stands = f"{self._place.name} is not running: {count}"
        if verb == "stop":
            return Reply(request="", verb=verb, state="applied", step=None, detail=stands)
        if verb == "stop_trial":
            number = arguments["trial"]
            for trial in over:
                if trial.trial == number:
                    raise StudyError(f"{stands}, and trial {number} is: {trial.state}, {trial.why}.", code="over")
        raise StudyError(
            f"{stands}, so nobody would carry out {verb!r}. Start its command again first, with more trials if "
            "all were tried.",
            code="not_running",
        )

    def obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """It answers as soon as it runs."""
        if self._store.holder(time.time()) is None:
            return None
        if answered or waited_s < _SAYS_AFTER_S:
            return ""
        return "the coordinator is busy" if self._store.brief()["trials"] else "the coordinator is starting"


class RunAnswers(Answers):
    """The answers of a babysat run, of which a coordinator is started where there is none."""

    def __init__(self, place: Place, store: Store) -> None:
        super().__init__(place, store)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        self._started: Callable[[], bool] | None = None  # whether the coordinator lives that this wait has started
        self._gone = False

    def unattended(self, verb: str, arguments: Mapping[str, Any], why: str, by: str, request: str) -> Reply | None:
        """A run that goes on, or is to go on, gets another coordinator; one that is over answers the rest at once."""
        from tuner.panda.going_back import check_revival, settled

        try:
            with closing(self._study()) as study:
                state = study.state
        except StudyError:
            return None  # it has not begun
        if not state.trials or not state.trials[0].ended:
            return None
        if verb == "note":
            return self._write_down(arguments, why, by, request)
        trial = state.trials[0]
        if (done := settled(trial, verb)) is not None:
            return Reply(request="", verb=verb, state="applied", step=trial.steps, detail=done)
        try:
            check_revival(state, trial, verb, arguments)
        except TunerError as error:
            raise StudyError(f"{self._place.name} refused to {verb}: {error}", code=error.code) from error
        return None

    def _write_down(self, arguments: Mapping[str, Any], why: str, by: str, request: str) -> Reply | None:
        """A note needs no worker: whoever writes it coordinates for that moment; None where somebody else does."""
        with closing(self._study()) as study:
            steps = study.state.trials[0].steps
        with closing(Store.open(self._place.existing())) as record, suppress(StudyBusy):
            record.acquire(time.time())
            name = record.request("note", dict(arguments), by=by, why=why, request=request)
            at, text = time.time(), str(arguments["text"])
            noted = Noted(trial=0, step=steps, by=by, text=text, at=at)
            answer = Answered(request=name, state="applied", step=None, detail="noted", at=at)
            record.append([noted, answer], at)
            return Reply(request=name, verb="note", state="applied", step=None, detail="noted")
        return None

    def obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """Starts a coordinator where there is none; without a worker nothing can be done between two steps."""
        if self._store.holder(time.time()) is None:
            self._wake()
            return "the coordinator is starting"
        self._started = None
        if waited_s < _SAYS_AFTER_S:
            return ""
        if not answered:
            return "the coordinator is starting"
        with closing(self._study()) as study:
            trials = study.state.trials
        return "" if trials and trials[0].state not in ("waiting", "lost") else "there is no worker yet"

    def _wake(self) -> None:
        """Starts a coordinator, unless one that was started is on its way; raises what one that failed said last."""
        from tuner.api import process

        if self._started is None:
            (_, self._started), self._gone = process.launch(self._place), False
        elif self._gone:
            self._started = None
            raise StudyError(
                f"no coordinator could be started for {self._place.name}: {process.last_words(self._place)}"
            )
        else:
            self._gone = not self._started()  # it may have answered before it left: that is looked at first
