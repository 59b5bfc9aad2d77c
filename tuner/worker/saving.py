"""The saving of one trial's state: fixed between two steps, put on disk while training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tuner.errors import CheckpointError
from tuner.worker.checkpoints import FOLDER
from tuner.worker.messages import Did, Order, Saved, WorkerEvent
from tuner.worker.state import State
from tuner.worker.storage import Unwritten

# A save may cost training at most a twentieth of its time.
_SAVE_SHARE = 20.0
# After a refusal the disk is left alone for this long: a full one would otherwise be complained of at every step.
_REST_S = 10.0
_WORDS = 300  # characters

_WRITER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tuner-checkpoint")


class Saver:
    """Writes a trial's checkpoints, at most one in flight."""

    def __init__(
        self,
        order: Order,
        *,
        emit: Callable[[WorkerEvent], None],
        warn: Callable[[str], None],
        now: Callable[[], float],
        in_background: bool,
    ) -> None:
        self.state: State | None = None
        self.step = order.from_step
        """The step of the last checkpoint; without one, where the trial began."""
        self._order, self._emit, self._warn, self._now = order, emit, warn, now
        self._in_background = in_background
        self._writing: Future[bool] | None = None
        self._saved_at = now()
        self._newest: tuple[int, int] | None = None
        self._name: str | None = None
        self._cost_s = 0.0
        self._rests_until = 0.0
        self._tells_of_pickles = order.trial == 0 and order.checkpoint is None  # once a study is enough

    @property
    def possible(self) -> bool:
        """Whether there is a state to save and a place to save it."""
        return self.state is not None and self._order.storage is not None

    @property
    def _at_every_step(self) -> bool:
        """Whether nothing that was trained may be lost, whatever it costs."""
        return self._order.checkpoint_every_s == 0

    def holds(self, segment: int, step: int) -> bool:
        """Whether this very moment has been saved."""
        return self._newest == (segment, step)

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        if step <= self.step or not self.possible:
            return False
        if self._at_every_step:
            self.finish()  # the write of the step before may yet find the disk full
        if self._now() < self._rests_until:
            return False
        if self._at_every_step:
            return True
        return self._now() - self._saved_at >= max(self._order.checkpoint_every_s, _SAVE_SHARE * self._cost_s)

    def save(
        self,
        kind: str,
        segment: int,
        step: int,
        settings: Mapping[str, Any],
        *,
        wait: bool = False,
        must: bool = False,
        request: str = "",
    ) -> bool:
        """Fixes the state now and writes it; False where it was not, with a warning sent.

        A save that falls into the writing of another is passed over, unless it `must` be or the caller will `wait`.
        """
        if self.state is None or self._order.storage is None:
            return False
        if wait and self.holds(segment, step):
            self.finish()
        if self.holds(segment, step):
            return True
        if self._writing is not None and not self._writing.done() and not (wait or must):
            return False
        self.finish()
        name = f"{FOLDER}/{self._order.trial}/{segment}-{step}"
        try:
            unwritten = self._order.storage.take(name, step=step, state=self.state, settings=settings)
        except CheckpointError as error:
            self._refused(error, step, request)
            return False
        self.step, self._saved_at, self._newest, self._name = step, self._now(), (segment, step), name
        if self._tells_of_pickles and self.state.pickled is not None:
            self._tells_of_pickles = False
            self._warn(
                f"checkpoints are pickles, for the sake of {self.state.pickled[:_WORDS]}: to read one runs code. A "
                "state_dict() of arrays, tensors and plain values needs none."
            )
        if self._in_background and not wait:
            self._writing = _WRITER.submit(self._write, unwritten, name, kind, segment, step, request)
            return True
        return self._write(unwritten, name, kind, segment, step, request)

    def newest(self) -> str | None:
        """The name of the last moment saved, once it is written; None where the disk refused it."""
        self.finish()
        return None if self._newest is None else self._name

    def went_back(self, step: int) -> None:
        """Training was set back to `step`."""
        self.step, self._saved_at = step, self._now()

    def finish(self) -> None:
        """Waits for the write in flight."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def let_go(self) -> None:
        """The trial is over: what it trained is nobody's any more, so that its memory is free for the next."""
        self.state = None

    def _refused(self, error: CheckpointError, step: int, request: str) -> None:
        """Warns, answers whoever asked, and lets the disk rest before it is tried again."""
        self._warn(str(error))
        self._newest = None
        self._rests_until = self._now() + _REST_S
        if request:
            why = "the disk refused it; training goes on"
            self._emit(
                Did(trial=self._order.trial, request=request, step=step, state="rejected", detail=why, at=self._now())
            )

    def _write(self, unwritten: Unwritten, name: str, kind: str, segment: int, step: int, request: str) -> bool:
        try:
            saved = unwritten.write()
        except CheckpointError as error:
            self._refused(error, step, request)
            return False
        self._cost_s = saved.seconds
        self._emit(
            Saved(
                trial=self._order.trial,
                segment=segment,
                step=saved.step,
                kind=kind,
                bytes=saved.bytes,
                sha256=saved.sha256,
                path=name,
                at=self._now(),
                request=request,
            )
        )
        return True
