"""Studies whose checkpoints lie in an object store: begun, resumed, torn, away, forked; in one process."""

from __future__ import annotations

import io
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import babysat
import object_stores
import pytest
from object_stores import MovableFileSystem
from rich.console import Console, RenderableType
from sweeping import usually
from waiting import wait_until

import tuner
from tuner import Run, Space, linear
from tuner.cli import main, pages
from tuner.cli.reading import _status as looked
from tuner.errors import IdentityMismatch, MissingExtra, NameRefused, SettingsError, StudyError
from tuner.server.page.status import status_of
from tuner.views.terminal import Progress, summary
from tuner.worker.object_storage import ObjectStorage
from tuner.worker.objects import ObjectRefused, Objects

SPACE = Space(x=linear(0.0, 1.0))
URL = "movable://team/x"


class Weights:
    """A state that counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.steps = saved["steps"]


AT_STEP: list[Callable[[int], None]] = []
"""What befalls a trial at each step, and at -1 before it has told how to save its state."""


def climb(run: Run, steps: int = 6) -> None:
    weights = Weights()
    for befall in AT_STEP:
        befall(-1)
    run.state(weights)
    for step in run.steps(steps):
        assert weights.steps == step
        for befall in AT_STEP:
            befall(step)
        weights.steps += 1
        run.report(score=run.params["x"] - step, steps=weights.steps)


def stands(run: Run) -> None:
    climb(run, steps=100_000)


_sweep = usually(climb, SPACE, name="s", trials=2, stopping="off", checkpoint_every_s=0)


@pytest.fixture
def store() -> Iterator[type[MovableFileSystem]]:
    with object_stores.movable() as store:
        yield store


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of the test's own, whose `results` keeps the records, and a scratch folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_STORE_PATIENCE_S", "0.2")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    yield tmp_path
    AT_STEP.clear()
    while OPEN:
        OPEN.pop().close()


OPEN: list[tuner.Study] = []


def sweep(function: Any = climb, results: str = URL, **options: Any) -> tuner.Study:
    """A sweep that has ended, open to read until the test ends."""
    OPEN.append(_sweep(results, function, **options))
    return OPEN[-1]


def lying(store: type[MovableFileSystem]) -> set[str]:
    """The names of all checkpoints there."""
    keys = (key.partition("/s/")[2] for key in store.store if key.endswith("/manifest.json"))
    return {key.removesuffix("/manifest.json") for key in keys}


def befalls(*at_step: Callable[[int], None]) -> None:
    """From now on this befalls every trial at each step."""
    AT_STEP[:] = at_step


def fail_once(step: int) -> None:
    if step == 4 and not Path("failed").exists():
        Path("failed").touch()
        raise ValueError("once")


def kept(study: tuner.Study) -> set[str]:
    return {each.path for each in study.state.checkpoints.values() if each.kept}


def notes() -> str:
    with closing(tuner.open("s")) as study:
        return " ".join(study.notes["text"])


# ── where what lies ─────────────────────────────────────────────────────────────────────────────


def test_checkpoints_lie_in_the_store_and_all_else_in_the_results_folder(store: Any, here: Path) -> None:
    study = sweep()
    assert lying(store) == kept(study) != set()
    assert sorted(path.name for path in (here / "results" / "s").iterdir()) == ["checkpoints.json", "study.db"]
    assert study.best is not None
    assert (study.best.checkpoint, study.best.checkpoint_url) == (None, f"{URL}/s/checkpoints/{study.best.trial}/0-1")
    assert not [path for path in (here / "scratch").rglob("*") if path.is_file()]


def test_a_study_is_found_by_its_address_and_by_its_folder(
    store: Any, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep()
    sweep(results=str(here / "elsewhere"), name="other", trials=1)
    sweep(results=f"{URL}/y", name="third", trials=1)
    for results in (URL, "results", here / "results"):
        with closing(tuner.open("s", results=results)) as study:
            assert len(study.trials) == 2
    assert [each.name for each in tuner.studies(URL)] == ["s"]
    assert sorted(each.name for each in tuner.studies()) == ["s", "third"]
    with pytest.raises(SystemExit, match="0"):
        main(["ls", "--results", URL, "--json"])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["s"]
    with pytest.raises(SystemExit, match="0"):
        main(["show", "s/1", "--no-json"])
    told = capsys.readouterr().out
    assert f"{URL}/s/checkpoints/1/0-6" in "".join(told.split())


def test_a_sweep_saves_and_scores_as_it_does_in_a_folder(store: Any, here: Path) -> None:
    away, beside = sweep(), sweep(results=str(here / "folder"))
    assert away.reports.drop(columns="at").equals(beside.reports.drop(columns="at"))
    columns = ["trial", "segment", "step", "kind", "bytes", "sha256", "path", "kept"]
    assert away.checkpoints[columns].equals(beside.checkpoints[columns])


def test_a_store_on_disk_is_one_too(here: Path) -> None:
    study = sweep(results=f"file://{here}/store")
    there = {str(path.parent.relative_to(here / "store" / "s")) for path in here.rglob("manifest.json")}
    assert there == kept(study)


def test_tables_and_plots_are_sent_to_the_store_at_the_end_and_when_they_are_asked_for(
    store: Any, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def beside_the_record() -> dict[str, bytes]:
        files = (path for kind in ("tables", "plots") for path in (here / "results" / "s" / kind).glob("*"))
        return {path.relative_to(here / "results" / "s").as_posix(): path.read_bytes() for path in files}

    def in_the_store() -> dict[str, bytes]:
        found = {key.partition("/s/")[2]: each.getvalue() for key, each in store.store.items()}
        return {key: content for key, content in found.items() if key.startswith(("tables/", "plots/"))}

    def does(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert isinstance(ended.value.code, int)
        return ended.value.code, " ".join(capsys.readouterr().err.split())

    trains = ["sweep", "tuner.workloads.bowl:train", "--space", "sgd_momentum", "--objective", "score", "--name", "s"]
    trains += ["--executor", "local", "--results", URL]
    assert does(*trains, "--trials", "2")[0] == 0
    assert {"tables/trials.csv", "plots/curves.png"} <= beside_the_record().keys()
    assert in_the_store() == beside_the_record()
    does("export", "s", "--format", "jsonl")
    assert "tables/trials.jsonl" in in_the_store()
    before = in_the_store()
    does("export", "s", "--format", "jsonl", "--to", "results/s/mine")
    assert in_the_store() == before

    store.away = True
    ended, told = does("export", "s")
    assert (ended, "could not be sent" in told, "--to" in told) == (1, True, True)


# ── going on ────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_goes_on_from_what_the_store_has(store: Any) -> None:
    befalls(fail_once)
    sweep(trials=1)
    study = sweep(trials=1, rerun="failed")
    assert study.segments["from_step"].tolist() == [0, 4]
    assert study.reports.query("name == 'steps'").groupby("step")["value"].last().tolist() == [1, 2, 3, 4, 5, 6]


def test_trials_that_were_paused_are_taken_up_again(store: Any) -> None:
    study = sweep(trials=9, stopping="auto", min_steps=2, parallel=3, clock="virtual")
    assert "paused" in set(study.trials["state"])
    further = sweep(trials=9, stopping="off", parallel=3, clock="virtual")
    assert set(further.trials["state"]) == {"completed"}
    assert "thaw" in set(further.segments["cause"])
    assert further.segments.query("cause == 'thaw'")["from_step"].min() > 0


def test_one_that_is_torn_is_passed_over_for_the_one_before(store: Any) -> None:
    befalls(fail_once)
    sweep(trials=1)
    name = next(key for key in store.store if key.endswith("/0-4/state/state.npy"))
    content = bytearray(store.store[name].getvalue())
    content[-3] ^= 1  # of the same size: only whoever fetches it can tell
    store.store[name].seek(0)
    store.store[name].write(bytes(content))
    study = sweep(trials=1, rerun="failed")
    assert study.trials["state"].tolist() == ["completed"]
    assert study.segments["from_step"].tolist() == [0, 4, 1]
    assert study.reports.query("name == 'steps'").groupby("step")["value"].last().tolist() == [1, 2, 3, 4, 5, 6]
    assert "torn or changed" in notes()
    assert lying(store) == kept(study)


def test_what_was_sent_in_part_is_never_seen_and_goes_with_the_next_start(store: Any) -> None:
    befalls(lambda step: setattr(store, "breaks_after", 2) if step == 3 else None)
    sweep(trials=1)
    store.away, store.breaks_after = False, None
    halves = ObjectStorage(f"{URL}/s").halves()
    assert halves == ["checkpoints/0/0-3"]
    with closing(tuner.open("s")) as study:
        assert not kept(study) & set(halves)
    befalls()
    study = sweep(trials=1)
    assert ObjectStorage(f"{URL}/s").halves() == []
    assert lying(store) == kept(study)


# ── a store that is away ────────────────────────────────────────────────────────────────────────


def test_while_the_store_is_away_training_goes_on_and_the_save_is_refused_with_a_sentence(store: Any) -> None:
    befalls(lambda step: setattr(store, "away", step >= 3))
    study = sweep(trials=1)
    store.away = False
    assert study.trials["state"].tolist() == ["completed"]
    assert study.trials["steps"].tolist() == [6]
    assert kept(study) <= {f"checkpoints/0/0-{step}" for step in (1, 2, 3)}
    assert "has not answered" in notes()
    assert "Earlier checkpoints are untouched" in notes()


def test_a_store_that_comes_back_within_the_patience_of_a_save_costs_nothing(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_STORE_PATIENCE_S", "60")
    since: list[int] = []

    def leave(step: int) -> None:
        if step == 3:
            since.append(store.calls)
            store.away = True

    def come_back() -> None:
        wait_until(lambda: since and store.calls >= since[0] + 2)
        store.away = False

    befalls(leave)
    watching = threading.Thread(target=come_back)
    watching.start()
    study = sweep(trials=1)
    watching.join()
    assert "not saved" not in notes()
    assert lying(store) == kept(study)


def test_a_trial_whose_checkpoint_cannot_be_fetched_fails_with_words_and_goes_on_from_it_later(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_STORE_PATIENCE_S", "0.01")
    befalls(fail_once)
    sweep(trials=1)
    befalls(lambda step: setattr(store, "away", step == -1))
    study = sweep(trials=1, rerun="failed")
    assert study.trials["state"].tolist() == ["failed"]
    assert "has not answered" in study.trials["why"][0]
    store.away = False
    befalls()
    study = sweep(trials=1, rerun="failed")
    assert study.trials["state"].tolist() == ["completed"]
    assert study.segments["from_step"].max() == 4
    assert lying(store) == kept(study)


def test_a_trial_that_waits_for_its_checkpoint_says_so_and_why_wherever_one_looks(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_STORE_PATIENCE_S", "60")
    befalls(fail_once)
    sweep(trials=1)
    befalls(lambda step: setattr(store, "away", step == -1))
    told: dict[str, str] = {}

    def look() -> None:
        try:
            with closing(tuner.open("s")) as study:
                wait_until(lambda: study.refresh() and study.state.trials[0].delay)
                told["ls"] = tuner.studies()[0].activity
                told["show"] = rendered(summary(study))
                told["show of the trial"] = rendered(pages.trial(study, 0))
                told["page"] = status_of(study, time.time()).sentence
                progress = io.StringIO()
                Progress(progress).show(study.state, looked(study.state, 0, running=True))
                told["watch"] = progress.getvalue()
        finally:
            store.away = False

    looking = threading.Thread(target=look)
    looking.start()
    study = sweep(trials=1, rerun="failed")
    looking.join()
    for where, text in told.items():
        words = " ".join(text.split())
        assert "waiting for its checkpoint since" in words, where
        assert "the object store of movable://team/x/s does not answer" in words, where
        assert "no route to the store" in words, where
    assert len(told) == 5
    assert study.trials["state"].tolist() == ["completed"]
    assert not study.state.trials[0].delay


def rendered(page: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(page)
    return console.export_text()


def test_what_could_not_be_deleted_while_the_store_was_away_is_deleted_later(store: Any) -> None:
    befalls(fail_once)
    sweep(trials=1)
    befalls(lambda step: setattr(store, "away", step == 5))
    sweep(trials=1, rerun="failed")
    store.away = True
    with pytest.raises(StudyError, match="cannot be asked"):
        sweep(trials=2)
    store.away = False
    befalls()
    study = sweep(trials=2)
    assert lying(store) == kept(study)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


def test_checkpoints_of_another_study_are_not_written_over(store: Any, here: Path) -> None:
    sweep()
    before = {key: each.getvalue() for key, each in store.store.items()}
    (here / "results").rename(here / "gone")
    with pytest.raises(StudyError, match="another study"):
        sweep()
    assert {key: each.getvalue() for key, each in store.store.items()} == before
    (here / "results").rename(here / "begun")
    (here / "gone").rename(here / "results")
    assert len(sweep(trials=3).trials) == 3


def test_a_study_does_not_move_in_silence(store: Any, here: Path) -> None:
    sweep()
    sweep(results=str(here / "folder"), name="f")
    for results, name in (("movable://team/z", "s"), ("file:///nowhere", "s")):
        with pytest.raises(NameRefused, match="begun with its checkpoints in movable://team/x/s"):
            sweep(results=results, name=name)
    (here / "results" / "f").symlink_to(here / "folder" / "f")
    with pytest.raises(NameRefused, match="its own folder"):
        sweep(name="f")
    (here / "results" / "s" / "checkpoints.json").unlink()
    with pytest.raises(StudyError, match=f"keeps its checkpoints in {URL}/s"):
        sweep(results="results")


@pytest.mark.parametrize(
    ("results", "word"),
    [
        ("s3://key:hush-hush@bucket/x", "environment"),
        ("s3://hush-hush@bucket/x", "environment"),
        ("sftp://ann:hush-hush@host/x", "environment"),
        ("s3://bucket/x?token=hush-hush", "environment"),
        ("s3://bucket/x#hush-hush", "environment"),
        ("s3://[bucket/x", "no address"),
        ("s3://", "bucket"),
        ("simplecache::s3://bucket", "plain address"),
        ("s3://bucket/../x", "plain address"),
        ("s3://bucket/a\nb", "plain address"),
    ],
)
def test_an_address_names_a_place_and_nothing_else(results: str, word: str) -> None:
    with pytest.raises((NameRefused, SettingsError), match=word) as refused:
        tuner.sweep(climb, SPACE, name="s", objective="score", executor="local", results=results)
    assert "hush-hush" not in str(refused.value)
    assert not list(Path().rglob("study.db"))


def test_an_address_given_as_a_path_is_told_apart() -> None:
    with pytest.raises(SettingsError, match="as text"):
        sweep(results=Path("s3://bucket/x"))  # type: ignore[arg-type]


def test_a_store_in_memory_is_refused_where_training_is_in_another_process() -> None:
    with pytest.raises(SettingsError, match="for itself"):
        sweep(results="memory://x", executor="ray")
    with pytest.raises(SettingsError, match="for itself"):
        tuner.babysit(climb, {"x": 1.0}, name="one", objective="score", results="memory://x")


def test_a_package_that_is_missing_and_a_protocol_that_nobody_knows_are_told() -> None:
    with pytest.raises(MissingExtra, match="pip install"):
        sweep(results="gs://bucket/x")
    with pytest.raises(StudyError, match="nobody"):
        sweep(results="nobody://bucket/x")


def test_a_name_that_the_store_does_not_take_is_refused_at_once(here: Path) -> None:
    objects = Objects(f"file://{here}/store", patience_s=10_000.0)
    with pytest.raises(ObjectRefused, match="too long"):
        objects.write("k" * 300, b"")


def test_no_secret_of_the_environment_is_written_down(store: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-1")
    monkeypatch.setenv("FSSPEC_MOVABLE", '{"key": "hush-hush-2"}')
    sweep()
    written = [path.read_bytes() for path in here.rglob("*") if path.is_file()]
    written += [each.getvalue() for each in store.store.values()]
    assert not any(b"hush-hush" in content for content in written)


# ── babysat ─────────────────────────────────────────────────────────────────────────────────────


def test_a_babysat_run_goes_back_and_is_forked_and_promoted_from_a_store(here: Path) -> None:
    url = f"file://{here}/store"
    sweep(results=url, name="night", trials=1)
    with babysat.at_home(here / "results"):
        how: dict[str, Any] = {"objective": "score", "executor": "local", "checkpoint_every_s": 0.0}
        with tuner.babysit(stands, {"x": 0.5}, name="one", results=url, **how) as run:
            wait_until(lambda: babysat.steps_of(run) > 8)
            run.checkpoint()
            run.pause()
            with closing(run.study) as study:
                step = min(each.step for each in study.state.checkpoints.values() if each.kept)
            run.revert(step=step)
            with closing(run.study) as study:
                assert study.state.trials[0].head.from_step == step
            with run.fork(x=0.25) as fork:
                wait_until(lambda: babysat.steps_of(fork) > step)
                with closing(fork.study) as study:
                    begun = study.state.checkpoints[0]
                    assert (begun.kind, begun.path) == ("beginning", "beginning")
                    assert study.place.where(begun.path) == f"{url}/one-2/beginning"
            with tuner.promote("night", 0) as promoted:
                assert promoted.wait(timeout_s=60).state.trials[0].parent == "night/0@6"
    assert (here / "store" / "one-2" / "beginning" / "manifest.json").is_file()
    assert (here / "store" / "night-0" / "beginning" / "manifest.json").is_file()
    assert not (here / "results" / "one-2" / "beginning").exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"tuner-{os.getuid()}/*/.*"))


def test_a_run_that_another_machine_began_is_known_by_its_record(here: Path) -> None:
    how: dict[str, Any] = {"objective": "score", "executor": "local", "checkpoint_every_s": 0.0}
    how |= {"name": "one", "results": f"file://{here}/store"}
    assigned = here / "results" / "one" / "run.json"
    with babysat.at_home(here / "results"):
        tuner.babysit(stands, {"x": 0.5}, seed=3, **how).close()
        before = json.loads(assigned.read_text())
        assigned.unlink()  # as it is elsewhere
        with pytest.raises(IdentityMismatch, match=r"x=0\.5"):
            tuner.babysit(stands, {"x": 0.25}, seed=3, **how)
        with pytest.raises(IdentityMismatch, match="seed"):
            tuner.babysit(stands, {"x": 0.5}, **how)
        assert not assigned.exists()
        with tuner.babysit(stands, {"x": 0.5}, seed=3, **how) as run:
            assert json.loads(assigned.read_text()) == before
            wait_until(lambda: babysat.steps_of(run) > 2)
            run.checkpoint()
            run.fork(x=0.75).close()
            forked = here / "results" / "one-2" / "run.json"
            forked.unlink()
            with tuner.babysit(stands, seed=3, **(how | {"name": "one-2"})) as fork:
                known = json.loads(forked.read_text())
                assert (known["params"], known["purpose"], known["from_step"] > 2) == ({"x": 0.75}, "fork", True)
                assert fork.set(x=0.8).state == "applied"
