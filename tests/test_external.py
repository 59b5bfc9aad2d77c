"""Trials in the hands of programs that ask for them: what they are lent, what counts, and who may speak of it."""

from __future__ import annotations

import math
import tempfile
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lending import LEASE_S, NOON, Desk, Killed, Script, on_disk, play

from tuner.coordinator.watchdog import Timing
from tuner.errors import SweepFailed
from tuner.record.dialogue import incarnation
from tuner.record.events import TrialEnded
from tuner.record.reader import fold
from tuner.record.reports import unpack_reports
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.views.digest import digest


def scores(study: StudyState, trial: int) -> list[tuple[int, float]]:
    curve = study.curve(study.trials[trial])
    return list(zip(curve.steps, curve.scores, strict=True))


# ── ask, report, tell ───────────────────────────────────────────────────────────────────────────


def test_a_program_is_lent_a_trial_reports_and_tells_its_end() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        assert (lent["trial"], lent["segment"], lent["batch"], lent["step"]) == (0, 0, 0, 0)
        assert 1e-4 <= lent["settings"]["rate"] <= 1.0
        assert lent["lease"] == {"until": NOON + LEASE_S, "renew_every_s": LEASE_S / 3}
        orders = yield from desk.report(lent, 0, (1, 0.5), (2, 0.7))
        assert (orders["orders"], orders["batch"]) == ("go on", 1)
        yield from desk.report(lent, 1, (3, 0.6))
        end = yield from desk.tell(lent)
        assert (end["trial"], end["state"]) == (0, "completed")

    study = play(script)
    trial = study.trials[0]
    assert (trial.state, trial.steps, trial.best_score, trial.best_step) == ("completed", 3, 0.7, 2)
    assert trial.worker == "a"
    assert scores(study, 0) == [(1, 0.5), (2, 0.7), (3, 0.6)]
    assert len(study.trials) == 1  # no trial is made that nobody asks for


def test_the_same_worker_asking_again_is_given_its_pending_trial() -> None:
    def script(desk: Desk) -> Script:
        first = yield from desk.ask("a")
        yield from desk.report(first, 0, (1, 0.5))
        again = yield from desk.ask("a")
        other = yield from desk.ask("b")
        assert (again["trial"], again["segment"], again["settings"]) == (0, 0, first["settings"])
        assert (again["batch"], again["step"]) == (1, 1)  # where its reports go on
        assert other["trial"] == 1
        yield from desk.tell(again)
        after = yield from desk.ask("a")
        assert after["trial"] == 2

    play(script)


def test_an_ask_repeated_under_its_name_is_answered_as_before_though_its_trial_is_over() -> None:
    def script(desk: Desk) -> Script:
        first = yield from desk.ask("a", request="one")
        yield from desk.tell(first, scores={"score": 1.0})
        again = yield from desk.ask("a", request="one")
        assert (again["trial"], again["lease"]) == (first["trial"], first["lease"])
        other = yield from desk.ask("a", request="two")
        assert other["trial"] == 1

    play(script)


def test_two_calls_of_one_worker_at_once_are_lent_one_trial() -> None:
    def script(desk: Desk) -> Script:
        calls = [desk.say("ask", worker="a", wait_s=100.0) for _ in range(3)]
        for call in calls:
            lent = yield from desk.answer(call)
            assert lent["trial"] == 0

    assert len(play(script).trials) == 1


def test_a_batch_sent_again_counts_once_and_is_answered_the_same() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        calls = [
            desk.say("report", trial=0, segment=0, batch=0, rows=[[1, {"score": 0.5}]]),
            desk.say("report", trial=0, segment=0, batch=0, rows=[[1, {"score": 0.5}]]),
        ]
        first = yield from desk.answer(calls[0])
        second = yield from desk.answer(calls[1])
        third = yield from desk.report(lent, 0, (1, 0.5))
        assert first["orders"] == second["orders"] == third["orders"] == "go on"

    store = Store.in_memory()
    study = play(script, store=store, keeps_open=True)
    rows = [row for flush in store.reports(0) for row in unpack_reports(flush)]
    assert [(step, value) for step, _, value, _ in rows] == [(1, 0.5)]
    assert study.received[incarnation(0, 0)] == 0
    store.close()


