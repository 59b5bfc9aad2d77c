"""What users of other tools suffer from, each with a test that shows it cured; issue numbers say where it was reported.

Kills, Ctrl-C and full disks are in `test_survival.py`, lost workers and nodes in `test_ray.py`.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping import usually
from waiting import PATIENCE_S, study_once, wait_until

import tuner
from tuner import Run, Space, Study, choice, linear, log, log_one_minus
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import SweepRequests
from tuner.caviar.stopping import Off
from tuner.coordinator.loop import Coordinator
from tuner.coordinator.watchdog import Timing
from tuner.errors import SettingsError, StudyError, SweepFailed, TrainingError
from tuner.executors.local import LocalExecutor
from tuner.record.database import refuse_network_filesystem
from tuner.record.events import Reported, StudyOpened
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.samplers import by_name
from tuner.worker.messages import Event, Job, WorkerLost
from tuner.workloads import bowl

SPACE = Space(learning_rate=log(1e-4, 0.5))
WIDE = Space(learning_rate=log(1e-4, 100.0), beta=log_one_minus(0.9, 0.999))


sweep = usually(space=SPACE, name="s", trials=6, sampler="random", stopping="off")


def states(study: Study) -> list[str]:
    return study.trials["state"].astype(str).tolist()


class Count:
    """All the state there is: how many steps were taken."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


class Watcher:
    """A face that hands on what it is shown."""

    def __init__(self, look: Callable[[Any], None]) -> None:
        self._look = look

    def show(self, study: Any, status: Any) -> None:
        self._look(study)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def running(results: Path, train: Callable[[Run], Any], **given: Any) -> Iterator[Any]:
    """A handle to a sweep that runs meanwhile; it is stopped at the end."""
    thread = threading.Thread(target=lambda: sweep(results, train, **given))
    thread.start()
    study_once(lambda study: study.state.steps_done > 0, results).close()
    handle = tuner.attach("s", results=results)
    try:
        yield handle
    finally:
        if thread.is_alive():
            with contextlib.suppress(StudyError):
                handle.stop()
        thread.join(PATIENCE_S)
        handle.close()
    assert not thread.is_alive()


def endless(run: Run) -> None:
    count = Count()
    run.state(count)
    for step in run.steps(1_000_000):
        count.steps += 1
        time.sleep(0.002)
        run.report(score=float(step))


