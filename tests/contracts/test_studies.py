"""What a study and its handle are to whoever holds them: the same in its folder and by way of a service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pytest
from babysat import at_home, state_of, steps_of
from diaries import beginning, diary, ended, reported
from served import connected
from stories import NOON, Part, story
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.errors import SettingsError, StudyError, StudyNotBegun, StudyNotFound, TakenOver, TrialNotFound
from tuner.record.location import Place
from tuner.record.store import Store

TABLES = ("trials", "reports", "segments", "rounds", "adjustments", "checkpoints", "notes", "requests", "winners")


class Reach(Protocol):
    """How somebody comes to the studies of a folder."""

    def studies(self) -> list[tuner.Summary]: ...
    def open(self, name: str) -> tuner.Study: ...
    def attach(self, name: str, *, by: str = "") -> tuner.Handle: ...


class AtHome:
    """In the folder itself."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def studies(self) -> list[tuner.Summary]:
        return tuner.studies(self._results)

    def open(self, name: str) -> tuner.Study:
        return tuner.open(name, results=self._results)

    def attach(self, name: str, *, by: str = "") -> tuner.Handle:
        return tuner.attach(name, results=self._results, by=by)


@contextmanager
def in_the_folder(results: Path) -> Iterator[Reach]:
    yield AtHome(results)