def test_a_batch_out_of_its_turn_or_with_other_rows_is_refused_and_the_next_is_named() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        ahead = yield from desk.report(lent, 3, (1, 0.5))
        assert (ahead["request_state"], ahead["batch"]) == ("rejected", 0)
        assert "batch 0 comes next, got 3" in ahead["why"]
        yield from desk.report(lent, 0, (1, 0.5))
        other = yield from desk.report(lent, 0, (1, 0.9))
        assert (other["request_state"], other["batch"]) == ("rejected", 1)
        assert "other rows" in other["why"]
        nameless = yield from desk.call("report", trial=0, segment=0, rows=[[2, {"score": 0.9}]])
        assert "batch" in nameless["why"]
        after = yield from desk.report(lent, 1, (2, 0.6))
        assert after["orders"] == "go on"

    assert scores(play(script), 0) == [(1, 0.5), (2, 0.6)]


def test_a_trial_can_be_completed_without_a_measurement_and_the_best_report_is_its_outcome() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.report(lent, 0, (1, 0.9), (2, 0.4))
        yield from desk.tell(lent)

    study = play(script)
    assert (study.trials[0].best_score, study.trials[0].state) == (0.9, "completed")


def test_scores_told_with_the_end_are_a_report_of_the_last_step() -> None:
    def script(desk: Desk) -> Script:
        bare = yield from desk.ask("a")
        yield from desk.tell(bare, scores={"score": 0.3})
        stepped = yield from desk.ask("a")
        yield from desk.report(stepped, 0, (4, 0.1))
        yield from desk.tell(stepped, scores={"score": 0.2, "seconds": 3}, step=5)

    study = play(script)
    assert scores(study, 0) == [(1, 0.3)]
    assert scores(study, 1) == [(4, 0.1), (5, 0.2)]


def test_an_end_without_any_score_is_refused_and_can_be_told_otherwise() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        refused = yield from desk.tell(lent)
        assert refused["request_state"] == "rejected"
        assert "'score'" in refused["why"]
        told = yield from desk.tell(lent, scores={"score": 1.0})
        assert told["state"] == "completed"

    assert play(script).trials[0].best_score == 1.0


def test_infeasible_settings_need_a_reason_and_are_kept_away_from_without_counting_as_a_failure() -> None:
    def script(desk: Desk) -> Script:
        for _ in range(6):
            lent = yield from desk.ask("a")
            refused = yield from desk.tell(lent, "infeasible")
            assert "why" in refused["why"]
            yield from desk.report(lent, 0, (1, 5.0))
            yield from desk.tell(lent, "infeasible", why="no memory for that")

    study = play(script, trials=6)
    assert {(each.state, each.error, each.why) for each in study.trials} == {
        ("diverged", "Infeasible", "infeasible: no memory for that")
    }
    assert study.best is None


def test_an_end_told_twice_is_told_the_same_and_another_end_does_not_change_it() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        calls = [desk.say("tell", trial=0, segment=0, state="stopped", why="enough") for _ in range(2)]
        first = yield from desk.answer(calls[0])
        second = yield from desk.answer(calls[1])
        third = yield from desk.tell(lent, "stopped", why="enough")
        fourth = yield from desk.tell(lent, "completed", scores={"score": 1.0})
        assert first == second == third == fourth
        assert (first["state"], first["why"]) == ("stopped", "enough")

    study = play(script)
    assert study.trials[0].best_score is None


def test_a_program_that_fails_counts_as_a_function_that_raises() -> None:
    def script(desk: Desk) -> Script:
        while not desk.study.trials or len(desk.study.ended_order) < 5:
            lent = yield from desk.ask("a")
            yield from desk.tell(lent, "failed", why="no CUDA")
        yield from desk.beats(50)

    with pytest.raises(SweepFailed, match=r"5 trials failed in a row.*no CUDA"):
        play(script, trials=64)


# ── orders ──────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_that_is_to_stop_hears_so_with_its_next_report_and_stopping_it_twice_is_harmless() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.report(lent, 0, (1, 0.5))
        first = yield from desk.call("stop_trial", trial=0, why="it only oscillates")
        second = yield from desk.call("stop_trial", trial=0, why="once more")
        assert first["request_state"] == second["request_state"] == "applied"
        orders = yield from desk.report(lent, 1, (2, 0.6))
        assert orders["orders"] == "stop"
        end = yield from desk.tell(lent)
        assert end["state"] == "stopped"
        late = yield from desk.report(lent, 2, (3, 9.0))
        assert late["orders"] == "stop"
        after = yield from desk.ask("a")
        assert after["trial"] == 1

    study = play(script)
    assert scores(study, 0) == [(1, 0.5), (2, 0.6)]
    assert study.trials[0].state == "stopped"


