"""A sweep on Ray: lost workers, lost nodes, a lost coordinator, what is placed where and said why; on real clusters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S, study_once

import tuner
from tuner import Space, Study, log
from tuner.errors import ExecutorError
from tuner.record.events import TrialStarted
from tuner.record.store import Store
from tuner.worker.messages import Event, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]

SPACE = Space(learning_rate=log(1e-4, 0.5))
KILL_STUDY = Path(__file__).parents[1] / "benchmarks" / "kill_study.py"

JOB = '''
import os, signal, sys, time
from pathlib import Path

import tuner
from tuner import Space, log

SPACE = Space(learning_rate=log(1e-4, 0.5))
HOME = Path.cwd()


class Count:
    def __init__(self):
        self.steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def climb(run, steps=20, step_s=0.01, at_step=lambda step: None):
    count = Count()
    run.state(count)
    for step in run.steps(steps):
        assert count.steps == step, "the state and the step belong together"
        count.steps += 1
        time.sleep(step_s)
        at_step(step)
        run.report(score=step + run.params["learning_rate"])


def long(run):
    climb(run, steps=150, step_s=0.03)


def first(run):
    """Whether this is the trial with the study's first settings."""
    return run.params["learning_rate"] == float(os.environ.get("FIRST", "nan"))


def kills_its_worker_once(run):
    def at_step(step):
        if step == 12 and not Path("killed").exists():
            Path("killed").write_text(str(os.getpid()))
            time.sleep(0.5)  # what was trained so far is on record
            os.kill(os.getpid(), signal.SIGKILL)

    climb(run, at_step=at_step)


def waits_at_a_gate(run):
    def at_step(step):
        while step == 12 and not Path("gate").exists():
            time.sleep(0.05)

    climb(run, at_step=at_step)


def kills_every_worker(run):
    if run.params["learning_rate"] < 0.002:
        os._exit(1)
    climb(run)


def hangs(run):
    climb(run, steps=1)
    while run.params["learning_rate"] < 0.002:
        time.sleep(1000)
    while run.params["learning_rate"] < 0.01:
        run.report(alive=1.0)


def wanders(run):
    print("x" * 100_000)
    here = float(Path.cwd() == HOME)
    os.chdir("/")
    run.report(score=here)


def looks_around(run):
    [shipped] = {Path(each) for each in sys.path if "_ray_pkg_" in each}
    run.report(score=float((shipped / "job.py").exists() and not list((shipped / "ray").glob("*"))))


def sweep(train, **given):
    options = dict(
        name="s", objective="score", trials=6, sampler="random", stopping="off", parallel=2, checkpoint_every_s=0,
        progress="off", results="results", address=os.environ.get("CLUSTER", "local"),
    )
    try:
        return tuner.sweep(f"job:{train}", SPACE, **{**options, **given})
    except tuner.TunerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
