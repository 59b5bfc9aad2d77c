"""The fold of a study's records: what is true now. State changes only through `StudyState.apply(record)`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.record import events as rec
from tuner.record.curve import Curve, better
from tuner.record.dialogue import DIALOGUE
from tuner.record.events import LIVE, Goal, TrialState
from tuner.record.reports import objective_rows
from tuner.record.requests import Request
from tuner.record.round import Lead, Round
from tuner.record.score_names import spread_of
from tuner.record.trial import Checkpoint, Segment, Trial


@dataclass(slots=True, weakref_slot=True)
class StudyState:
    """One goal, one objective, all its trials: the fold of the records applied so far.

    Curves of ended trials are left to `load_curves` after a restart and kept in memory once read.
    """

    name: str = ""
    kind: str = "sweep"
    objective: str = ""
    goal: Goal = "maximize"
    identity: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    source_sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Who asked for changes that the training function has not read."""
    live: dict[int, Trial] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    ended_order: list[int] = field(default_factory=list)
    """The trials that are over, in the order they ended; it only grows unless `revivals` does."""
    revivals: int = 0
    """How often a trial that was over has been taken up again."""
    steps_done: int = 0
    """Steps on the heads of all trials; what a retry repeats counts once."""
    extra_steps: int = 0
    repeating: int = 0
    """How many of the trials train the settings of an earlier one again."""
    repeats_within: int = 0
    """How many of those the sweep has begun itself, out of its own budget."""
    winner: int | None = None
    led: Lead = (None, None, None)
    """What was last put on record of the best."""
    load_curves: Callable[[Sequence[Trial]], Iterable[Curve]] | None = None
    """Reads the head curves of trials from the record, in their order."""
    replaying: bool = False
    moves: int = 0
    """How often the curve of a live trial has changed in this process: for caches."""
    moved: dict[int, int] = field(default_factory=dict)
    """The live trials by their curves' last change, the latest last, with what `moves` was then."""

    def apply(self, record: rec.Record) -> None:
        """Takes one record in; the only way anything here changes."""
        _APPLY[type(record)](self, record)

    # ── what is asked of the fold ───────────────────────────────────────────────────────────────

    def curve(self, trial: Trial) -> Curve:
        """The trial's head curve of the objective."""
        if trial.curve is None:
            (trial.curve,) = self._loaded([trial])
        return trial.curve

    def read(self, trials: Iterable[Trial]) -> None:
        """Has the curves of these trials in memory, those that are missing read together."""
        missing = [trial for trial in trials if trial.curve is None]
        for trial, curve in zip(missing, self._loaded(missing) if missing else (), strict=True):
            trial.curve = curve

    def _loaded(self, trials: Sequence[Trial]) -> Iterable[Curve]:
        return [Curve() for _ in trials] if self.load_curves is None else self.load_curves(trials)

    def spread(self, trial: Trial | None) -> float | None:
        """How far a trial's seeds differ at its best step, a sample standard deviation; None with one seed."""
        if trial is None or trial.best_step is None or self.seeds == 1:
            return None
        return self.curve(trial).spreads.get(trial.best_step)

    @property
    def best(self) -> Trial | None:
        """The trial of the search with the best head report among those that did not diverge, or None.

        A trial that repeats another is never the best: it says how sure the other's score is.
        """
        return None if self.winner is None else self.trials[self.winner]

    @property
    def lead(self) -> Lead:
        """The best as `Led` has it: trial, step and score."""
        best = self.best
        return (None, None, None) if best is None else (best.trial, best.best_step, best.best_score)

    @property
    def seeds(self) -> int:
        """With how many seeds each trial trains; studies begun before there was a choice have one."""
        return int(self.identity.get("seeds", 1))

    @property
    def extension(self) -> int:
        """Steps beyond what the function asks for, those that a fork inherits from its parent included."""
        return self.extra_steps + int(self.options.get("extra_steps", 0))

    def ended(self) -> list[Trial]:
        """The trials that are over, in the order they ended."""
        return [self.trials[number] for number in self.ended_order]

    def signed(self, score: float) -> float:
        """The score with its sign turned so that higher is better."""
        return score if self.goal == "maximize" else -score

    def searched(self) -> list[Trial]:
        """The trials of the search, by number; those that repeat another are left out."""
        return [trial for trial in self.trials if not trial.repeats] if self.repeating else self.trials

    @property
    def budgeted(self) -> int:
        """How many trials a budget of trials has paid for: those of the search, and its repeats."""
        return len(self.trials) - self.repeating + self.repeats_within

    def rounds_with_trials(self) -> list[Round]:
        """The rounds that have a trial of their own; others were overtaken by what was learned before one began."""
        begun = [each.first_trial for each in self.rounds[1:]] + [len(self.trials)]
        return [each for each, after in zip(self.rounds, begun, strict=False) if each.first_trial < after]

    def kept(self, trial: Trial) -> list[Checkpoint]:
        """The trial's checkpoints that still lie on disk, oldest first, in the order written."""
        return [self.checkpoints[number] for number in trial.checkpoints if self.checkpoints[number].kept]

    def sha256_of(self, checkpoint: Checkpoint) -> str | None:
        """What the files of a checkpoint must hash to: of two saved at one place the later is there."""
        numbers = self.trials[checkpoint.trial].checkpoints
        here = [each for number in numbers if (each := self.checkpoints[number]).path == checkpoint.path]
        return here[-1].sha256 or None

    def settle(self, moved: Container[int] | None = None) -> None:
        """Ends a replay without reports: reads the curves of the trials that have not ended.

        With `moved` those of them alone; the others are where they were as the replay began.
        """
        self.replaying = False
        begun = [trial for trial in self.live.values() if trial.started is not None]
        read = [trial for trial in begun if moved is None or trial.trial in moved]
        self.read(read)
        for trial in read:
            self._reach(trial, max(trial.steps, self.curve(trial).reached))
            self._rescore(trial)
            self._elect(trial)
        for trial in begun:
            self._move(trial)

    # ── how each record changes it ──────────────────────────────────────────────────────────────

    def _study_opened(self, record: rec.StudyOpened) -> None:
        self.name, self.kind, self.identity = record.name, record.kind, record.identity
        self.objective, self.goal = record.identity["objective"], record.identity["goal"]
        self.function, self.source_sha256 = record.function, record.source_sha256

    def _configured(self, record: rec.Configured) -> None:
        self.options = {**self.options, **record.options}

    def _round_opened(self, record: rec.RoundOpened) -> None:
        box = {name: (float(low), float(high)) for name, (low, high) in record.box.items()}
        self.rounds.append(Round(record.round, record.first_trial, box, record.seen, record.why, record.memo))

    def _trial_created(self, record: rec.TrialCreated) -> None:
        if record.trial != len(self.trials):
            raise ValueError(f"trial {record.trial} follows trial {len(self.trials) - 1}: the record has a gap")
        trial = Trial(
            record.trial,
            record.purpose,
            record.round,
            record.parent,
            record.seed,
            record.params,
            record.seen,
            record.memo,
            record.at,
            why=record.why,
            curve=None if self.replaying else Curve(),
        )
        self.trials.append(trial)
        self.live[record.trial] = trial
        self.repeating += trial.repeats
        self.repeats_within += trial.purpose == "repeat"
        self._count("waiting", +1)

    def _segment_opened(self, record: rec.SegmentOpened) -> None:
        trial = self.trials[record.trial]
        left = trial.head_limits()
        trial.segments += (
            Segment(
                record.segment,
                record.parent_segment,
                record.from_step,
                record.checkpoint,
                record.cause,
                record.by,
                record.why,
                record.params,
                record.schedules,
                record.request,
            ),
        )
        if len(trial.segments) == 1:
            trial.steps = record.from_step  # a fork begins where another run was
        else:
            if record.cause not in ("adjust", "revert") or trial.ended:  # else it goes on in the same worker
                self._become(trial, "waiting", record.why)
            self.live[trial.trial] = trial
            if record.cause == "thaw":
                trial.stands_still = trial.frozen = False
            if trial.ended_at is not None:  # a trial that was over is taken up again
                self.ended_order.remove(trial.trial)
                self.revivals += 1
                trial.ended_at, trial.error = None, ""
            if not self.replaying:
                self._turn_back(trial, record, left)
                self._move(trial)
                self._rescore(trial)
            self._reach(trial, record.from_step)

    def _trial_started(self, record: rec.TrialStarted) -> None:
        trial = self.trials[record.trial]
        trial.started = record.at if trial.started is None else trial.started
        trial.resumed_at = record.at
        trial.node, trial.worker = record.node, record.worker
        self._become(trial, "running", "")

    def _trial_planned(self, record: rec.TrialPlanned) -> None:
        trial = self.trials[record.trial]
        trial.planned, trial.resumable = record.steps, record.resumable

    def _trial_held(self, record: rec.TrialHeld) -> None:
        trial = self.trials[record.trial]
        trial.frozen = record.frozen
        if trial.resumed_at is not None:
            trial.seconds += record.at - trial.resumed_at
        trial.resumed_at = record.at if record.state == "running" else None
        if record.state != "lost":  # a trial that was paused when its worker died stands still in the next one too
            trial.stands_still = record.state == "paused"
        self._become(trial, record.state, record.why)

    def _trial_delayed(self, record: rec.TrialDelayed) -> None:
        self.trials[record.trial].delay = record.why

    def _trial_ended(self, record: rec.TrialEnded) -> None:
        trial = self.trials[record.trial]
        self._become(trial, record.state, record.why)
        trial.stands_still = trial.frozen = False
        self._reach(trial, record.step)
        trial.best_step, trial.best_score = record.best_step, record.best_score
        trial.started, trial.seconds, trial.node = record.started, record.seconds, record.node
        trial.error, trial.ended_at = record.error, record.at
        self.live.pop(record.trial, None)
        self.moved.pop(record.trial, None)
        self.ended_order.append(record.trial)
        if self.winner == record.trial:  # it may be the best no longer: it diverged, or was trained anew and did worse
            self._elect_all()
        else:
            self._elect(trial)

    def _reported(self, record: rec.Reported) -> None:
        trial = self.trials[record.trial]
        if trial.segments and record.segment != trial.head.segment:
            return
        self._reach(trial, max(trial.steps, record.last_step))
        rows = objective_rows(record, self.objective)
        if trial.curve is None:  # it is read with what is on record by now, this flush among it
            curve = self.curve(trial)
            self._rescore(trial)
            rows = [row for row in rows if not curve.steps or row[0] > curve.steps[-1]]
        curve = self.curve(trial)
        for step, score in rows:
            if curve.add(step, score):  # what was replaced may have been the best
                self._rescore(trial)
            elif score == score and (trial.best_score is None or better(self.goal, score, trial.best_score)):
                trial.best_step, trial.best_score = step, score
        if self.seeds > 1:
            curve.spreads.update(objective_rows(record, spread_of(self.objective)))
        self._move(trial)
        self._elect(trial)

    def _led(self, record: rec.Led) -> None:
        self.led = (record.trial, record.step, record.score)

    def _checkpoint_saved(self, record: rec.CheckpointSaved) -> None:
        self.checkpoints[record.checkpoint] = Checkpoint(
            record.checkpoint,
            record.trial,
            record.segment,
            record.step,
            record.kind,
            record.bytes,
            record.path,
            record.sha256,
        )
        self.trials[record.trial].checkpoints += (record.checkpoint,)

    def _checkpoint_dropped(self, record: rec.CheckpointDropped) -> None:
        self.checkpoints[record.checkpoint].kept = False

    def _requested(self, record: rec.Requested) -> None:
        self.requests[record.request] = Request(
            record.request, record.verb, record.arguments, record.by, record.why, record.at
        )

    def _answered(self, record: rec.Answered) -> None:
        request = self.requests[record.request]
        request.state, request.detail = record.state, record.detail
        if record.state == "accepted":
            request.accepted_at = record.at
        if request.verb in DIALOGUE:
            request.arguments = {}  # what came of it is told by other records, and there may be millions
        if record.state == "applied" and request.verb == "extend":
            self.extra_steps += int(request.arguments["steps"])

    def _received(self, record: rec.Received) -> None:
        self.received[record.incarnation] = record.batch

    def _judged(self, record: rec.Judged) -> None:
        if record.verdict == rec.UNREAD:
            self.unread.add(record.request)
        elif record.verdict == rec.READ:
            self.unread.discard(record.request)

    def _untouched(self, record: rec.Record) -> None:
        """Notes and adjustments matter to tables alone."""

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────

    def _become(self, trial: Trial, state: TrialState, why: str) -> None:
        if trial.state != state:
            self._count(trial.state, -1)
            self._count(state, +1)
            trial.state = state
        trial.why, trial.delay = why or trial.why, ""

    def _count(self, state: str, change: int) -> None:
        self.counts[state] = self.counts.get(state, 0) + change

    def _reach(self, trial: Trial, step: int) -> None:
        self.steps_done += step - trial.steps
        trial.steps = step

    def _move(self, trial: Trial) -> None:
        if trial.trial in self.live:
            self.moves += 1
            self.moved.pop(trial.trial, None)
            self.moved[trial.trial] = self.moves

    def _turn_back(self, trial: Trial, record: rec.SegmentOpened, left: Mapping[int, int | None]) -> None:
        """Brings the curve onto the path of the segment just opened; what had been given up of it, from the record.

        `left` are the limits of the path that was left.
        """
        curve, parent = self.curve(trial), record.parent_segment
        limit = left.get(parent, -1) if parent is not None else None
        if limit is not None and record.from_step > limit and self.load_curves is not None:
            (taken_up,) = self.load_curves([trial])
            curve.steps[:], curve.scores[:], curve.spreads = taken_up.steps, taken_up.scores, taken_up.spreads
        curve.cut(-1 if parent is None else record.from_step)

    def _rescore(self, trial: Trial) -> None:
        best = self.curve(trial).best(self.goal)
        trial.best_step, trial.best_score = best or (None, None)
        if self.winner == trial.trial:
            self._elect_all()

    def _elect(self, trial: Trial) -> None:
        if trial.best_score is None or trial.state == "diverged" or trial.repeats:
            return
        holder = self.best
        if holder is None or holder.best_score is None or better(self.goal, trial.best_score, holder.best_score):
            self.winner = trial.trial
        elif trial.best_score == holder.best_score:  # of equals the first: whatever order the records are read in
            self.winner = min(trial.trial, holder.trial)

    def _elect_all(self) -> None:
        self.winner = None
        for trial in self.trials:
            self._elect(trial)