def test_a_paused_study_has_its_programs_stand_still_and_lends_nothing() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.call("pause", why="lunch")
        orders = yield from desk.report(lent, 0, (1, 0.5))
        assert (orders["orders"], orders["why"]) == ("pause", "lunch")
        assert desk.state(0) == "paused"
        call = desk.say("ask", worker="b", wait_s=5.0)
        yield from desk.beats(20)
        assert desk.heard(call) is None
        yield from desk.passes(6.0)
        none = yield from desk.answer(call)
        assert (none["request_state"], none["why"]) == ("expired", "the study is paused")
        still = yield from desk.report(lent, 1)
        assert still["orders"] == "pause"
        yield from desk.call("resume")
        orders = yield from desk.report(lent, 1)
        assert orders["orders"] == "go on"
        yield from desk.beats()
        assert desk.state(0) == "running"

    play(script)


def test_a_report_that_diverges_ends_the_trial_with_the_answer() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.report(lent, 0, (1, 0.5))
        orders = yield from desk.call(
            "report", trial=0, segment=0, batch=1, rows=[[2, {"score": None}], [3, {"score": 1}]]
        )
        assert orders["orders"] == "stop"
        assert "nan at step 2" in orders["why"]

    study = play(script)
    assert (study.trials[0].state, study.trials[0].steps) == ("diverged", 2)
    assert math.isnan(scores(study, 0)[-1][1])
    assert study.best is None


def test_a_stopping_rule_prunes_with_the_answer_to_a_report() -> None:
    def script(desk: Desk) -> Script:
        for trial in range(9):
            lent = yield from desk.ask("a")
            for step in range(1, 10):
                orders = yield from desk.report(lent, step - 1, (step, 1.0 / (trial + 1)))
                if orders["orders"] == "stop":
                    break
            else:
                yield from desk.tell(lent)

    study = play(script, trials=9, stopping="asha")
    states = [trial.state for trial in study.trials]
    assert states[0] == "completed"
    assert "pruned" in states
    assert all(trial.steps < 9 for trial in study.trials if trial.state == "pruned")


def test_a_step_budget_is_never_exceeded_by_programs_that_obey() -> None:
    def script(desk: Desk) -> Script:
        for _ in range(20):
            lent = yield from desk.ask("a", steps=10, wait_s=1.0)
            if "trial" not in lent:
                break
            for step in range(1, 11):
                orders = yield from desk.report(lent, step - 1, (step, float(step)))
                if orders["orders"] == "stop":
                    break
            else:
                yield from desk.tell(lent)
            if desk.study.steps_done >= 25:
                break

    study = play(script, trials=20, budget_steps=25)
    assert study.steps_done == 25
    assert [trial.planned for trial in study.trials] == [10, 10, 10]


def test_no_more_trials_are_lent_at_a_time_than_parallel_allows() -> None:
    def script(desk: Desk) -> Script:
        first = yield from desk.ask("a")
        call = desk.say("ask", worker="b", wait_s=100.0)
        yield from desk.beats(20)
        assert desk.heard(call) is None
        yield from desk.tell(first, scores={"score": 1.0})
        second = yield from desk.answer(call)
        assert second["trial"] == 1
        third = desk.say("ask", worker="c", wait_s=3.0)
        yield from desk.beats(20)
        yield from desk.passes(4.0)
        none = yield from desk.answer(third)
        assert "1 trial at a time" in none["why"]

    play(script, parallel=1)


def test_once_all_is_over_whoever_asks_is_told_why() -> None:
    calls: list[str] = []

    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        calls.append(desk.say("ask", worker="b", wait_s=300.0))
        yield from desk.beats(20)
        yield from desk.tell(lent, scores={"score": 1.0})
        yield from desk.beats(100)

    store = Store.in_memory()
    study = play(script, trials=1, store=store, keeps_open=True)
    answer = store.answer(calls[0])
    assert answer is not None
    assert answer.state == "rejected"
    assert "all 1 trials were tried" in answer.detail
    assert "all 1 trials were tried" in study.options["over"]
    store.close()


