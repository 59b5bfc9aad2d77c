from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import facts
from hypothesis import given
from hypothesis import strategies as st

from tuner.record import events as rec
from tuner.record.curve import Curve, better
from tuner.record.reports import objective_rows, pack_reports
from tuner.record.state import StudyState, unfinished
from tuner.record.trial import Checkpoint, Trial, latest_steps

# ── words for the tests ─────────────────────────────────────────────────────────────────────────


class History:
    """Writes a study's records as a coordinator would, folding them as they come."""

    def __init__(self, goal: rec.Goal = "maximize") -> None:
        self.records: list[rec.Record] = []
        self.live = StudyState()
        self.at = 0.0
        self.say(
            rec.StudyOpened(
                name="night",
                kind="sweep",
                identity={"objective": "score", "goal": goal, "seed": 0},
                function="m:f",
                source_sha256="",
                version="0",
                at=0.0,
            )
        )

    def say(self, record: rec.Record) -> None:
        self.records.append(record)
        self.live.apply(record)

    def create(self) -> int:
        number = len(self.live.trials)
        self.say(
            rec.TrialCreated(
                trial=number,
                purpose="search",
                round=None,
                parent=None,
                seed=number,
                params={"x": number / 8},
                seen=len(self.live.ended_order),
                why="drawn",
                memo=None,
                at=self.at,
            )
        )
        self.open(number, "start", 0, None)
        return number

    def open(self, trial: int, cause: rec.Cause, from_step: int, parent: int | None) -> None:
        self.say(
            rec.SegmentOpened(
                trial=trial,
                segment=len(self.live.trials[trial].segments),
                parent_segment=parent,
                from_step=from_step,
                checkpoint=None,
                cause=cause,
                by="tuner",
                why=f"because of a {cause}",
                params=None,
                at=self.at,
            )
        )

    def start(self, trial: int) -> None:
        segment = self.live.trials[trial].head.segment
        self.say(rec.TrialStarted(trial=trial, segment=segment, worker="worker-1", node="here", pid=1, at=self.at))

    def report(self, trial: int, *pairs: tuple[int, float], name: str = "score") -> None:
        head = self.live.trials[trial].head.segment
        self.say(pack_reports(trial, head, [(step, name, score, self.at) for step, score in pairs]))

    def hold(self, trial: int, state: Any, why: str = "held") -> None:
        steps = self.live.trials[trial].steps
        self.say(rec.TrialHeld(trial=trial, state=state, step=steps, why=why, at=self.at))

    def end(self, trial: int, state: rec.TrialState = "completed", why: str = "over") -> None:
        found = self.live.trials[trial]
        self.say(
            rec.TrialEnded(
                trial=trial,
                segment=found.head.segment,
                state=state,
                why=why,
                step=found.steps,
                best_step=found.best_step,
                best_score=found.best_score,
                started=found.started,
                seconds=found.seconds,
                node=found.node,
                error="",
                traceback="",
                at=self.at,
            )
        )

    def trained(self, *scores: float, state: rec.TrialState = "completed") -> int:
        """A whole trial with these scores."""
        trial = self.create()
        self.start(trial)
        if scores:
            self.report(trial, *enumerate(scores, 1))
        self.end(trial, state)
        return trial

    def replayed(self) -> StudyState:
        """The fold after a restart: without reports, whose curves are read when asked for."""
        flushes = [each for each in self.records if isinstance(each, rec.Reported)]
        state = StudyState(replaying=True)
        state.load_curves = lambda trials: [
            Curve.of(trial.head_limits(), [each for each in flushes if each.trial == trial.trial], state.objective)
            for trial in trials
        ]
        for record in self.records:
            if not isinstance(record, rec.Reported):
                state.apply(record)
        state.settle()
        return state

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.records))


