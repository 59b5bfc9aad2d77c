"""Requests to a running study as a person makes them: put on record, waited for, and answered."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Self

from tuner.api.study import Study
from tuner.arguments import amount, checked, index, optional, text
from tuner.arguments import name as named
from tuner.errors import SettingsError, StudyError, TunerError, interrupted, uncoded
from tuner.record.events import NOT_A_PERSON, RequestState
from tuner.record.location import Place
from tuner.record.requests import check_asker, understood
from tuner.record.store import Store

# How long a verb waits: while somebody could carry it out, and with the time in which a coordinator starts or a worker
# is sought. An answer is polled for at once, then less and less often; what is in its way is looked at now and then.
ANSWER_WITHIN_S, _PATIENCE_S = 15.0, 300.0
_POLLS_FROM_S, _POLLS_UP_TO_S = 0.002, 0.1
_LOOKS_AGAIN_S, _LOOKS_UP_TO_S = 0.5, 4.0
SAYS_AFTER_S = 1.0
"""A verb says what it waits for once it has waited this long."""


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


def person(by: str = "") -> str:
    """Who asks: as told, else the user's name; what acts on record beside people is nobody's name."""
    if by.strip().casefold() in NOT_A_PERSON:
        raise SettingsError(
            f"by={by!r} is how the record tells what {by.strip()!r} itself did, so nobody can ask under that name. "
            "Give your own, or leave it out for the user's."
        )
    if by:
        return by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"user {os.getuid()}"
    return f"user {user}" if user.strip().casefold() in NOT_A_PERSON else user


def checked_request(
    verb: str,
    arguments: Mapping[str, Any],
    why: str,
    by: str,
    expect: int | None,
    request: str,
    timeout_s: float | None,
) -> tuple[dict[str, Any], str, str, float | None]:
    """What somebody asks for, as it may go on its way: arguments, why, id (empty: a new one) and patience."""
    given = arguments if expect is None else {**arguments, "expect": index("expect", expect)}
    asked, why = understood(verb, given), text("why", why)
    check_asker(verb, by, why)
    if not isinstance(request, str) or request:
        request = named("request", request)
    patience_s = optional(amount(least=0, unit="seconds", instead="Leave it out to wait."))("timeout_s", timeout_s)
    return asked, why, request, patience_s


def pauses_between_polls() -> Iterator[float]:
    """The seconds between one look at an answer and the next: most come at once, the others are not needed so soon."""
    pause = _POLLS_FROM_S
    while True:
        yield pause
        pause = min(1.3 * pause, _POLLS_UP_TO_S)


class Handle:
    """A running study, from any process that may write to its folder; `with` closes it.

    `tuner.attach` opens one, and `tuner.babysit` returns one: a `RunHandle` or a `SweepHandle`.

    Args:
        place: Where the study lies.
        store: Its record, which the handle closes.
        by: Who asks, as the record will say; the user's name where it is left out.

    Example:
        >>> with tuner.attach("night", by="ann") as held:
        ...     held.name, held.by, held.study.best.trial >= 0
        ('night', 'ann', True)
    """

    def __init__(self, place: Place, store: Store, *, by: str = "") -> None:
        """Use `tuner.attach`, or what `tuner.babysit` returns. `by` is who asks, the user's name unless told."""
        self._place, self._store = place, store
        self.by = person(by)
        """Who asks, as the record will say."""
        self.name = place.name
        """The study's name."""
        self._started: Callable[[], bool] | None = None  # whether the coordinator lives that this wait has started
        self._gone = False
        self.on_wait: Callable[[str], None] | None = None
        """Told in a sentence what a verb waits for, where it has to wait."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """The study as a notebook shows it, with how to steer it."""
        from tuner.views.notebook import steered_html, unread_html

        try:
            with closing(self.study) as study:
                return steered_html(study)
        except TunerError as error:
            return unread_html(repr(self), error)

    @property
    def study(self) -> Study:
        """The study as it is now; holds no file between two looks at it."""
        return Study(self._place, Store.open(self._place.existing(), idle="closed"))

    @checked()
    def pause(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Starts nothing further; what trains stands still between two steps, and keeps its worker.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study refuses, or is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> sweeping.pause("the machine is needed").state
            'applied'
            >>> sweeping.resume().state
            'applied'
        """
        return self._ask("pause", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def resume(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Goes on after `pause`.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study refuses, or is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.resume().state
            'applied'
        """
        return self._ask("resume", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def stop(
        self, why: str = "", *, expect: int | None = None, request: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Ends what trains after its present step; everything is kept.

        Args:
            why: The reason, for the record.
            expect: What you last saw, the newest segment of a run or round of a sweep: a newer one refuses it. None:
                whatever was changed.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it; of a study that is over, that it is.

        Raises:
            StudyError: The study refuses.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> tuner.attach("night").stop().detail
            'night is not running: 12 of its 12 trials are over'
        """
        return self._ask("stop", {}, why, expect=expect, request=request, timeout_s=timeout_s)

    @checked()
    def note(self, text: str, trial: int | None = None, *, request: str = "", timeout_s: float | None = None) -> Reply:
        """Writes a note into the study's record, also of a babysat run that is over.

        Args:
            text: What to note, of at most 100,000 characters.
            trial: The trial it speaks of, from 0. None: the study.
            request: An id of your own: the same id twice is one request, with one answer. Empty: a new one.
            timeout_s: Seconds to wait for an answer, at least 0. None: 15 s in which somebody could have given it.

        Returns:
            What became of it.

        Raises:
            StudyError: The study is a sweep that does not run.
            SettingsError: An argument of another name, or one that makes no sense.

        Example:
            >>> handle.note("the data was cleaned again").state
            'applied'
        """
        return self._ask("note", {"text": text, "trial": trial}, "", request=request, timeout_s=timeout_s)

    @checked()
    def close(self) -> None:
        """Lets go of the database; what trains goes on. A second time does nothing.

        Raises:
            SettingsError: It takes no argument.

        Example:
            >>> held = tuner.attach("night")
            >>> held.close()
        """
        self._store.close()

    def _ask(
        self,
        verb: str,
        arguments: dict[str, Any],
        why: str,
        *,
        until_accepted: bool = False,
        expect: int | None = None,
        request: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Inserts a request and waits until it has taken effect, or at least been accepted."""
        arguments, why, request, timeout_s = checked_request(verb, arguments, why, self.by, expect, request, timeout_s)
        asked_before = bool(request) and self._reply(request, verb) is not None
        if not asked_before and self._store.holder(time.time()) is None:
            done = self._unattended(verb, arguments, why, request)
            if done is not None:
                return done
        name = self._store.request(verb, arguments, by=self.by, why=why, request=request)
        try:
            return self._awaited(name, verb, until_accepted=until_accepted, timeout_s=timeout_s)
        except KeyboardInterrupt:
            told = f"the request to {verb} is on record ({name}), and is carried out all the same"
            raise interrupted(told) from None

    def _awaited(self, name: str, verb: str, *, until_accepted: bool, timeout_s: float | None) -> Reply:
        """What became of a request: final, or what there is to say of it when patience ends."""
        self._started, self._gone = None, False
        last = began = time.monotonic()
        looks_at, looks_every, pauses = began, _LOOKS_AGAIN_S, pauses_between_polls()
        spent, obstacle, told = 0.0, "", ""
        on_record = Reply(request=name, verb=verb, state="received", step=None, detail="")
        while True:
            reply = self._reply(name, verb)
            if reply is not None and reply.state == "rejected":
                sentence, code = uncoded(reply.detail)
                raise StudyError(f"{self.name} refused to {verb.replace('_', ' ')}: {sentence}", code=code)
            # a detail of what is merely accepted says when it takes effect
            if reply is not None and (until_accepted or not reply.pending or reply.detail):
                return reply
            now = time.monotonic()
            spent += 0.0 if obstacle else now - last
            last = now
            if now >= looks_at:  # whoever was there may have been about to leave
                found = self._obstacle(answered=reply is not None, waited_s=now - began)
                if found is None:
                    return replace(on_record, detail=f"{self.name} is not running any more")
                obstacle = found
                if obstacle and obstacle != told and self.on_wait is not None:
                    self.on_wait(f"waiting: {obstacle}")
                    told = obstacle
                looks_at, looks_every = time.monotonic() + looks_every, min(2 * looks_every, _LOOKS_UP_TO_S)
            enough = spent >= ANSWER_WITHIN_S or now - began >= _PATIENCE_S
            if enough if timeout_s is None else now - began >= timeout_s:
                detail = obstacle or ("it takes effect between two steps" if reply else "nobody has looked at it yet")
                return replace(reply or on_record, detail=detail)
            time.sleep(next(pauses))

    def _reply(self, name: str, verb: str) -> Reply | None:
        answer = self._store.answer(name)
        if answer is None:
            return None
        return Reply(request=name, verb=verb, state=answer.state, step=answer.step, detail=answer.detail)

    def _unattended(self, verb: str, arguments: Mapping[str, Any], why: str, request: str) -> Reply | None:
        """Nobody coordinates the study: what there is to say at once; None where a coordinator is to be started."""
        raise NotImplementedError

    def _obstacle(self, *, answered: bool, waited_s: float) -> str | None:
        """What keeps a request from being carried out; empty where nothing does, None where nobody will see to it."""
        raise NotImplementedError