def test_a_trial_that_takes_too_long_is_taken_from_its_program_and_says_nothing_any_more() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.report(lent, 0, (1, 0.5))
        yield from desk.passes(31)
        assert desk.state(0) == "failed"
        orders = yield from desk.report(lent, 1, (2, 9.0))
        assert orders["orders"] == "stop"
        after = yield from desk.ask("a")
        assert after["trial"] == 1

    study = play(script, timing=Timing(silence_limit_s=30.0))
    assert scores(study, 0) == [(1, 0.5)]
    assert "no sign of life" in study.trials[0].why


def test_what_programs_say_is_no_news_and_leaves_nothing_in_memory() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.report(lent, 0, (1, 0.5))
        yield from desk.tell(lent)

    store = Store.in_memory()
    study = play(script, store=store, keeps_open=True)
    told = str(digest(study, store.follow(0)[0], cursor=0, running=False))
    assert "1 trial ended: 1 completed" in told
    assert "report by" not in told
    assert "ask by" not in told
    assert [each.arguments for each in study.requests.values() if each.verb == "report"] == [{}]
    store.close()


# ── silence ─────────────────────────────────────────────────────────────────────────────────────


def test_a_silent_programs_trial_is_lost_and_goes_to_the_next_that_asks_in_a_new_segment() -> None:
    def script(desk: Desk) -> Script:
        first = yield from desk.ask("a")
        yield from desk.report(first, 0, (1, 0.5))
        yield from desk.passes(LEASE_S - 1)
        assert desk.state(0) == "running"
        yield from desk.passes(2)
        assert desk.state(0) == "lost"
        second = yield from desk.ask("b")
        assert (second["trial"], second["segment"], second["settings"]) == (0, 1, first["settings"])
        yield from desk.report(second, 0, (1, 0.1))
        late = yield from desk.report(first, 1, (2, 9.0))
        assert (late["orders"], late["superseded_by"]) == ("stop", 1)
        again = yield from desk.report(first, 1, (2, 9.0))
        assert again["orders"] == "stop"
        told = yield from desk.tell(first)
        assert (told["request_state"], told["superseded_by"]) == ("rejected", 1)
        yield from desk.tell(second)

    store = Store.in_memory()
    study = play(script, store=store, keeps_open=True)
    trial = study.trials[0]
    assert (trial.state, trial.best_score, trial.worker) == ("completed", 0.1, "b")
    assert trial.error == ""
    rows = [(flush.segment, *row[:3]) for flush in store.reports(0) for row in unpack_reports(flush)]
    assert rows == [(0, 1, "score", 0.5), (1, 1, "score", 0.1), (0, 2, "score", 9.0)]  # kept, and once
    assert 0 not in trial.head_limits()
    store.close()


def test_any_call_renews_a_lease() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        for batch in range(3):
            yield from desk.passes(LEASE_S - 1)
            yield from desk.report(lent, batch, (batch + 1, 0.5))
        yield from desk.passes(LEASE_S - 1)
        yield from desk.report(lent, 3)  # nothing to report, and still there
        yield from desk.passes(LEASE_S - 1)
        yield from desk.ask("a")
        yield from desk.passes(LEASE_S - 1)
        assert desk.state(0) == "running"
        end = yield from desk.tell(lent)
        assert end["state"] == "completed"

    assert len(play(script).trials[0].segments) == 1


def test_a_program_heard_of_again_before_anybody_asked_keeps_its_trial() -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        yield from desk.passes(3 * LEASE_S)
        assert desk.state(0) == "lost"
        orders = yield from desk.report(lent, 0, (1, 0.5))
        assert orders["orders"] == "go on"
        yield from desk.beats()
        assert desk.state(0) == "running"
        yield from desk.tell(lent)

    study = play(script)
    assert (study.trials[0].state, len(study.trials[0].segments)) == ("completed", 1)


def test_of_two_that_speak_at_once_of_a_lost_trial_the_one_that_had_it_is_heard() -> None:
    def script(desk: Desk) -> Script:
        yield from desk.ask("a")
        yield from desk.passes(LEASE_S + 1)
        assert desk.state(0) == "lost"
        asked = desk.say("ask", worker="b", wait_s=100.0)
        reported = desk.say("report", trial=0, segment=0, batch=0, rows=[[1, {"score": 0.5}]])
        told = desk.say("tell", trial=0, segment=0, state="completed")
        orders = yield from desk.answer(reported)
        end = yield from desk.answer(told)
        other = yield from desk.answer(asked)
        assert (orders["orders"], end["request_state"], other["trial"]) == ("go on", "applied", 1)

    study = play(script)
    assert (study.trials[0].state, len(study.trials[0].segments)) == ("completed", 1)


