"""What a sweep survives whose checkpoints lie in S3: its coordinator is killed, its machine is gone with its disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import object_stores
import postgres
import pytest
from waiting import study_once, wait_until

import tuner
from tuner.errors import StorageAway
from tuner.worker.object_storage import ObjectStorage
from tuner.worker.objects import Objects
from tuner.worker.parts import Link

pytestmark = pytest.mark.long

JOB = """
import os, sys, time

import tuner


class Count:
    def __init__(self):
        self.steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def stands(run):
    climb(run, steps=100_000)


class Large(Count):
    def state_dict(self):
        import numpy as np

        grown = os.path.exists("grown")  # from then on it is sent in three parts
        return {"steps": self.steps, "weights": np.zeros(2_200_000 if grown else 1)}


def large(run):
    count = Large()
    run.state(count)
    for step in run.steps(100_000):
        count.steps += 1
        time.sleep(0.05)
        run.report(score=float(step))
        if os.path.exists("enough"):
            return


def climb(run, steps=8):
    count = Count()
    run.state(count)
    for step in run.steps(steps):
        assert count.steps == step, "the state and the step belong together"
        count.steps += 1
        time.sleep(0.05)
        run.report(score=run.params["x"] - step)


if __name__ == "__main__":
    results, executor, store, every_s, *train = sys.argv[1:]
    space = tuner.Space(x=tuner.linear(0.0, 1.0))
    tuner.sweep(*train or ["job:climb"], space, name="s", objective="score", trials=1 if train else 2, stopping="off",
                checkpoint_every_s=float(every_s), executor=executor, results=results, store=store or None,
                progress="off").close()
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[object_stores.S3Server]:
    with object_stores.serving() as server:
        yield server