# ── speed, memory, output ───────────────────────────────────────────────────────────────────────


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_thousands_of_short_trials_go_through_two_workers(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ray#11004, ray#7608: 22.7 s for what takes 0.1 s; what a trial costs here, benchmarks/throughput.py measures
    monkeypatch.chdir(tmp_path)  # a cluster is sent the code that lies here
    study = sweep(tmp_path, "tuner.workloads.bowl:objective", executor="ray", address=cluster, parallel=2, trials=2000)
    assert states(study) == ["completed"] * 2000


@pytest.mark.long
def test_memory_grows_by_little_with_every_trial_and_tables_hold_them_all(tmp_path: Path) -> None:
    # ray#64231: driver memory grows per trial; optuna#763: dataframe slow; ray#30004: last row only
    peaks: list[tuple[int, int]] = []

    def look(study: Any) -> None:
        peaks.append((len(study.trials), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

    sweep(tmp_path, bowl.objective, trials=1500, progress=Watcher(look))
    (first, before), (last, after) = next(each for each in peaks if each[0] > 500), peaks[-1]
    assert (after - before) * 1024 / (last - first) < 10_000
    study = tuner.open("s", results=tmp_path)
    assert len(study.trials) == 1500
    assert len(study.reports) == 3000


def test_nothing_is_printed_that_was_not_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # ray#3928: far too much output
    sweep(tmp_path)
    assert capfd.readouterr() == ("", "")


# ── divergence ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bad", "reason"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "inf"), (1e300, "loss")])
def test_what_diverges_ends_at_once_with_step_and_reason_and_its_worker_goes_on(
    tmp_path: Path, bad: float, reason: str
) -> None:
    # NaN trials that stay RUNNING for ever, a NaN that a pruner never stops
    taken: Counter[int] = Counter()

    def train(run: Run) -> None:
        for step in run.steps(30):
            taken[run.seed] += 1
            diverges = run.params["learning_rate"] > 0.05 and step == 3
            run.report(loss=bad if diverges else 1.0 / (step + 1), score=float(step))

    study = sweep(tmp_path, train, trials=12, executor="local")
    high = [trial for trial in study.state.trials if trial.params["learning_rate"] > 0.05]
    assert 0 < len(high) < 12
    assert {trial.state for trial in high} == {"diverged"}
    assert {trial.steps for trial in high} == {4}
    assert all("at step 4" in trial.why and reason in trial.why for trial in high)
    assert {taken[trial.seed] for trial in high} == {4}
    assert states(study).count("completed") == 12 - len(high)
    assert study.best is not None
    assert study.best.params["learning_rate"] <= 0.05


def test_a_trial_that_diverged_and_then_raised_has_diverged(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        run.report(score=math.nan)
        raise FloatingPointError("the loss is nan")

    study = sweep(tmp_path, train)
    assert states(study) == ["diverged"] * 6
    assert "FloatingPointError: the loss is nan" in study.trials["why"].tolist()[0]
    assert "FloatingPointError" in study.traceback(0)


def test_a_region_that_diverges_is_not_sampled_again_and_again(tmp_path: Path) -> None:
    # optuna#2864: failing regions sampled again and again
    study = sweep(tmp_path, space=WIDE, trials=44, sampler="coarse_to_fine")
    diverged = study.trials["state"] == "diverged"
    assert diverged[:12].mean() > 0.2
    assert diverged[20:].mean() < diverged[:12].mean() / 2
    shares = study.rounds.query("parameter == 'learning_rate'")["diverged"].tolist()
    assert shares[0] == pytest.approx(diverged[:4].mean())  # round 0 has four


# ── ends, failures, retries ─────────────────────────────────────────────────────────────────────


def test_an_exception_fails_its_trial_alone_and_its_traceback_is_kept(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        run.report(score=1.0)
        if run.params["learning_rate"] > 0.05:
            raise ValueError("too steep\nand more")

    study = sweep(tmp_path, train, trials=8, failures_in_a_row=8)
    failed = study.trials.query("state == 'failed'")
    assert 0 < len(failed) < 8
    assert set(failed["why"]) == {"ValueError: too steep"}
    trace = study.traceback(int(failed["trial"].tolist()[0]))
    assert 'raise ValueError("too steep\\nand more")' in trace
    assert "tuner/worker/training.py" not in trace


@pytest.mark.parametrize("error", [NameError, ModuleNotFoundError, UnboundLocalError, TypeError, AttributeError])
def test_a_mistake_in_the_function_itself_stops_the_sweep_at_the_first_trial(
    tmp_path: Path, error: type[Exception]
) -> None:
    def train(run: Run) -> None:
        raise error("nonsense")

    with pytest.raises(SweepFailed, match=f"first trial failed.*{error.__name__}"):
        sweep(tmp_path, train, trials=50)
    assert len(tuner.open("s", results=tmp_path).state.ended_order) == 1


def test_a_setting_that_is_not_there_is_named_beside_those_that_are_and_stops_the_sweep(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        run.report(score=run.params["learning_rat"])

    told = "first trial failed, .*UnknownSetting: 'learning_rat' is no setting of this run. Did you mean learning_rate?"
    with pytest.raises(SweepFailed, match=told):
        sweep(tmp_path, train, trials=50)
    trace = tuner.open("s", results=tmp_path).traceback(0)
    assert "KeyError: 'learning_rat'" in trace


def test_a_key_that_is_missing_elsewhere_is_the_users_own_affair(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        run.report(score={"a": 1.0}["learning_rat"])

    with pytest.raises(SweepFailed, match=r"failed in a row.*KeyError: 'learning_rat'"):
        sweep(tmp_path, train, trials=50)


def test_a_setting_that_only_some_trials_have_does_not_stop_the_sweep_at_the_first(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        run.report(score=run.params["momentum"])

    space = Space(optimizer=choice("sgd", "adam"), momentum=linear(0.0, 1.0, when={"optimizer": "sgd"}))
    study = sweep(tmp_path, train, trials=12, space=space, failures_in_a_row=12, parallel=1)
    assert study.state.trials[study.state.ended_order[0]].state == "failed"
    assert set(study.trials["state"]) == {"completed", "failed"}


def test_a_sweep_stops_after_as_many_failures_as_allowed(tmp_path: Path) -> None:
    # ray#21222: no "stop after N errors"
    def train(run: Run) -> None:
        if run.params["learning_rate"] > 0.01:
            raise ValueError("no")
        run.report(score=1.0)

    with pytest.raises(SweepFailed, match="3 trials failed, as many as max_failures"):
        sweep(tmp_path, train, trials=50, max_failures=3)

    def always(run: Run) -> None:
        raise ValueError("never")

    with pytest.raises(SweepFailed, match=r"4 trials failed in a row.*trial 3 at step 0: ValueError"):
        sweep(tmp_path / "row", always, trials=50, failures_in_a_row=4)


def test_retries_retry_exceptions_by_their_class(tmp_path: Path) -> None:
    # optuna#6085: retries that don't retry exceptions
    calls: Counter[tuple[int, str]] = Counter()

    def train(run: Run) -> None:
        kind = "unlucky" if run.params["learning_rate"] > 0.01 else "wrong"
        calls[run.seed, kind] += 1
        if kind == "unlucky" and calls[run.seed, kind] < 3:
            raise ConnectionResetError("the data server hung up")  # an OSError
        if kind == "wrong":
            raise ValueError("always")
        run.report(score=1.0)

    study = sweep(tmp_path, train, trials=8, retries={"OSError": 2}, failures_in_a_row=9)
    for trial in study.state.trials:
        lucky = trial.params["learning_rate"] > 0.01
        assert trial.state == ("completed" if lucky else "failed")
        assert [segment.cause for segment in trial.segments] == ["start", *["retry"] * (2 if lucky else 0)]
    assert 0 < states(study).count("failed") < 8
    assert (study.segments.query("cause == 'retry'")["why"].str.contains("ConnectionResetError")).all()


def test_only_the_failed_are_run_again(tmp_path: Path) -> None:
    # wandb#3513: re-run only the failed ones
    mended = False
    calls: list[int] = []

    def train(run: Run) -> None:
        calls.append(run.seed)
        if run.params["learning_rate"] > 0.01 and not mended:
            raise OSError("the disk was away")
        run.report(score=1.0)

    before = states(sweep(tmp_path, train, failures_in_a_row=9))
    assert 0 < before.count("failed") < 6
    calls.clear()
    mended = True
    assert states(sweep(tmp_path, train)) == before
    assert calls == []
    assert states(sweep(tmp_path, train, rerun="failed")) == ["completed"] * 6
    assert len(calls) == before.count("failed")


def driven(executor: LocalExecutor, trials: int = 1, **limits: float) -> StudyState:
    """A sweep of one trial, or more, on this executor."""
    study, store = StudyState(), Store.in_memory()
    identity = {"space": SPACE.to_dict(), "objective": "score", "goal": "maximize", "seed": 0, "sampler": "random"}
    opened = StudyOpened(name="s", kind="sweep", identity=identity, function="", source_sha256="", version="", at=0.0)
    study.apply(opened)
    store.acquire(time.time())
    store.append([opened], time.time())
    policy = Caviar(
        space=SPACE, seed=0, proposer=by_name("random"), stopping=Off(), limits=Limits(trials=trials, losses=3)
    )
    executor.open(Job(study="s", function="", search_path=(), objective="score"), 1)
    Coordinator(
        study=study,
        store=store,
        policy=policy,
        requests=SweepRequests(policy),
        executor=executor,
        keeper=None,
        timing=Timing(**limits),
    ).run()
    executor.close()
    return study


class Spot(LocalExecutor):
    """Takes its one worker away between two polls, as often as told."""

    def __init__(self, function: Callable[[Run], Any], times: int) -> None:
        super().__init__(function=function)
        self._left = times
        self._steps = 0

    def poll(self, timeout_s: float) -> list[Event]:
        events = super().poll(timeout_s)
        self._steps += sum(isinstance(event, tuple) and isinstance(event[1], Reported) for event in events)
        if self._steps < 2 or not self._left:
            return events
        self._left, self._steps = self._left - 1, 0
        self.kill("worker-1", "")
        back = [event for event in super().poll(0.0) if not isinstance(event, WorkerLost)]
        return [*events, WorkerLost(worker="worker-1", why="its node was preempted", preempted=True), *back]


def test_a_taken_machine_is_no_failure_however_often() -> None:
    # ray#50187: spot preemption counted as failure
    def train(run: Run) -> None:
        for step in run.steps(10):
            time.sleep(0.01)
            run.report(score=float(step))

    study = driven(Spot(train, times=8))
    assert [trial.state for trial in study.trials] == ["completed"]
    assert [segment.why for segment in study.trials[0].segments[1:]] == ["its node was preempted"] * 8


class SetByHand(LocalExecutor):
    """Keeps time by a clock that is set once the first step has ended."""

    def __init__(self, function: Callable[[Run], Any], by_s: float) -> None:
        super().__init__(function=function)
        self._by_s, self._off_s = by_s, 0.0

    def poll(self, timeout_s: float) -> list[Event]:
        events = super().poll(timeout_s)
        if any(isinstance(event, tuple) and isinstance(event[1], Reported) for event in events):
            self._off_s = self._by_s
        return events

    def now(self) -> float:
        return super().now() + self._off_s


@pytest.mark.parametrize("by_s", [7200.0, -7200.0])
def test_a_clock_that_is_set_ends_no_trial(by_s: float) -> None:
    def train(run: Run) -> None:
        for step in run.steps(5):
            time.sleep(0.01)
            run.report(score=float(step))

    study = driven(SetByHand(train, by_s), time_limit_s=600.0, silence_limit_s=60.0)
    assert [(trial.state, trial.steps) for trial in study.trials] == [("completed", 5)]


def test_a_clock_that_is_set_back_spares_no_trial_that_takes_too_long() -> None:
    def train(run: Run) -> None:
        for step in run.steps(1_000_000):
            time.sleep(0.01)
            run.report(score=float(step))

    study = driven(SetByHand(train, -7200.0), time_limit_s=0.2)
    assert [trial.state for trial in study.trials] == ["stopped"]
    assert "time limit of 0.2 s" in study.trials[0].why


@pytest.mark.parametrize(
    ("train", "why"),
    [
        (lambda run: run.report(loss=1.0), "without reporting 'score'; reported: loss"),
        (lambda run: None, "without reporting 'score'; reported: nothing"),
        (lambda run: run.report(score="high"), "got str 'high'"),
        (lambda run: run.report(score=[1, 2]), "got list [1, 2]"),
        (lambda run: sys.exit("enough"), "SystemExit: enough"),
        (lambda run: run.report(), "run.report needs scores by name"),
    ],
)
def test_a_function_that_does_not_keep_to_the_contract_is_told_how(
    tmp_path: Path, train: Callable[[Run], Any], why: str
) -> None:
    with pytest.raises(SweepFailed) as failed:
        sweep(tmp_path, train, trials=5)
    assert why in str(failed.value)
    assert set(tuner.open("s", results=tmp_path).trials["state"].astype(str)) <= {"failed", "waiting", "stopped"}


def test_what_is_reported_after_an_early_end_is_kept_but_never_counts(tmp_path: Path) -> None:
    def train(run: Run) -> float:
        for step in run.steps(40):
            run.report(score=-abs(run.params["learning_rate"] - 0.01) * step)
        if run.ended is not None:
            run.report(score=100.0, test_score=0.5)
        return 200.0 if run.ended is not None else 0.0

    study = sweep(tmp_path, train, trials=12, stopping="asha")
    pruned = study.trials.query("state == 'pruned'")
    assert len(pruned) > 3
    assert study.trials["objective"].max() <= 0.0
    late = study.reports.query("name == 'score (after the end)'")
    assert late["value"].tolist() == [100.0, 200.0] * len(pruned)
    assert len(study.reports.query("name == 'test_score'")) == len(pruned)


def test_a_function_may_return_its_score(tmp_path: Path) -> None:
    study = sweep(tmp_path, lambda run: run.params["learning_rate"])
    assert study.trials["objective"].tolist() == study.trials["params.learning_rate"].tolist()


def test_an_exception_of_any_size_and_shape_is_an_end(tmp_path: Path) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("I will not say")

    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 5_000_000)
        deeper(depth - 1)

    def train(run: Run) -> None:
        if run.params["learning_rate"] > 0.01:
            deeper(200)
        raise Mute

    study = sweep(tmp_path, train, failures_in_a_row=9)
    assert states(study) == ["failed"] * 6
    assert study.trials["why"].str.len().max() < 600
    assert {len(study.traceback(trial)) < 60_000 for trial in range(6)} == {True}
    assert (tmp_path / "s" / "study.db").stat().st_size < 2_000_000


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


def hangs(run: Run) -> None:
    for step in run.steps(3):
        run.report(score=1.0)
        if run.params["learning_rate"] > 0.1 and step == 1:
            time.sleep(3.0)


@pytest.mark.parametrize(
    ("limit", "state", "why"),
    [
        ({"time_limit_s": 0.3}, "stopped", "time limit of 0.3 s"),
        ({"silence_limit_s": 0.4}, "failed", "no sign of life for 0.4 s"),
    ],
)
def test_a_hung_trial_is_given_up(tmp_path: Path, limit: dict[str, Any], state: str, why: str) -> None:
    # ray#47475: no hard timeout, a hung trial blocks ten minutes
    study = sweep(tmp_path, hangs, trials=3, **limit)
    hung = study.trials["params.learning_rate"] > 0.1
    assert hung.sum() == 1
    assert study.trials["why"][hung].str.contains(why).all()
    assert set(study.trials["state"][hung].astype(str)) == {state}
    assert set(study.trials["state"][~hung].astype(str)) == {"completed"}


class KillsTooLate(LocalExecutor):
    """Its hung step ends, and the trial behind it begins, in the instant before its worker is killed."""

    def __init__(self) -> None:
        super().__init__(function=self._train)
        self.calls: list[int] = []
        self._released = threading.Event()

    def _train(self, run: Run) -> None:
        self.calls.append(run.seed)
        for step in run.steps(3):
            if step == 1 and run.seed == self.calls[0]:
                self._released.wait(PATIENCE_S)
            run.report(score=float(step))

    def kill(self, worker: str, why: str) -> None:
        self._released.set()
        while len(self.calls) < 2:
            super().poll(0.01)  # and nothing that it says is heard
        super().kill(worker, why)


def test_what_began_in_the_instant_before_its_worker_was_killed_is_not_trained_again_in_silence() -> None:
    executor = KillsTooLate()
    hung, behind = driven(executor, trials=2, silence_limit_s=0.3).trials
    assert (hung.state, behind.state) == ("failed", "completed")
    assert executor.calls.count(behind.seed) == len(behind.segments) == 2
    assert "may have begun" in behind.head.why


def test_a_trial_that_steps_without_reporting_is_not_silent(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        for _ in run.steps(100):
            time.sleep(0.02)
        run.report(score=1.0)

    assert states(sweep(tmp_path, train, trials=1, silence_limit_s=1.5)) == ["completed"]


@pytest.mark.parametrize(("parallel", "clock"), [(1, "wall"), (3, "wall"), (8, "virtual")])
@pytest.mark.parametrize("stopping", ["off", "asha"])
def test_the_budget_of_steps_is_never_exceeded(tmp_path: Path, parallel: int, clock: str, stopping: str) -> None:
    study = sweep(
        tmp_path, trials=None, budget_steps=237, parallel=parallel, clock=clock, stopping=stopping, store="memory"
    )
    assert 200 <= study.trials["steps"].sum() <= 237
    assert len(study.reports) <= 2 * 237


def test_a_retry_at_the_end_of_the_budget_does_not_exceed_it(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        count = Count()
        run.state(count)
        for step in run.steps(50):
            count.steps += 1
            run.report(score=float(step))
            if step == 9:
                raise ConnectionError("again")

    study = sweep(tmp_path, train, trials=None, budget_steps=10, retries=3, checkpoint_every_s=0, failures_in_a_row=99)
    assert study.trials["steps"].sum() <= 10


@pytest.mark.parametrize("sampler", ["random", "coarse_to_fine"])
def test_on_the_virtual_clock_a_study_is_the_same_bit_for_bit_its_times_included(tmp_path: Path, sampler: str) -> None:
    def once(folder: str) -> Study:
        return sweep(
            tmp_path / folder, sampler=sampler, stopping="asha", clock="virtual", parallel=8, trials=40, store="memory"
        )

    one, other = once("one"), once("other")
    for table in ("trials", "reports", "segments", "rounds", "notes"):
        assert getattr(one, table).equals(getattr(other, table)), table
    assert one.trials["started"].nunique() > 5


# ── concurrency, places, folders ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parallel", [1, 3])
def test_one_number_says_how_many_train_at_a_time(tmp_path: Path, parallel: int) -> None:
    # ray#36080: five concurrency knobs, some ignored
    training = most = 0

    def train(run: Run) -> None:
        nonlocal training, most
        training += 1
        most = max(most, training)
        for step in run.steps(10):
            time.sleep(0.005)
            run.report(score=float(step))
        training -= 1

    sweep(tmp_path, train, trials=8, parallel=parallel)
    assert most == parallel


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_no_worker_stands_idle_while_a_trial_waits_behind_another(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ray#36080: as many trials as workers train side by side, whichever worker stands first
    monkeypatch.chdir(tmp_path)  # a cluster is sent the code that lies here

    def train(run: Run) -> None:
        (tmp_path / f"begun-{run.seed}").touch()
        deadline = time.monotonic() + PATIENCE_S
        for _ in run.steps(10_000_000):
            time.sleep(0.01)
            both = len(list(tmp_path.glob("begun-*"))) == 2
            run.report(score=float(both))
            if both or time.monotonic() > deadline:
                break

    study = sweep(tmp_path, train, trials=2, executor="ray", address=cluster, parallel=2)
    assert list(study.trials["objective"]) == [1.0, 1.0]


def test_where_a_trial_goes_stays_its_own(tmp_path: Path) -> None:
    # ray#29128: it changes directory into the trial's
    home, seen = Path.cwd(), []

    def train(run: Run) -> None:
        seen.append(Path.cwd())
        os.chdir("/")
        run.report(score=1.0)

    sweep(tmp_path, train)
    assert set(seen) == {home}
    assert Path.cwd() == home


def test_folders_are_called_what_they_hold(tmp_path: Path) -> None:
    # ray#48979: random folder names
    study = sweep(tmp_path, trials=2, name="night")
    assert [path.name for path in tmp_path.iterdir()] == ["night"]
    assert study.checkpoints["path"].tolist() == ["checkpoints/0/0-20", "checkpoints/1/0-20"]
    assert study.best is not None
    assert study.best.checkpoint == tmp_path / "night" / "checkpoints" / str(study.best.trial) / "0-20"


def test_checkpoints_keep_within_their_budget(tmp_path: Path) -> None:
    # ray#23674: checkpoints fill the disk
    budget = 2_000_000

    class Heavy(Count):
        def state_dict(self) -> dict[str, Any]:
            return {"steps": self.steps, "weights": bytes(300_000)}

    def train(run: Run) -> None:
        model = Heavy()
        run.state(model)
        for step in run.steps(12):
            model.steps += 1
            run.report(score=step + run.params["learning_rate"])

    study = sweep(tmp_path, train, trials=10, checkpoint_every_s=0, disk_budget_gb=budget / 2**30)
    held = sum(path.stat().st_size for path in (tmp_path / "s" / "checkpoints").rglob("*") if path.is_file())
    assert held < budget + 400_000
    kept = study.checkpoints.query("kept")
    assert kept["bytes"].sum() <= budget
    assert all((tmp_path / "s" / path).is_dir() for path in kept["path"])
    assert study.best is not None
    assert study.best.checkpoint is not None
    assert study.best.checkpoint.is_dir()


def test_what_cannot_travel_is_refused_with_a_sentence(tmp_path: Path) -> None:
    lock = threading.Lock()

    def train(run: Run) -> None:
        with lock:
            run.report(score=1.0)

    with pytest.raises(TrainingError, match=r"sent to workers.*'_thread\.lock'"):
        sweep(tmp_path, train, executor="ray", address="local")
    assert states(sweep(tmp_path, train)) == ["completed"] * 6  # in this process it need not travel


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("tuner.workloads.bowl:trian", "Did you mean train?"),
        ("nowhere.at_all:train", "no module named 'nowhere'"),
        ("tuner.workloads.bowl", "names no function: write package.module:function"),
        ("tuner.workloads.bowl:STEPS", "is a int"),
    ],
)
def test_a_function_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path, path: str, sentence: str) -> None:
    with pytest.raises(TrainingError) as refused:
        sweep(tmp_path, path)
    assert sentence in str(refused.value)
    assert list(tmp_path.iterdir()) == []


# ── records ─────────────────────────────────────────────────────────────────────────────────────


def test_a_crash_leaves_no_trial_running_for_ever(tmp_path: Path) -> None:
    # optuna#913, optuna#6283: zombie RUNNING trials; ray#30861: resuming loses trials
    class Crash(BaseException):
        """Ends the process, as a signal would: what is a mere `Exception` of a display ends nothing."""

    def look(study: Any) -> None:
        if study.counts.get("completed", 0) >= 2 and study.counts.get("running", 0):
            raise Crash

    def train(run: Run) -> None:
        for step in run.steps(10):
            time.sleep(0.005)
            run.report(score=step + run.params["learning_rate"])

    with pytest.raises(Crash):
        sweep(tmp_path, train, progress=Watcher(look), parallel=2)
    left = tuner.open("s", results=tmp_path)
    assert "running" in states(left)
    study = sweep(tmp_path, train, parallel=2)
    assert states(study) == ["completed"] * 6
    assert (
        study.trials["params.learning_rate"].tolist()[: len(left.trials)]
        == left.trials["params.learning_rate"].tolist()
    )
    retried = study.segments.query("cause == 'retry'")["trial"].tolist()
    assert set(retried) == {trial.trial for trial in left.state.trials if not trial.ended}


def test_a_torn_log_costs_the_last_commits_at_most(tmp_path: Path) -> None:
    # optuna#5138: one torn line bricks the study
    torn: list[int] = []

    def look(study: Any) -> None:
        if study.counts.get("completed", 0) > 20 and not torn:
            place = tmp_path / "torn" / "s"
            place.mkdir(parents=True)
            for name in ("study.db", "study.db-wal"):
                shutil.copyfile(tmp_path / "s" / name, place / name)
            wal = place / "study.db-wal"
            wal.write_bytes(wal.read_bytes()[: wal.stat().st_size * 2 // 3] + os.urandom(999))
            torn.append(len(study.trials))

    sweep(tmp_path, trials=60, progress=Watcher(look))
    study = tuner.open("s", results=tmp_path / "torn")
    assert 0 < len(study.trials) <= torn[0]
    study.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "torn" / "s" / "study.db")) as connection:
        connection.execute("UPDATE lease SET pid = 4194304, born = 'long ago'")  # this process holds the other copy
        connection.commit()
    assert len(sweep(tmp_path / "torn", trials=60).trials) == 60


def test_many_writers_never_find_the_record_locked(tmp_path: Path) -> None:
    # optuna#820: database is locked
    with running(tmp_path, endless) as handle:
        stores = [Store.open(tmp_path / "s" / "study.db") for _ in range(6)]
        failures: list[BaseException] = []

        def write(store: Store) -> None:
            try:
                for number in range(15):
                    store.request("note", {"text": f"note {number}", "trial": None}, by="me", why="")
            except StudyError as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handle.note("the last")
        assert failures == []
        assert len(handle.study.notes) == 91
        for store in stores:
            store.close()


def test_a_network_filesystem_is_refused(tmp_path: Path) -> None:
    # optuna#6036: SQLite on NFS gets corrupted
    with pytest.raises(StudyError, match=r"network filesystem \(nfs4\)"):
        refuse_network_filesystem(tmp_path, [f"server:/export {tmp_path} nfs4 rw 0 0"])


# ── requests ────────────────────────────────────────────────────────────────────────────────────


def test_the_box_of_a_running_study_can_be_changed(tmp_path: Path) -> None:
    # wandb#12415 refuses
    def quick(run: Run) -> None:
        time.sleep(0.02)
        run.report(score=run.params["learning_rate"])

    with running(tmp_path, quick, trials=100_000, sampler="coarse_to_fine") as handle:
        handle.set_box(learning_rate=(0.005, 0.05), why="seen enough of the rest")
        first = handle.study.rounds.query("why == 'seen enough of the rest'")
        assert first[["low", "high"]].to_numpy().tolist() == [[pytest.approx(0.005), pytest.approx(0.05)]]
        begins = next(each.first_trial for each in handle.study.state.rounds if each.why == "seen enough of the rest")
        deadline = time.monotonic() + 60
        while len(handle.study.state.trials) < begins + 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        after = handle.study.state.trials[begins : begins + 4]  # every sixth is drawn from the whole space all the same
        drawn = [trial.params["learning_rate"] for trial in after if "whole space" not in trial.segments[0].why]
        assert len(drawn) >= 3
        assert all(0.00499 < rate < 0.0501 for rate in drawn)


def test_every_verb_is_carried_out_or_refused_with_a_sentence(tmp_path: Path) -> None:
    with running(tmp_path, endless, trials=4) as handle:
        refusals: list[tuple[Callable[[], object], str]] = [
            (lambda: handle.stop_trial(99), "there is no trial 99"),
            (lambda: handle.add({"learning_rat": 0.1}), "learning_rat"),
            (lambda: handle.add({"learning_rate": 7.0}), "learning_rate"),
            (lambda: handle.add({}), "learning_rate"),
            (lambda: handle.set_box(beta=(0.9, 0.99)), "beta is no parameter of this space"),
            (lambda: handle.set_box(learning_rate=(0.1, 0.01)), "low must be below high"),
            (lambda: handle.set_parallel(0), "parallel must be at least 1"),
            (lambda: handle.note("where?", trial=77), "there is no trial 77"),
        ]
        for act, sentence in refusals:
            with pytest.raises((StudyError, SettingsError)) as refused:
                act()
            assert sentence in str(refused.value)
        with contextlib.closing(Store.open(tmp_path / "s" / "study.db")) as store:
            nonsense: list[tuple[str, dict[str, Any]]] = [
                ("no_such", {}),
                ("add", {}),
                ("stop_trial", {"trial": {}}),
                ("set_box", {"ranges": 3}),
            ]
            for verb, arguments in nonsense:
                request = store.request(verb, arguments, by="a stranger", why="")
                answer = wait_until(lambda name=request: store.answer(name))  # type: ignore[misc]
                assert answer is not None
                assert answer.state == "rejected"
                assert answer.detail
        handle.note("all is well", trial=0)
        handle.pause()
        stood = handle.study.state.steps_done
        time.sleep(0.3)
        assert handle.study.state.steps_done <= stood + 1
        handle.resume()
        handle.set_parallel(2)
        handle.stop_trial(0, why="enough")
        handle.stop(why="evening")
    study = tuner.open("s", results=tmp_path)
    assert study.trials["why"].tolist()[0] == "enough"
    assert study.notes["text"].tolist()[0] == "all is well"
    with pytest.raises(StudyError, match="is not running"):
        tuner.attach("s", results=tmp_path).pause()
    with sqlite3.connect(tmp_path / "s" / "study.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