def test_silence_never_counts_as_a_failure() -> None:
    def script(desk: Desk) -> Script:
        for worker in range(8):
            lent = yield from desk.ask(f"worker-{worker}")
            assert (lent["trial"], lent["segment"]) == (0, worker)
            yield from desk.passes(LEASE_S + 1)
        last = yield from desk.ask("the last")
        yield from desk.tell(last, scores={"score": 1.0})

    study = play(script, trials=1)
    assert (study.trials[0].state, len(study.trials[0].segments)) == ("completed", 9)


def test_whoever_waits_for_a_trial_is_given_one_as_soon_as_its_program_is_given_up() -> None:
    def script(desk: Desk) -> Script:
        first = yield from desk.ask("a")
        call = desk.say("ask", worker="b", wait_s=200.0)
        yield from desk.beats(20)
        assert desk.heard(call) is None
        yield from desk.passes(LEASE_S + 1)
        second = yield from desk.answer(call)
        assert (second["trial"], second["segment"]) == (first["trial"], 1)
        yield from desk.tell(second, scores={"score": 1.0})

    play(script, trials=1)


def test_a_program_that_is_silent_is_ended_where_it_was_to_stop() -> None:
    def script(desk: Desk) -> Script:
        yield from desk.ask("a")
        yield from desk.call("stop_trial", trial=0, why="enough")
        yield from desk.passes(LEASE_S + 1)
        assert (desk.state(0), desk.study.trials[0].why) == ("stopped", "enough")

    play(script)


# ── the coordinator goes and comes ──────────────────────────────────────────────────────────────


def test_a_program_trains_on_over_the_death_of_its_coordinator_and_gets_a_full_lease(tmp_path: Path) -> None:
    lent: dict[str, Any] = {}
    unheard: list[str] = []

    def dies(desk: Desk) -> Script:
        for worker in "abc":
            lent[worker] = yield from desk.ask(worker)
            yield from desk.report(lent[worker], 0, (1, 0.5))
        unheard.append(desk.say("report", trial=1, segment=0, batch=1, rows=[[2, {"score": 0.75}]]))
        raise Killed

    def goes_on(desk: Desk) -> Script:
        first = yield from desk.answer(unheard[0])
        assert first["orders"] == "go on"
        repeated = yield from desk.report(lent["b"], 1, (2, 0.75))
        assert repeated["orders"] == "go on"
        yield from desk.passes(LEASE_S - 1)
        assert [trial.state for trial in desk.study.trials] == ["running"] * 3
        again = yield from desk.ask("a")
        assert (again["trial"], again["segment"], again["batch"]) == (0, 0, 1)
        assert again["settings"] == lent["a"]["settings"]
        for worker in "ab":
            end = yield from desk.tell(lent[worker])
            assert end["state"] == "completed"
        yield from desk.passes(2)
        assert desk.study.trials[2].state == "lost"

    play(dies, store=on_disk(tmp_path))
    study = play(goes_on, store=on_disk(tmp_path), at=NOON + 3600)
    assert [len(trial.segments) for trial in study.trials] == [1, 1, 1]
    assert scores(study, 1) == [(1, 0.5), (2, 0.75)]


def test_a_call_for_a_trial_that_nobody_heard_in_time_is_given_none(tmp_path: Path) -> None:
    calls: list[str] = []

    def dies(desk: Desk) -> Script:
        yield from desk.ask("a")
        calls.append(desk.say("ask", worker="gone", wait_s=20.0))
        raise Killed

    def goes_on(desk: Desk) -> Script:
        none = yield from desk.answer(calls[0])
        assert none["request_state"] == "expired"

    play(dies, store=on_disk(tmp_path))
    study = play(goes_on, store=on_disk(tmp_path), at=NOON + 60)
    assert len(study.trials) == 1


def test_what_was_decided_is_the_same_after_a_restart(tmp_path: Path) -> None:
    def script(desk: Desk) -> Script:
        for trial in range(3):
            lent = yield from desk.ask("a")
            yield from desk.report(lent, 0, (1, float(trial)))
            yield from desk.tell(lent)

    played = play(script, store=on_disk(tmp_path))
    store = on_disk(tmp_path)
    study, _ = fold(store)
    assert [trial.state for trial in study.trials] == ["completed"] * 3
    assert study.received == played.received
    assert study.best is not None
    assert study.best.best_score == 2.0
    store.close()