'''

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python on some code in a folder that holds `job.py`; whatever still runs at the end is killed."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "space.toml").write_text('[learning_rate]\nscale = "log"\nlow = 1e-4\nhigh = 0.5\n')
    started: list[subprocess.Popen[str]] = []

    def run(*command: str, cluster: str = "local") -> subprocess.Popen[str]:
        if len(command) == 1:
            command = ("-c", f"from job import *\n{command[0]}")
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "CLUSTER": cluster},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, (out + err)[-3000:]
    return out, err


def opened(folder: Path) -> Study:
    return tuner.open("s", results=folder / "results")


def wait_until(folder: Path, holds: Callable[[Study], bool]) -> None:
    study_once(holds, folder / "results").close()


def steps_of(study: Study) -> int:
    return sum(trial.steps for trial in study.state.trials)


# ── workers ─────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_goes_on_from_its_checkpoint_when_its_worker_is_killed_and_nothing_else_is_said(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    # ray#50187: a lost machine counted as a failure; ray#3928: far too much output
    out, err = finish(start("sweep('kills_its_worker_once')", cluster=cluster))
    assert out == ""
    assert err == ""
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 6
    retries = study.segments.query("cause == 'retry' and from_step > 0")
    assert retries["from_step"].tolist() == [12]
    assert retries["parent_segment"].tolist() == [0]
    assert retries["why"].tolist()[0].startswith("its process died")
    assert study.reports.query("head").groupby("trial")["step"].apply(list).tolist() == [list(range(1, 21))] * 6
    assert study.notes["text"].str.contains("was lost").sum() == 1
    store = Store.open(tmp_path / "results" / "s" / "study.db")
    pids = [(record.trial, record.pid) for record in store.read(TrialStarted)]
    store.close()
    assert (retries["trial"].item(), int((tmp_path / "killed").read_text())) in pids  # whom to kill is on record


@pytest.mark.long
def test_a_trial_that_kills_every_worker_fails_alone_after_four(start: Start, cluster: str, tmp_path: Path) -> None:
    finish(start("sweep('kills_every_worker')", cluster=cluster))
    study = opened(tmp_path)
    failed = study.trials.query("state == 'failed'")
    assert len(failed) >= 1
    assert (failed["params.learning_rate"] < 0.002).all()
    assert failed["why"].str.contains("lost its worker 4 times").all()
    assert study.trials.query("state != 'failed'")["state"].tolist() == ["completed"] * (6 - len(failed))


@pytest.mark.long
def test_hung_trials_are_ended_by_their_limits_and_free_their_workers(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    # ray#47475: no hard timeout, a hung trial blocks
    rates = [0.001, 0.005, 0.1]
    given = f"trials=3, start=[dict(learning_rate=rate) for rate in {rates}], silence_limit_s=1.0, time_limit_s=2.5"
    finish(start(f"sweep('hangs', {given})", cluster=cluster))
    study = opened(tmp_path)
    assert study.trials["params.learning_rate"].tolist() == rates
    assert study.trials["state"].tolist() == ["failed", "stopped", "completed"]
    assert "no sign of life for 1 s" in study.trials["why"][0]
    assert "time limit of 2.5 s" in study.trials["why"][1]


@pytest.mark.long
def test_code_is_shipped_without_the_sessions_of_ray_that_lie_beside_it(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    session = tmp_path / "ray" / "session_2026-11-29_06-07-12_584394_20551"
    session.mkdir(parents=True)
    (session / "raylet.out").write_text("")
    (tmp_path / "ray" / "session_latest").symlink_to(session)
    finish(start("sweep('looks_around', trials=1)", cluster=cluster))
    assert opened(tmp_path).trials["objective"].tolist() == [1.0]


@pytest.mark.long
def test_what_trials_print_goes_to_files_and_where_they_go_stays_their_own(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    # ray#29128: it changes directory into the trial's
    out, err = finish(start("sweep('wanders'); print(Path.cwd() == HOME)", cluster=cluster))
    assert out == "True\n"
    assert err == ""
    study = opened(tmp_path)
    assert study.trials["objective"].tolist() == [1.0] * 6
    logs = "".join(path.read_text() for path in (tmp_path / "results" / "s" / "logs").rglob("*") if path.is_file())
    assert logs.count("x" * 100_000) == 6


@pytest.mark.long
def test_code_that_will_not_import_on_a_worker_ends_the_sweep_with_a_sentence(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    (tmp_path / "picky.py").write_text(
        "import sys\nif 'default_worker' in sys.argv[0]: sys.exit('not here')\ndef train(run): pass\n"
    )
    code = (
        "tuner.sweep('picky:train', SPACE, name='s', objective='score', address=os.environ['CLUSTER'], progress='off')"
    )
    _, err = finish(start(f"try: {code}\nexcept tuner.TunerError as error: sys.exit(str(error))", cluster=cluster), 1)
    assert "'picky:train'" in err
    assert "SystemExit: not here" in err
    assert err.count("\n") == 1


# ── steering ────────────────────────────────────────────────────────────────────────────────────


def test_a_running_sweep_is_paused_resumed_resized_and_added_to(start: Start, cluster: str, tmp_path: Path) -> None:
    process = start("sweep('long')", cluster=cluster)
    wait_until(tmp_path, lambda study: study.state.counts.get("running", 0) == 2 and steps_of(study) > 10)
    handle = tuner.attach("s", results=tmp_path / "results")
    assert isinstance(handle, tuner.SweepHandle)
    handle.pause("lunch")
    wait_until(tmp_path, lambda study: study.state.counts.get("paused", 0) == 2)
    stood = steps_of(opened(tmp_path))
    time.sleep(0.5)
    assert steps_of(opened(tmp_path)) == stood
    assert handle.add({"learning_rate": 0.25}).state == "applied"
    assert handle.resume().state == "applied"
    assert handle.set_parallel(1).detail == "1 trials train at a time"
    wait_until(tmp_path, lambda study: steps_of(study) > stood + 20)
    assert handle.stop_trial(0, why="enough seen").state == "applied"
    wait_until(tmp_path, lambda study: study.state.trials[0].state == "stopped")
    handle.set_parallel(2)
    handle.stop("evening")
    handle.close()
    finish(process)
    study = opened(tmp_path)
    assert study.trials["why"].tolist()[0] == "enough seen"
    assert set(study.trials["state"].astype(str)) <= {"stopped", "completed", "waiting"}
    assert 0.25 in study.trials["params.learning_rate"].tolist()


# ── places ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_what_can_never_be_placed_is_refused_with_what_there_is(start: Start, cluster: str) -> None:
    # ray#43451, ray#24259: PENDING for ever, no reason shown
    _, err = finish(start("sweep('long', gpus=1, parallel=None)", cluster=cluster), code=1)
    assert "1 GPU a trial, the largest node has 0" in err


@pytest.mark.long
def test_why_workers_wait_is_shown_while_a_cluster_may_still_grow(start: Start, cluster: str) -> None:
    code = """
class Face:
    def show(self, study, status):
        if status.waiting_because:
            print(status.waiting_because)
            os.kill(os.getpid(), signal.SIGTERM)
    def close(self):
        pass
try:
    sweep('long', cpus=5, parallel=2, progress=Face())
except KeyboardInterrupt:
    pass
"""
    out, _ = finish(start(code, cluster=cluster))
    assert out.startswith("2 of 2 workers wait")
    assert "5 CPU a trial, the largest node has 4" in out.splitlines()[0]


@pytest.mark.long
def test_workers_that_take_long_to_start_wait_for_no_place(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text("import time\ntime.sleep(20)\n")
    code = f"""
class Face:
    def show(self, study, status):
        if status.waiting_because:
            print(status.waiting_because)
            os.kill(os.getpid(), signal.SIGTERM)
    def close(self):
        pass
try:
    sweep('long', progress=Face(), runtime_env={{'env_vars': {{'PYTHONPATH': {str(tmp_path / "slow")!r}}}}})
except KeyboardInterrupt:
    pass
"""
    out, _ = finish(start(code))
    assert out.startswith("2 of 2 workers are starting")


def test_a_results_folder_that_a_node_does_not_share_is_refused(cluster: str, tmp_path: Path) -> None:
    import ray

    from tuner.executors.ray import RayExecutor

    (tmp_path / ".shared").write_text("written by another coordinator")
    executor = RayExecutor(address=cluster)
    job = Job(
        study="s",
        function="tuner.workloads.bowl:train",
        search_path=(),
        objective="score",
        token_file=tmp_path / ".shared",
        token="written by this coordinator",
    )
    try:
        executor.open(job, 1)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(ExecutorError, match=rf"{tmp_path} is not shared with node {os.uname().nodename}"):
            poll_until(executor.poll, deadline)
    finally:
        executor.close()
    assert not ray.is_initialized()


def poll_until(poll: Callable[[float], list[Event]], deadline: float) -> None:
    while time.monotonic() < deadline:
        poll(0.5)


@pytest.mark.long
def test_a_lost_node_takes_no_trial_with_it(start: Start, tmp_path: Path) -> None:
    # code in the user's folder reaches both nodes; one of them dies in the midst of training
    cluster_utils: Any = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        doomed = cluster.add_node(num_cpus=1)
        process = start("sweep('long', trials=3)", cluster=cluster.address)
        wait_until(
            tmp_path,
            lambda study: (
                len({trial.node for trial in study.state.trials if trial.state == "running"}) == 2
                and min(trial.steps for trial in study.state.trials if trial.state == "running") > 20
            ),
        )
        cluster.remove_node(doomed, allow_graceful=False)
        finish(process)
        study = opened(tmp_path)
        assert study.trials["state"].tolist() == ["completed"] * 3
        assert study.trials["steps"].tolist() == [150] * 3
        assert (study.segments.query("cause == 'retry'")["from_step"] > 0).any()
    finally:
        cluster.shutdown()


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_nodes_that_are_preempted_five_times_at_one_step_fail_no_trial_and_have_no_step_count_twice(
    start: Start, tmp_path: Path
) -> None:
    # four lost workers at one step would end a trial as failed; a machine that its owner takes back is nobody's fault
    cluster_utils: Any = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        spot = cluster.add_node(num_cpus=2)
        process = start("sweep('waits_at_a_gate', trials=2, max_failures=1, retries=0)", cluster=cluster.address)
        for _ in range(5):
            wait_until(tmp_path, partial(both_wait, node=spot.node_id))
            give_notice(cluster.address, spot.node_id)
            taken, spot = spot, cluster.add_node(num_cpus=2)
            cluster.remove_node(taken, allow_graceful=False)
        wait_until(tmp_path, partial(both_wait, node=spot.node_id))
        (tmp_path / "gate").touch()
        finish(process)
    finally:
        cluster.shutdown()
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 2
    assert study.reports.query("head").groupby("trial")["step"].apply(list).tolist() == [list(range(1, 21))] * 2
    again = study.segments.query("cause == 'retry'")
    assert (again.groupby("trial").size() >= 5).all()
    assert set(again["from_step"]) == {12}
    assert again["why"].str.contains("its node was preempted").all()
    assert not study.notes["text"].str.contains("lost").any()


def both_wait(study: Study, node: str) -> bool:
    """Whether two trials are trained on a node, and both came to the gate, with a checkpoint there."""
    there = [
        (trial.state, trial.steps, trial.node.rpartition(":")[2], [each.step for each in study.state.kept(trial)][-1:])
        for trial in study.state.trials
    ]
    return there == [("running", 12, node[:6], [12])] * 2


def give_notice(address: str, node: str) -> None:
    """Tells a cluster that the owner of a machine wants it back, as a cloud does some seconds before it takes it."""
    import ray
    from ray.core.generated import autoscaler_pb2

    client: Any = ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
    accepted, why_not = client.drain_node(node, reason, "a spot instance", (time.time_ns() // 10**6) + 60_000)
    assert accepted, why_not


# ── the coordinator ─────────────────────────────────────────────────────────────────────────────


def children_of(pid: int) -> set[int]:
    """All processes below one, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, fresh = set(), {pid}
    while fresh:
        found |= fresh
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
    return found - {pid}


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@pytest.mark.long
def test_after_sigkill_ray_leaves_by_itself_and_the_next_start_goes_on(start: Start, tmp_path: Path) -> None:
    process = start("sweep('long', trials=3)")
    wait_until(
        tmp_path, lambda study: all(trial.checkpoints for trial in study.state.trials[:2]) and steps_of(study) > 40
    )
    family = children_of(process.pid)
    assert any("raylet" in command_of(pid) for pid in family)
    process.kill()
    process.wait()
    again = start("sweep('long', trials=3)")
    finish(again)
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 3
    assert (study.segments.query("trial < 2 and cause == 'retry'")["from_step"] > 0).all()
    # Ray's two agents look for their head for a minute; whatever trains, places or stores is gone.
    left = [command for pid in family if (command := command_of(pid)) and "Agent" not in command]
    assert left == []


@pytest.mark.long
def test_a_terminals_interrupt_pauses_the_trials_and_the_next_start_thaws_them_also_elsewhere(
    start: Start, cluster: str, tmp_path: Path
) -> None:
    # Ctrl-C reaches the whole process group; optuna#5963, ray#50358
    command = (
        "-m",
        "tuner",
        "sweep",
        "job:long",
        "--space",
        "space.toml",
        "--name",
        "s",
        "--objective",
        "score",
        "--sampler",
        "random",
        "--stopping",
        "off",
        "--trials",
        "2",
        "--parallel",
        "2",
        "--no-plot",
    )
    process = start(*command)
    wait_until(tmp_path, lambda study: study.state.counts.get("running", 0) == 2 and steps_of(study) > 20)
    os.killpg(process.pid, signal.SIGINT)
    _, err = finish(process, code=130)
    assert "Traceback" not in err
    left = opened(tmp_path)
    assert left.trials["state"].tolist() == ["paused"] * 2
    reached = left.trials["steps"].tolist()
    left.close()
    finish(start(*command, "--address", cluster))
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 2
    assert study.segments.query("cause == 'thaw'")["from_step"].tolist() == reached
    assert study.reports["head"].all()
    assert len(study.reports) == 300


@pytest.mark.long
@pytest.mark.timeout(660)  # Ray starts four times, which takes minutes where the machine is busy
def test_coordinators_killed_on_ray_lose_nothing_and_come_to_the_same_study() -> None:
    command = [
        sys.executable,
        str(KILL_STUDY),
        "--executor",
        "ray",
        "--kills",
        "2",
        "--trials",
        "8",
        "--samplers",
        "coarse_to_fine",
        "--seed",
        "1",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "every promise held" in told.stdout