@pytest.fixture(params=[in_the_folder, connected], ids=["in the folder", "by a service"])
def reaching(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    way: Callable[[Path], Any] = request.param
    return way


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that is over, called night."""
    results = tmp_path_factory.mktemp("searched")
    sweep(results, trials=24, seed=3, goal="maximize").close()
    return results


@pytest.fixture
def night(searched: Path, reaching: Callable[[Path], Any]) -> Iterator[tuner.Study]:
    with reaching(searched) as there, there.open("night") as study:
        yield study


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def test_a_study_is_what_it_is_in_its_folder(night: tuner.Study, searched: Path) -> None:
    with tuner.open("night", results=searched) as here:
        assert (repr(night), night.name, night.state.identity) == (repr(here), "night", here.state.identity)
        assert (night.best_params, night.best_score) == (here.best_params, here.best_score)
        assert night.recommended == here.recommended
        for name in TABLES:
            pd.testing.assert_frame_equal(getattr(night, name), getattr(here, name))
        for trial in (0, 23):
            assert {key: list(each.scores) for key, each in night.curves(trial).items()} == {
                key: list(each.scores) for key, each in here.curves(trial).items()
            }
            for step in (1, 4, 10_000):
                curves = here.curves(trial).items()
                at = {key: each.scores[each.steps.index(step)] for key, each in curves if step in each.steps}
                assert night.scores_at(trial, step) == at
            assert list(night.reported(trial)) == list(here.reported(trial))
            assert night.traceback(trial) == here.traceback(trial)
            assert night.printed(trial) == here.printed(trial)
        assert str(night.explain()) == str(here.explain())
        assert [each.number for each in night.optuna.trials] == list(range(24))


def test_the_scores_at_a_step_are_those_of_the_path_that_counts(
    tmp_path: Path, reaching: Callable[[Path], Any]
) -> None:
    again = Part(start=4, to=8, parent=0, cause="revert", scores=lambda step: {"score": -float(step)})
    story(tmp_path / "one", Part(start=0, to=10), again).close()
    with reaching(tmp_path) as there, there.open("one") as run:
        assert [run.scores_at(0, step).get("score") for step in (3, 4, 6, 8, 9)] == [3.0, 4.0, -6.0, -8.0, None]


def test_the_list_of_studies_is_the_same(searched: Path, reaching: Callable[[Path], Any]) -> None:
    with reaching(searched) as there:
        assert there.studies() == tuner.studies(searched)


def test_a_study_is_as_old_as_its_record_whoever_touches_its_file(
    tmp_path: Path, reaching: Callable[[Path], Any]
) -> None:
    story(tmp_path / "one", Part(start=0, to=10), end=("completed", "done")).close()
    (tmp_path / "one" / "study.db").touch()
    with reaching(tmp_path) as there:
        (listed,) = there.studies()
    assert listed.updated < NOON + 86_400


def test_what_is_exported_goes_where_it_is_told(night: tuner.Study, tmp_path: Path) -> None:
    files = night.export("csv", tmp_path / "tables")
    assert [each.name for each in files][:2] == ["trials.csv", "reports.csv"]
    assert all(each.is_file() for each in files)


def test_what_is_not_there_is_refused_by_the_same_errors(night: tuner.Study) -> None:
    with pytest.raises(TrialNotFound, match="no trial 99"):
        night.curve(99)
    with pytest.raises(SettingsError, match="class"):
        night.records(int)


def test_a_study_that_is_not_there_is_not_found(searched: Path, reaching: Callable[[Path], Any]) -> None:
    with reaching(searched) as there:
        for act in (there.open, there.attach):
            with pytest.raises(StudyNotFound, match="Did you mean night"):
                act("nigth")


def test_a_study_that_has_not_begun_says_so(tmp_path: Path, reaching: Callable[[Path], Any]) -> None:
    Store.create(Place.of("night", tmp_path, None).existing_or_new()).close()
    with reaching(tmp_path) as there, pytest.raises(StudyNotBegun):
        there.open("night")


def test_what_is_written_meanwhile_comes_with_a_refresh(tmp_path: Path, reaching: Callable[[Path], Any]) -> None:
    with closing(diary(tmp_path)) as store, reaching(tmp_path) as there, there.open("night") as study:
        assert not study.refresh()
        store.append([*beginning(0), reported(0, 0, [(1, 0.5), (2, float("nan"))])], 1.0)
        assert study.refresh()
        assert list(map(repr, study.curve(0).scores)) == ["0.5", "nan"]
        store.append([ended(0, 0.5)], 1.0)
        store.request("note", {"text": "day 2"}, by="ann", why="")
        study.refresh()
        assert study.best_score == 0.5
        assert [each.verb for each in study.state.requests.values()] == ["note"]
        assert not study.refresh()


def test_a_record_of_many_pages_is_read_whole(tmp_path: Path, reaching: Callable[[Path], Any]) -> None:
    with closing(diary(tmp_path)) as store:
        for first in range(0, 1200, 100):
            trials = range(first, first + 100)
            of_each = [
                (*beginning(trial, trial / 2000), reported(trial, 0, [(1, 0.5)]), ended(trial, 0.5)) for trial in trials
            ]
            store.append([record for records in of_each for record in records], 1.0)
        with reaching(tmp_path) as there, there.open("night") as study:
            assert len(study.state.trials) == 1200
            assert len(study.reports) == 1200
            assert [each.trial for each in study.state.ended()] == list(range(1200))


def test_the_forks_of_a_run_are_found(tmp_path: Path, reaching: Callable[[Path], Any]) -> None:
    story(tmp_path / "one", Part(start=0, to=10), end=("completed", "done")).close()
    with reaching(tmp_path) as there, there.open("one") as study:
        assert study.forks() == []


# ── steering a sweep ────────────────────────────────────────────────────────────────────────────


def slow(run: tuner.Run) -> None:
    for step in run.steps(20):
        time.sleep(0.002)
        run.report(score=float(step))


@pytest.fixture
def sweeping(tmp_path: Path, reaching: Callable[[Path], Any]) -> Iterator[tuner.SweepHandle]:
    """A sweep that runs, and its handle."""
    ending = threading.Thread(target=lambda: sweep(tmp_path, slow, trials=10_000, stopping="off").close(), daemon=True)
    ending.start()
    wait_until(lambda: runs(tmp_path, "night"))
    with reaching(tmp_path) as there, there.attach("night", by="ann") as handle:
        assert isinstance(handle, tuner.SweepHandle)
        yield handle
        handle.stop()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()


def runs(results: Path, name: str) -> bool:
    try:
        with tuner.open(name, results=results) as study:
            return study.state.steps_done > 0 and study.coordinator(time.time()) is not None
    except tuner.TunerError:
        return False


def test_a_sweep_is_steered(sweeping: tuner.SweepHandle) -> None:
    assert (sweeping.name, sweeping.by) == ("night", "ann")
    assert sweeping.pause("the machine is needed").state == "applied"
    assert sweeping.resume().state == "applied"
    assert sweeping.add({"learning_rate": 0.05, "beta": 0.95}, why="worked last time").state == "applied"
    assert sweeping.set_box(learning_rate=(0.01, 0.1), why="the best lie there").state == "applied"
    assert sweeping.set_parallel(2).detail == "2 trials train at a time"
    assert sweeping.note("day 2", trial=0).detail == "noted"
    with sweeping.study as study:
        asked = study.requests
        assert asked["verb"].tolist() == ["pause", "resume", "add", "set_box", "set_parallel", "note"]
        assert set(asked["state"]) == {"applied"}
        assert set(asked["by"]) == {"ann"}
        assert asked["why"].tolist()[0] == "the machine is needed"


def test_what_a_sweep_refuses_is_told_with_the_reason(sweeping: tuner.SweepHandle) -> None:
    with pytest.raises(StudyError, match=r"night refused to stop trial: .*9999"):
        sweeping.stop_trial(9999)
    with pytest.raises(StudyError, match=r"night refused to add: .*learning_rate"):
        sweeping.add({"learning_rate": 7.0, "beta": 0.95})
    with pytest.raises(SettingsError, match="at least 1"):
        sweeping.set_parallel(0)
    with pytest.raises(SettingsError, match="Did you mean why"):
        sweeping.pause(wy="")  # type: ignore[call-arg]


def test_one_id_is_one_request_however_often_it_is_sent(sweeping: tuner.SweepHandle) -> None:
    first = sweeping.set_parallel(2, request="mine")
    assert sweeping.set_parallel(2, request="mine") == first
    with sweeping.study as study:
        assert len(study.state.requests) == 1
    with pytest.raises(StudyError, match="mine"):
        sweeping.set_parallel(3, request="mine")


def test_a_sweep_that_is_over_need_not_be_stopped(searched: Path, reaching: Callable[[Path], Any]) -> None:
    with reaching(searched) as there, there.attach("night") as handle:
        assert "is not running" in handle.stop().detail
        with pytest.raises(StudyError, match="not running"):
            handle.pause()


def test_a_handle_that_was_closed_says_so(searched: Path, reaching: Callable[[Path], Any]) -> None:
    with reaching(searched) as there:
        handle = there.attach("night")
        handle.close()
        handle.close()
        with pytest.raises(StudyError, match="closed"):
            handle.pause()


# ── steering a run ──────────────────────────────────────────────────────────────────────────────


class Sum:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def adds_on(run: tuner.Run) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(100_000):
        each.total += run.params["rate"]
        run.report(total=each.total)
        time.sleep(0.002)


@pytest.fixture
def one(tmp_path: Path, reaching: Callable[[Path], Any]) -> Iterator[tuner.RunHandle]:
    """A run that trains, and its handle."""
    given: dict[str, Any] = {"executor": "local", "objective": "total", "results": tmp_path}
    with (
        at_home(tmp_path),
        tuner.babysit(adds_on, {"rate": 1.0}, name="one", **given),
        reaching(tmp_path) as there,
        there.attach("one", by="ann") as handle,
    ):
        assert isinstance(handle, tuner.RunHandle)
        wait_until(lambda: steps_of(handle) > 3)
        yield handle


def test_a_run_is_steered(one: tuner.RunHandle) -> None:
    assert one.pause().state == "applied"
    changed = one.set(rate=2.0, why="too slow")
    assert (changed.state, changed.step) == ("applied", steps_of(one))
    saved = one.checkpoint()
    stepped = one.step(3)
    assert stepped.state == "applied"
    assert one.schedule("rate", "cosine", over=100).state == "applied"
    assert one.revert(step=saved.step).step == saved.step
    assert one.undo().state == "applied"
    assert one.note("day 2").state == "applied"
    assert one.set(rate=0.5, at=1_000_000).state == "accepted"
    assert one.resume().state == "applied"
    assert one.stop("good enough").state == "applied"
    with one.wait(PATIENCE_S) as study:
        assert (study.trial(0).state, study.trial(0).why) == ("stopped", "good enough")
        assert "rate" in study.adjustments["parameter"].tolist()
        assert study.advice() is not None
    assert "over" in one.stop().detail
    with pytest.raises(StudyError, match="is over"):
        one.pause()


def test_what_a_run_refuses_is_told_with_the_reason(one: tuner.RunHandle) -> None:
    one.checkpoint()
    with pytest.raises(StudyError, match=r"one refused to revert: .*999999 lies ahead"):
        one.revert(step=999_999)
    with pytest.raises(StudyError, match=r"one refused to set: .*rates"):
        one.set(rates=2.0)
    with pytest.raises(SettingsError, match="timeout_s"):
        one.pause(timeout_s=-1)


def test_a_run_that_was_stopped_is_woken_by_what_it_can_do(one: tuner.RunHandle) -> None:
    one.stop()
    one.wait(PATIENCE_S).close()
    assert one.extend(5).state == "applied"
    wait_until(lambda: state_of(one) in ("running", "completed"))


def test_a_run_that_still_trains_is_waited_for_no_longer_than_told(one: tuner.RunHandle) -> None:
    with pytest.raises(StudyError, match="still training"):
        one.wait(timeout_s=0.1)


def test_a_fork_begins_where_the_run_is(one: tuner.RunHandle) -> None:
    saved = one.checkpoint()
    with one.fork(rate=3.0, step=saved.step, why="bolder", request="f") as other:
        assert (other.name, other.by) == ("one-2", "ann")
        with one.fork(rate=3.0, step=saved.step, why="bolder", request="f") as again:
            assert again.name == "one-2", "the same request is the same run"
        with other.study as study:
            begun = study.state.trials[0]
            assert (begun.parent, begun.params["rate"]) == (f"one/0@{saved.step}", 3.0)
            assert study.trials["why"].notna().all()
        wait_until(lambda: steps_of(other) > 3 + (saved.step or 0))
        assert list(one.compare("one-2").columns) == ["one", "one-2"]
        assert other.stop("seen enough").state == "applied"


def test_what_a_fork_cannot_be_is_told_with_the_reason(one: tuner.RunHandle) -> None:
    one.checkpoint()
    with pytest.raises(StudyError, match="999999 lies ahead"):
        one.fork(step=999_999)
    with pytest.raises(SettingsError, match=r"rates is no setting.*rate"):
        one.fork(rates=2.0)
    with pytest.raises(StudyError, match="one exists already"):
        one.fork(rate=2.0, name="one")
    with pytest.raises(SettingsError, match="timeout_s"):
        one.fork(rate=2.0, timeout_s=-1)


# ── training what a sweep lends ─────────────────────────────────────────────────────────────────


@pytest.fixture
def lending(tmp_path: Path, reaching: Callable[[Path], Any]) -> Iterator[tuner.SweepHandle]:
    """A sweep that lends its trials, and its handle."""

    def lend() -> None:
        options: dict[str, Any] = {"sampler": "random", "stopping": "off", "progress": "off", "trials": 3}
        space = tuner.Space(rate=tuner.log(1e-4, 1.0))
        given: dict[str, Any] = {"name": "night", "objective": "score", "lease_s": 3.0, "results": tmp_path}
        tuner.sweep(None, space, executor="external", **given, **options).close()

    ending = threading.Thread(target=lend, daemon=True)
    ending.start()
    wait_until(lambda: lends(tmp_path))
    with reaching(tmp_path) as there, there.attach("night", by="ann") as handle:
        assert isinstance(handle, tuner.SweepHandle)
        yield handle
        handle.stop()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()


def lends(results: Path) -> bool:
    try:
        with tuner.open("night", results=results) as study:
            return study.coordinator(time.time()) is not None
    except tuner.TunerError:
        return False


def test_a_program_trains_what_it_is_lent(lending: tuner.SweepHandle) -> None:
    first = lending.ask("w")
    assert first is not None
    pending = lending.ask("w")
    assert pending is not None
    assert (pending.trial, pending.params) == (first.trial, first.params), "the same worker has its pending trial again"
    assert 1e-4 <= first.params["rate"] <= 1.0
    assert first.report(1, score=0.25, ratio=float("nan"))
    assert first.report(score=0.5)
    assert first.renew()
    assert (first.tell(), first.tell()) == ("completed", "completed")
    second = lending.ask("w", steps=5)
    assert second is not None
    assert second.tell("infeasible", why="it does not fit") == "diverged"
    third = lending.ask("w")
    assert third is not None
    assert third.tell(scores={"score": 0.75}, step=3) == "completed"
    assert lending.ask("w") is None, "the study is over"
    with lending.study as study:
        assert study.best_score == 0.75
        assert [trial.state for trial in study.state.trials] == ["completed", "diverged", "completed"]


def test_a_program_is_told_to_stop(lending: tuner.SweepHandle) -> None:
    trial = lending.ask("w")
    assert trial is not None
    assert lending.stop_trial(trial.trial, why="it oscillates").state == "applied"
    assert not trial.report(1, score=0.5)
    assert "it oscillates" in trial.why
    assert trial.tell("completed") == "stopped", "one that was ended keeps its end"


@pytest.mark.long  # a lease runs out by the clock
def test_a_trial_that_went_to_another_program_is_no_longer_the_first_ones(lending: tuner.SweepHandle) -> None:
    late = lending.ask("a")
    assert late is not None
    wait_until(lambda: state_of(lending) == "lost")
    taken = lending.ask("b")
    assert taken is not None
    assert (taken.trial, taken.segment) == (late.trial, late.segment + 1)
    with pytest.raises(tuner.TunerError, match="went on") as refused:
        late.tell(scores={"score": 1.0})
    assert isinstance(refused.value, TakenOver)
    assert late.state == "superseded"
    assert taken.tell(scores={"score": 0.5}) == "completed"


def test_a_score_that_is_none_is_refused_before_it_is_sent(lending: tuner.SweepHandle) -> None:
    trial = lending.ask("w")
    assert trial is not None
    with pytest.raises(SettingsError, match="score"):
        trial.report(1, score="much")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="state"):
        trial.tell("done")  # type: ignore[arg-type]


def test_a_sweep_of_a_function_lends_nothing(sweeping: tuner.SweepHandle) -> None:
    with pytest.raises(StudyError, match=r"trains its own function.*external"):
        sweeping.ask("w")


def test_no_trial_in_time_is_told_with_the_reason(lending: tuner.SweepHandle) -> None:
    for worker in ("a", "b", "c"):
        assert lending.ask(worker) is not None
    with pytest.raises(StudyError, match=r"night had no trial within"):
        lending.ask("d", wait_s=0.2)