score_values = st.integers(0, 4).map(float) | st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Trials that are created, trained, lost, retried from a checkpoint, set back, ended and taken up again."""
    history = History(draw(st.sampled_from(["maximize", "minimize"])))
    for _ in range(draw(st.integers(1, 30))):
        history.at += 1.0
        trials = history.live.trials
        trial = draw(st.sampled_from(trials)) if trials else None
        action = draw(st.sampled_from(["create", "train", "train", "train", "lose", "revert", "pause", "end", "rerun"]))
        if trial is None or action == "create":
            history.create()
        elif trial.state == "waiting":
            history.start(trial.trial)
        elif trial.ended:
            if action == "rerun":
                history.open(trial.trial, "retry", 0, None)
        elif trial.state == "paused":
            history.hold(trial.trial, "running", "resumed")
        elif action == "train":
            first = trial.steps + draw(st.integers(0, 1))  # a step may be reported twice, by the segment that took it
            first = max(first, trial.head.from_step + 1)
            pairs = [(first + k, draw(score_values)) for k in range(draw(st.integers(1, 3)))]
            history.report(trial.trial, *pairs, name=draw(st.sampled_from(["score", "score", "loss"])))
        elif action == "pause":
            history.hold(trial.trial, "paused")
        elif action == "end":
            state: rec.TrialState = draw(st.sampled_from(["completed", "pruned", "diverged", "failed", "stopped"]))
            history.end(trial.trial, state)
        elif action in ("lose", "revert"):
            onto = draw(st.sampled_from(trial.path()))
            limit = trial.head_limits()[onto.segment]
            step = draw(st.integers(onto.from_step, trial.steps if limit is None else limit))
            if action == "lose":
                history.hold(trial.trial, "lost")
            history.open(trial.trial, "retry" if action == "lose" else "revert", step, onto.segment)
    return history


# ── the fold, whatever happened ─────────────────────────────────────────────────────────────────


@given(histories())
def test_a_restart_knows_what_the_coordinator_knew(history: History) -> None:
    assert facts(history.replayed()) == facts(history.live)


@given(histories())
def test_a_restart_in_the_middle_goes_on_as_if_there_had_been_none(history: History) -> None:
    middle = len(history.records) // 2
    first = History()
    first.records = history.records[:middle]
    state = first.replayed()
    for record in history.records[middle:]:
        state.apply(record)
    assert facts(state) == facts(history.live)


@given(histories())
def test_the_best_is_the_best_head_report_of_a_trial_that_did_not_diverge(history: History) -> None:
    state = history.live
    scores = [
        (score, -trial.trial)
        for trial in state.trials
        if trial.state != "diverged"
        for score in map(state.signed, state.curve(trial).scores)
        if not math.isnan(score)
    ]
    if not scores:
        assert state.best is None
        return
    score, minus_number = max(scores)
    assert state.best is not None
    assert (state.signed(state.best.best_score or 0.0), state.best.trial) == (score, -minus_number)


@given(histories())
def test_the_counts_are_those_of_the_trials(history: History) -> None:
    state = history.live
    for each in rec.ENDED | rec.LIVE:
        assert state.counts.get(each, 0) == sum(trial.state == each for trial in state.trials)
    assert sorted(state.ended_order) == [trial.trial for trial in state.trials if trial.ended]
    assert [trial.trial for trial in unfinished(state)] == [trial.trial for trial in state.trials if not trial.ended]
    assert state.steps_done == sum(trial.steps for trial in state.trials)


@given(histories())
def test_the_head_curve_is_the_last_report_of_every_step_that_was_not_abandoned(history: History) -> None:
    for trial in history.live.trials:
        expected: dict[int, float] = {}
        for record in history.records:
            if isinstance(record, rec.SegmentOpened) and record.trial == trial.trial:
                kept = -1 if record.parent_segment is None else record.from_step
                expected = {step: score for step, score in expected.items() if step <= kept}
            elif isinstance(record, rec.Reported) and record.trial == trial.trial:
                expected |= dict(objective_rows(record, "score"))
        curve = history.live.curve(trial)
        assert list(curve.steps) == sorted(expected)
        assert [repr(score) for score in curve.scores] == [repr(expected[step]) for step in sorted(expected)]


# ── curves ──────────────────────────────────────────────────────────────────────────────────────

pairs = st.lists(st.tuples(st.integers(0, 20), st.floats(allow_nan=False)), max_size=30)


@given(pairs)
def test_a_curve_ascends_in_steps_and_keeps_the_last_report_of_each(pairs: list[tuple[int, float]]) -> None:
    curve, known = Curve(), dict[int, float]()
    for step, score in pairs:
        assert curve.add(step, score) == (step in known)
        known[step] = score
    assert list(zip(curve.steps, curve.scores, strict=True)) == sorted(known.items())
    assert len(curve) == len(known)


@given(pairs, st.integers(-1, 21))
def test_a_cut_forgets_what_lies_after_and_nothing_else(pairs: list[tuple[int, float]], step: int) -> None:
    curve = Curve(pairs)
    curve.cut(step)
    assert list(zip(curve.steps, curve.scores, strict=True)) == sorted(
        (at, score) for at, score in dict(pairs).items() if at <= step
    )


@given(pairs, st.integers(-1, 21))
def test_the_score_at_a_step_is_the_last_one_reported_by_then(pairs: list[tuple[int, float]], step: int) -> None:
    earlier = {at: score for at, score in dict(pairs).items() if at <= step}
    assert Curve(pairs).at(step) == (earlier[max(earlier)] if earlier else None)


def test_the_best_of_a_curve_is_the_earliest_of_equals_and_never_nan() -> None:
    curve = Curve([(1, math.nan), (2, 0.5), (3, 0.7), (4, 0.7), (5, math.nan)])
    assert curve.best("maximize") == (3, 0.7)
    assert curve.best("minimize") == (2, 0.5)
    assert Curve([(1, math.nan)]).best("maximize") is None
    assert Curve().best("minimize") is None


def test_better_is_strict() -> None:
    assert better("maximize", 2.0, 1.0)
    assert better("minimize", 1.0, 2.0)
    assert not better("maximize", 1.0, 1.0)
    assert not better("minimize", 1.0, 1.0)


# ── single facts ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def history() -> History:
    return History()


def test_an_abandoned_tail_does_not_count(history: History) -> None:
    trial = history.create()
    history.start(trial)
    history.report(trial, (1, 0.2), (2, 0.4), (3, 0.9))
    history.open(trial, "revert", 2, 0)
    found = history.live.trials[trial]
    assert (found.steps, found.best_step, found.best_score) == (2, 2, 0.4)
    history.report(trial, (3, 0.5))
    assert list(history.live.curve(found).scores) == [0.2, 0.4, 0.5]
    assert found.best_score == 0.5


def test_reverts_of_reverts_leave_one_path(history: History) -> None:
    trial = history.create()
    history.start(trial)
    history.report(trial, *[(step, 0.1 * step) for step in range(1, 9)])
    history.open(trial, "revert", 6, 0)
    history.report(trial, (7, 0.0))
    history.open(trial, "revert", 3, 0)
    history.report(trial, (4, 1.0))
    found = history.live.trials[trial]
    assert found.head_limits() == {2: None, 0: 3}
    assert [segment.segment for segment in found.path()] == [0, 2]
    assert list(history.live.curve(found).steps) == [1, 2, 3, 4]


def test_a_retry_from_the_start_forgets_everything(history: History) -> None:
    trial = history.create()
    history.start(trial)
    history.report(trial, (1, 0.9))
    history.hold(trial, "lost")
    history.open(trial, "retry", 0, None)
    found = history.live.trials[trial]
    assert (found.state, found.best_score, found.steps) == ("waiting", None, 0)
    assert history.live.best is None


def test_a_report_of_a_segment_that_is_no_longer_the_head_is_left_out(history: History) -> None:
    trial = history.create()
    history.start(trial)
    history.open(trial, "retry", 0, None)
    history.say(pack_reports(trial, 0, [(1, "score", 0.9, 0.0)]))
    assert len(history.live.curve(history.live.trials[trial])) == 0


def test_a_diverged_trial_is_never_the_best(history: History) -> None:
    good, wild = history.trained(0.5), history.trained(0.9, state="diverged")
    assert history.live.best is history.live.trials[good]
    assert history.live.trials[wild].best_score == 0.9


def test_a_pruned_trial_can_be_the_best(history: History) -> None:
    trial = history.trained(0.5, state="pruned")
    assert history.live.best is history.live.trials[trial]


def test_of_equal_trials_the_first_is_the_best_whichever_ended_first(history: History) -> None:
    first, second = history.create(), history.create()
    for trial in (second, first):
        history.start(trial)
        history.report(trial, (1, 0.5))
        history.end(trial)
    assert history.live.winner == history.replayed().winner == first


def test_a_winner_that_is_trained_anew_and_does_worse_gives_its_place_up(history: History) -> None:
    fallen, steady = history.trained(0.9, state="failed"), history.trained(0.8)
    assert history.live.winner == fallen
    history.open(fallen, "retry", 0, None)
    assert history.live.winner == history.replayed().winner == steady
    history.start(fallen)
    history.report(fallen, (1, 0.1))
    history.end(fallen)
    assert history.live.winner == history.replayed().winner == steady
    assert history.live.ended_order == [steady, fallen]


def test_a_step_reported_again_takes_the_best_with_it(history: History) -> None:
    trial = history.create()
    history.start(trial)
    history.report(trial, (1, 0.4), (2, 0.9), (2, 0.3))
    assert (history.live.trials[trial].best_step, history.live.trials[trial].best_score) == (1, 0.4)


def test_the_time_spent_counts_training_alone(history: History) -> None:
    trial = history.create()
    history.start(trial)
    turns: list[tuple[float, Callable[[], object]]] = [
        (10.0, lambda: history.hold(trial, "paused")),
        (50.0, lambda: history.hold(trial, "running")),
        (55.0, lambda: history.hold(trial, "lost")),
    ]
    for at, act in turns:
        history.at = at
        act()
    assert history.live.trials[trial].seconds == 15.0
    assert history.live.trials[trial].started == 0.0  # as a virtual clock begins


def test_a_gap_in_the_record_is_refused(history: History) -> None:
    history.create()
    created = next(each for each in history.records if isinstance(each, rec.TrialCreated))
    with pytest.raises(ValueError, match="the record has a gap"):
        history.say(created)


def test_options_change_one_by_one(history: History) -> None:
    history.say(rec.Configured(options={"trials": 8, "parallel": 2}, by="caller", why="", at=0.0))
    history.say(rec.Configured(options={"trials": 16}, by="caller", why="", at=1.0))
    assert history.live.options == {"trials": 16, "parallel": 2}


def test_a_dropped_checkpoint_is_not_kept(history: History) -> None:
    trial = history.create()
    for number, step in ((0, 5), (1, 9)):
        history.say(
            rec.CheckpointSaved(
                checkpoint=number,
                trial=trial,
                segment=0,
                step=step,
                kind="interval",
                bytes=1,
                sha256="",
                path="p",
                at=0.0,
            )
        )
    history.say(rec.CheckpointDropped(checkpoint=0, why="rotated", at=0.0))
    assert [each.step for each in history.live.kept(history.live.trials[trial])] == [9]


def test_requests_are_received_and_answered(history: History) -> None:
    history.say(rec.Requested(request="a", verb="pause", arguments={}, by="ann", why="lunch", at=0.0))
    assert history.live.requests["a"].state == "received"
    history.say(rec.Answered(request="a", state="applied", step=None, detail="done", at=1.0))
    assert (history.live.requests["a"].state, history.live.requests["a"].detail) == ("applied", "done")


def test_every_record_type_can_be_folded() -> None:
    from tuner.record.state import _APPLY

    assert set(_APPLY) == set(rec.TABLES.values())


@pytest.mark.parametrize(("goal", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_signed_scores_are_higher_when_better(goal: rec.Goal, sign: float) -> None:
    assert History(goal).live.signed(3.0) == sign * 3.0


def test_settings_are_those_of_the_head(history: History) -> None:
    number = history.create()
    trial: Trial = history.live.trials[number]
    segment: Callable[..., rec.SegmentOpened] = lambda **more: rec.SegmentOpened(  # noqa: E731 - once, with defaults
        trial=number, parent_segment=0, from_step=0, checkpoint=None, cause="adjust", by="ann", why="", at=0.0, **more
    )
    assert trial.settings == {"x": 0.0}
    history.say(segment(segment=1, params={"x": 0.5}))
    assert trial.settings == trial.recipe.at(0) == {"x": 0.5}
    assert trial.recipe_of(trial.segments[0]).at(0) == {"x": 0.0}


@given(pairs, st.sampled_from(["maximize", "minimize"]))
def test_the_best_of_a_thousand_scores_is_found_as_that_of_a_few(
    pairs: list[tuple[int, float]], goal: rec.Goal
) -> None:
    few = Curve(pairs)
    many = Curve([*pairs, *((step, math.nan) for step in range(100, 1_200))])
    assert many.best(goal) == few.best(goal)


@given(st.lists(pairs, max_size=4))
def test_reports_added_as_columns_make_the_curve_that_they_make_one_by_one(
    flushes: list[list[tuple[int, float]]],
) -> None:
    by_columns, by_one = Curve(), Curve()
    for flush in flushes:
        steps, scores = np.array([step for step, _ in flush], dtype=np.int64), np.array([score for _, score in flush])
        by_columns.extend(steps, scores.astype(np.float64))
        for step, score in flush:
            by_one.add(step, score)
    assert (list(by_columns.steps), list(by_columns.scores)) == (list(by_one.steps), list(by_one.scores))


@pytest.mark.parametrize(
    "becomes",
    [
        lambda history: history.say(rec.TrialDelayed(trial=0, why="", at=history.at)),
        lambda history: history.hold(0, "lost"),
        lambda history: history.open(0, "retry", 0, 0),
        lambda history: history.end(0, "failed"),
    ],
    ids=["it has it", "its worker is lost", "it is tried again", "it ends"],
)
def test_what_a_trial_waits_for_is_told_until_anything_becomes_of_it(becomes: Callable[[History], None]) -> None:
    history = History()
    history.start(history.create())
    history.say(rec.TrialDelayed(trial=0, why="waiting for its checkpoint", at=history.at))
    trial = history.live.trials[0]
    assert (trial.state, trial.delay) == ("running", "waiting for its checkpoint")
    becomes(history)
    assert trial.delay == ""


def test_the_latest_checkpoints_are_named_by_their_steps_each_once() -> None:
    def saved(step: int) -> Checkpoint:
        return Checkpoint(checkpoint=0, trial=0, segment=0, step=step, kind="regular", bytes=0, path="", sha256="")

    assert latest_steps([saved(step) for step in (*range(7), 76, 76, 80)]) == "1, 2, 3, 4, 5, 6, 76, 80"
    assert latest_steps([]) == ""