class Machine:
    """A directory, a home and a scratch folder of its own: it shares no disk with another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scratch", "home"):
            (folder / name).mkdir(parents=True)
        (folder / "job.py").write_text(JOB)

    def start(
        self, url: str, executor: str = "local", *given: str, store: str = "", every_s: float = 0, **words: str
    ) -> subprocess.Popen[bytes]:
        where = {"TMPDIR": str(self.folder / "scratch"), "HOME": str(self.folder / "home"), **words}
        with (self.folder / "errors").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "job.py", url, executor, store, str(every_s), *given],
                cwd=self.folder,
                env={**os.environ, **where, "PYTHONPATH": str(self.folder)},
                stderr=errors,
            )

    def finish(self, url: str, executor: str = "local", *, store: str = "", **words: str) -> None:
        assert self.start(url, executor, store=store, every_s=0, **words).wait(240) == 0, (
            self.folder / "errors"
        ).read_text()

    def shell(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb in the shell of that machine."""
        where = {"TMPDIR": str(self.folder / "scratch"), "HOME": str(self.folder / "home")}
        return subprocess.run(
            [sys.executable, "-m", "tuner", *words],
            cwd=self.folder,
            env={**os.environ, **where, "PYTHONPATH": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def study(self, *, store: str | None = None) -> tuner.Study:
        return tuner.open("s", results=self.folder / "results", store=store)


def saved(study: tuner.Study) -> bool:
    return len(study.state.checkpoints) >= 2


def check_whole(study: tuner.Study, server: object_stores.S3Server, url: str) -> None:
    """Every step of every trial was trained, and the store holds what the record keeps and nothing else."""
    assert set(study.trials["state"]) == {"completed"}
    heads = study.reports.query("head")
    assert [heads[heads["trial"] == each]["step"].tolist() for each in range(2)] == [list(range(1, 9))] * 2
    root = f"{url.partition('://')[2]}/s/"
    there = {key.removeprefix(root) for key in server.files().find(root)}
    kept = {each.path for each in study.state.checkpoints.values() if each.kept}
    assert {key.rpartition("/")[0] for key in there if key.endswith("manifest.json")} == kept
    assert {"/".join(key.split("/")[:3]) for key in there} == {*kept, "study.json"}


def test_a_sweep_whose_coordinator_was_killed_goes_on_though_its_scratch_folder_is_gone(
    tmp_path: Path, s3: object_stores.S3Server
) -> None:
    machine, url = Machine(tmp_path / "one"), s3.bucket()
    process = machine.start(url)
    study_once(saved, machine.folder / "results").close()
    process.kill()
    process.wait()
    shutil.rmtree(machine.folder / "scratch")
    (machine.folder / "scratch").mkdir()
    machine.finish(url)
    with closing(machine.study()) as study:
        check_whole(study, s3, url)
        assert study.segments["from_step"].max() > 0


def trained(trial: int) -> Callable[[tuner.Study], bool]:
    """Whether all steps of a trial are on record."""
    return lambda study: len(study.state.trials) > trial and study.state.trials[trial].steps == 8


def test_a_sweep_outlives_a_store_that_is_killed_and_one_that_hangs(tmp_path: Path, s3: object_stores.S3Server) -> None:
    machine, url = Machine(tmp_path / "one"), s3.bucket()
    process = machine.start(url, every_s=0.001)
    study_once(lambda study: study.state.checkpoints, machine.folder / "results").close()
    s3.stop()
    study_once(trained(0), machine.folder / "results").close()
    s3.start()
    study_once(lambda study: len(study.state.trials) > 1, machine.folder / "results").close()
    s3.hang()
    study_once(trained(1), machine.folder / "results").close()
    s3.wake()
    assert process.wait(240) == 0, (machine.folder / "errors").read_text()
    with closing(machine.study()) as study:
        check_whole(study, s3, url)
        assert not study.notes["text"].str.contains("not saved").any()
        assert {(each.trial, each.step) for each in study.state.checkpoints.values()} >= {(0, 8), (1, 8)}


def test_a_store_that_stays_away_costs_checkpoints_alone_and_is_told(
    tmp_path: Path, s3: object_stores.S3Server
) -> None:
    machine, url = Machine(tmp_path / "one"), s3.bucket()
    process = machine.start(url, TUNER_STORE_PATIENCE_S="0.5")
    study_once(saved, machine.folder / "results").close()
    s3.stop()
    assert process.wait(240) == 0, (machine.folder / "errors").read_text()
    with closing(machine.study()) as study:
        assert set(study.trials["state"]) == {"completed"}
        assert study.trials["steps"].tolist() == [8, 8]
        assert study.notes["text"].str.contains("has not answered").any()
    refused = machine.start(url)
    assert refused.wait(240) == 1
    assert "cannot be asked" in (machine.folder / "errors").read_text()
    s3.start()
    machine.finish(url)
    with closing(machine.study()) as study:
        check_whole(study, s3, url)


def test_a_store_that_takes_what_it_is_sent_and_says_nothing_is_away(s3: object_stores.S3Server) -> None:
    objects = Objects(s3.bucket(), 0.0, brief=True)
    objects.write("here", b"first")
    s3.hang()
    try:
        for act in (lambda: objects.write("here", b"second"), lambda: objects.sizes("")):
            with pytest.raises(StorageAway, match="has not answered for 1"):
                act()
    finally:
        s3.wake()


@pytest.mark.parametrize("word", [b"partNumber=2", b"?uploadId="], ids=["after its first part", "at its completion"])
def test_an_upload_in_parts_that_hangs_is_no_checkpoint_and_the_next_one_is(word: bytes, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "one")
    with object_stores.serving(remembers=False) as s3, closing(object_stores.Silence(s3.port)) as between:
        url = s3.bucket()
        few_s = {"TUNER_STORE_PATIENCE_S": "0.5", "FSSPEC_S3": '{"config_kwargs": {"read_timeout": 4}}'}
        process = machine.start(url, "local", "job:large", every_s=0.2, AWS_ENDPOINT_URL_S3=between.address, **few_s)
        with closing(study_once(saved, machine.folder / "results")) as study:

            def refreshed(holds: Callable[[], Any]) -> None:
                wait_until(lambda: study.refresh() and holds(), 240.0, look_every_s=0.2)

            between.begin_at(word)
            (machine.folder / "grown").touch()
            wait_until(lambda: between.silent)
            study.refresh()
            before, steps = set(study.state.checkpoints), study.state.steps_done
            refreshed(lambda: study.notes["text"].str.contains("was not saved").any())
            assert set(study.state.checkpoints) == before
            assert study.state.steps_done > steps + 10, "training goes on"
            between.end()
            refreshed(lambda: set(study.state.checkpoints) - before)
            (machine.folder / "enough").touch()
            assert process.wait(240) == 0, (machine.folder / "errors").read_text()
            study.refresh()
            kept = {each.path: each.sha256 for each in study.state.checkpoints.values() if each.kept}
        storage = ObjectStorage(f"{url}/s")
        assert storage.lying() == sorted(kept)
        for name, sha256 in kept.items():
            with storage.fetched(name, sha256=sha256):
                pass


def test_a_sweep_goes_on_on_another_machine_when_the_first_is_gone_with_its_disk(
    tmp_path: Path, s3: object_stores.S3Server, team_url: str
) -> None:
    url = s3.bucket()
    one, other = Machine(tmp_path / "one"), Machine(tmp_path / "other")
    process = one.start(url, store=team_url)

    def begun() -> bool:
        try:
            with closing(tuner.open("s", results=other.folder / "results", store=team_url)) as study:
                return saved(study)
        except tuner.TunerError:
            return False

    wait_until(begun, look_every_s=0.2)
    process.kill()
    process.wait()
    shutil.rmtree(one.folder)
    other.finish(url, store=team_url)
    with closing(other.study(store=team_url)) as study:
        check_whole(study, s3, url)
        assert study.segments["from_step"].max() > 0


def test_a_babysat_run_is_steered_and_goes_on_on_another_machine_when_the_first_is_gone(
    tmp_path: Path, s3: object_stores.S3Server, team_server: postgres.Server, team_url: str
) -> None:
    url = s3.bucket()
    where = ("--results", url, "--store", team_url)
    begins = ["babysit", "job:stands", "--set", "x=0.5", "--name", "run", "--objective", "score", "--detach"]
    begins += ["--executor", "local", "--checkpoint-every", "0.2"]
    one, other = Machine(tmp_path / "one"), Machine(tmp_path / "other")

    def on(machine: Machine, *words: str) -> None:
        done = machine.shell(*words, *where)
        assert done.returncode == 0, done.stderr

    def once(holds: Callable[[tuner.Study], Any]) -> Any:
        """What holds of the run, as soon as it does."""
        with closing(tuner.open("run", results=url, store=team_url)) as study:
            return wait_until(lambda: study.refresh() and holds(study), look_every_s=0.05)

    on(one, *begins)
    once(lambda study: study.state.trials[0].steps > 20)
    on(one, "checkpoint", "run")
    on(one, "set", "run", "x=0.25")
    first = once(lambda study: max(each.step for each in study.state.checkpoints.values() if each.kept))
    on(one, "revert", "run", "--step", str(first))
    on(one, "fork", "run", "--set", "x=0.75", "--as", "bolder")
    on(one, "stop", "bolder")
    once(lambda study: study.state.trials[0].steps > first + 20)
    _, pid = once(lambda study: study.coordinator(time.time()))
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(one.folder)

    refused = other.shell("set", "run", "x=0.1", *where)
    assert (refused.returncode, "the same tuner babysit" in " ".join(refused.stderr.split())) == (1, True)
    team_server.ask(team_url, "UPDATE lease SET host = 'one' WHERE name = 'run'")  # which may live yet
    on(other, *begins)
    resumed = once(lambda study: study.segments.query("cause == 'retry'")["from_step"].tolist())
    assert min(resumed) > first
    on(other, "set", "run", "x=0.1")
    on(other, "revert", "run", "--step", str(first))
    on(other, "fork", "run", "--step", str(first), "--as", "third")
    on(other, "stop", "third")
    on(other, "stop", "run")
    with closing(tuner.open("run", results=url, store=team_url)) as study:
        assert study.adjustments.query("parameter == 'x'")["after"].tolist() == [0.25, 0.1]
        kept = sorted(each.path for each in study.state.checkpoints.values() if each.kept)
        assert ObjectStorage(f"{url}/run").lying() == kept


# ── large files ──────────────────────────────────────────────────────────────────────────────────────────────────────

PART = 5 * 2**20


def large_file(folder: Path, parts: int) -> Path:
    file = folder / "weights"
    with file.open("wb") as opened:
        opened.truncate(parts * PART)
    return file


def test_an_upload_of_which_no_part_arrives_is_given_up_however_large_it_is(
    tmp_path: Path, s3: object_stores.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file = s3.bucket(), large_file(tmp_path, 40)
    with closing(object_stores.Silence(s3.port)) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", between.address)
        between.bytes_a_second = 2_000.0  # enough for what is asked, and for no part
        began = time.monotonic()
        with pytest.raises(StorageAway, match=r"no part of .* has arrived for 26 s"):
            Objects(url, 0.0, brief=True).put(file, "weights")
        assert time.monotonic() - began < 60


def test_an_upload_goes_on_for_as_long_as_its_parts_arrive(tmp_path: Path, s3: object_stores.S3Server) -> None:
    url, file, limit_s = s3.bucket(), large_file(tmp_path, 8), 8.0
    with closing(object_stores.Silence(s3.port)) as between:
        between.bytes_a_second = PART / (limit_s / 4)
        fs = fsspec.filesystem("s3", endpoint_url=between.address, skip_instance_cache=True)
        began = time.monotonic()
        link = Link()
        link.send(fs, str(file), f"{url}/weights", PART, limit_s)
        assert time.monotonic() - began > 1.5 * limit_s
        assert link.at_a_time == 1
        assert s3.files().info(f"{url}/weights")["size"] == 8 * PART