def unfinished(study: StudyState) -> list[Trial]:
    """The trials that have not ended, by number."""
    return [trial for _, trial in sorted(study.live.items()) if trial.state in LIVE]


_APPLY: dict[type[Any], Callable[[StudyState, Any], None]] = {
    rec.StudyOpened: StudyState._study_opened,
    rec.Configured: StudyState._configured,
    rec.RoundOpened: StudyState._round_opened,
    rec.TrialCreated: StudyState._trial_created,
    rec.SegmentOpened: StudyState._segment_opened,
    rec.TrialStarted: StudyState._trial_started,
    rec.TrialPlanned: StudyState._trial_planned,
    rec.TrialHeld: StudyState._trial_held,
    rec.TrialDelayed: StudyState._trial_delayed,
    rec.TrialEnded: StudyState._trial_ended,
    rec.Reported: StudyState._reported,
    rec.Led: StudyState._led,
    rec.CheckpointSaved: StudyState._checkpoint_saved,
    rec.CheckpointDropped: StudyState._checkpoint_dropped,
    rec.Requested: StudyState._requested,
    rec.Answered: StudyState._answered,
    rec.Received: StudyState._received,
    rec.Noted: StudyState._untouched,
    rec.Adjusted: StudyState._untouched,
    rec.Judged: StudyState._judged,
}