# ── what makes no sense ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verb", "words", "why"),
    [
        ("ask", {"worker": ""}, "worker"),
        ("ask", {"worker": "a", "request": ""}, "request"),
        ("ask", {"worker": "a", "wait_s": 1e9}, "wait_s"),
        ("ask", {"worker": "a", "steps": 0}, "steps"),
        ("report", {"trial": 0, "segment": 0, "batch": 0, "rows": "1"}, "rows"),
        ("report", {"trial": 0, "segment": 0, "batch": 0, "rows": [[1]]}, "rows"),
        ("report", {"trial": 0, "segment": 0, "batch": 0, "rows": [[1, {"score": "high"}]]}, "score"),
        ("report", {"trial": 7, "segment": 0, "batch": 0, "rows": []}, "no trial 7"),
        ("report", {"trial": 0, "segment": 4, "batch": 0, "rows": []}, "no segment 4"),
        ("tell", {"trial": 0, "segment": 0, "state": "perfect"}, "state"),
        ("tell", {"trial": 0, "segment": 0}, "state"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence_and_costs_nobody_anything(
    verb: str, words: dict[str, Any], why: str
) -> None:
    def script(desk: Desk) -> Script:
        lent = yield from desk.ask("a")
        refused = yield from desk.call(verb, **words)
        assert refused["request_state"] == "rejected"
        assert why in refused["why"]
        end = yield from desk.tell(lent, scores={"score": 1.0})
        assert end["state"] == "completed"

    play(script)


# ── whatever happens ────────────────────────────────────────────────────────────────────────────


class Player:
    """A program that remembers what it was lent, and every report that it was thanked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lent: dict[str, Any] | None = None
        self.batch = self.step = 0
        self.thanked: set[tuple[int, int, int]] = set()

    def acts(self, desk: Desk, action: str) -> Script:
        if action == "ask":
            answer = yield from desk.ask(self.name, wait_s=2.0)
            self.lent = answer if "trial" in answer else None
            if self.lent is not None:
                self.batch, self.step = answer["batch"], answer["step"]
        elif self.lent is not None and action == "tell":
            answer = yield from desk.tell(self.lent, "stopped", why="enough")
            self.lent = None
        elif self.lent is not None:  # a report, or the last one again
            again = action == "again" and self.batch > 0
            batch, step = (self.batch - 1, self.step) if again else (self.batch, self.step + 1)
            answer = yield from desk.report(self.lent, batch, (step, float(step)))
            if answer["request_state"] == "applied" and not again:
                self.batch, self.step = batch + 1, step
            if answer["orders"] == "go on":
                self.thanked.add((self.lent["trial"], self.lent["segment"], step))
            else:
                self.lent = None


ACTIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "report", "report", "again", "tell", "wait", "die"])),
    min_size=5,
    max_size=25,
)


@settings(max_examples=10, deadline=None)
@given(ACTIONS)
def test_whatever_programs_say_and_whoever_dies_nothing_is_lost_doubled_or_lent_twice(
    actions: list[tuple[str, str]],
) -> None:
    players = {name: Player(name) for name in "abc"}
    left = deque(actions)
    clock = [NOON]

    def script(desk: Desk) -> Script:
        while left:
            name, action = left.popleft()
            if action == "die":
                clock[0] = desk.time
                raise Killed
            if action == "wait":
                yield from desk.passes(LEASE_S / 2 + 1)
                continue
            yield from players[name].acts(desk, action)
            running = [trial.worker for trial in desk.study.live.values() if trial.state in ("running", "paused")]
            assert len(running) == len(set(running))

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(1 + sum(action == "die" for _, action in actions)):
            play(script, store=on_disk(Path(folder)), at=clock[0], trials=100)
        store = on_disk(Path(folder))
        study, _ = fold(store)
        recorded = Counter(
            (flush.trial, flush.segment, step) for flush in store.reports() for step, *_ in unpack_reports(flush)
        )
        ends = Counter(each.trial for each in store.read(TrialEnded))
        store.close()
    assert set().union(*(player.thanked for player in players.values())) <= set(recorded)
    assert set(recorded.values()) <= {1}
    assert set(ends.values()) <= {1}
    assert all(trial.ended for trial in study.trials if trial.started is not None)
