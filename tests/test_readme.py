"""The code on the pages runs as it is written, and the README stays a way in."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babysat import at_home
from pages import DOCS, PAGES, Block, blocks, parts, text
from served import OPERATOR, served
from sweeping import sweep
from waiting import PATIENCE_S
from workplaces import standing_in

import tuner
import tuner.callbacks
import tuner.tables

_TOLD: set[tuple[str, str]] = set()


def told(page: str, heading: str) -> list[str]:
    """The Python under a heading that a test here runs with what it needs; all other Python runs by itself."""
    _TOLD.add((page, heading))
    found = blocks("python", page, heading)
    assert found, f"{page} has no code under {heading}"
    return found


TRAINING, BARE = told("README.md", "Your training function")
(SWEEP,) = told("README.md", "Sweep")
(STEER,) = told("README.md", "Watch and steer")
(READ,) = told("README.md", "Read and export")
BABYSIT, LOOK_AFTER = told("README.md", "Babysit")
(LEARN,) = told("docs/learning.md", "In Python")
(QUERY,) = told("docs/tables.md", "In Python")
(GUARDED,) = told("docs/failures.md", "When a trial does not end well")
(ATTACH,) = told("docs/babysitting.md", "From Python")
(CONNECT,) = told("docs/connecting.md", "From Python")
(CALLBACKS,) = told("docs/frameworks.md", "Where a framework owns the loop")
(SPACE,) = told("docs/spaces.md", "In Python")
(CURL,) = blocks("sh", "docs/serving.md")
LEND, ASK = told("docs/ask_tell.md", "Asking and telling")
BY_THEMSELVES = [
    block
    for page in PAGES
    for block in parts(page)[0]
    if block.language == "python" and (page, block.heading) not in _TOLD
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the README's training function in it, where a reader would stand."""
    with standing_in(tmp_path, TRAINING):
        monkeypatch.syspath_prepend(tmp_path)
        yield tmp_path


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len(text("README.md").splitlines()) <= 220


@pytest.mark.parametrize("block", BY_THEMSELVES, ids=lambda block: f"{block.page}: {block.heading}")
def test_what_needs_nothing_around_it_runs(block: Block, project: Path) -> None:
    exec(block.code, {"tuner": tuner})


@pytest.mark.ray
def test_the_journeys_from_training_to_tables_run_as_written(project: Path) -> None:
    names: dict[str, Any] = {}
    for code in (SWEEP, READ):
        exec(code, names)

    assert names["study"].best.score > 0.9
    assert len(names["study"].trials) == 64
    exec(LEARN, names)
    assert (project / "night.html").is_file()
    assert set(tuner.open("night").trials["purpose"]) == {"search", "confirm"}
    assert len(names["curves"].columns) == 64
    assert {path.name for path in (project / "tables").iterdir()} == {f"{name}.csv" for name in tuner.tables.COLUMNS}
    names["study"].close()
    exec(QUERY, names)
    assert len(names["best"]) == 3
    names["study"].close()
    exec(GUARDED, names)
    assert len(tuner.open("guarded").trials) == 2


def test_the_service_is_asked_with_curl_as_written(tmp_path: Path) -> None:
    sweep(tmp_path / "results", trials=3, stopping="off", sampler="random").close()
    with served(tmp_path / "results") as url:
        env = {**os.environ, "URL": url, "TOKEN": OPERATOR}
        told = subprocess.run(
            ["bash", "-euc", CURL], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
        )
    assert told.returncode == 0, told.stderr
    for words in ('"name":"night"', '"state":"completed"', "id: ", '"state":"applied"'):
        assert words in told.stdout
    assert "learning_rate" in (tmp_path / "trials.csv").read_text()


def test_trials_are_lent_and_asked_for_as_written(project: Path) -> None:
    names: dict[str, Any] = {"tuner": tuner}
    exec(LEND, names)
    exec(ASK, names)
    assert tuner.open("asked").trials["state"].isin(["completed", "pruned"]).all()
    assert len(tuner.open("asked").trials) == 6


def test_the_training_function_trains_without_anything_around_it(project: Path) -> None:
    import my_training  # type: ignore[import-not-found]

    exec(BARE, {"train": my_training.train, "tuner": tuner})
    assert tuner.check(my_training.train, {"learning_rate": 0.1, "beta": 0.9}, steps=4).same


def test_a_running_sweep_is_steered_as_written(project: Path) -> None:
    ended: list[tuner.Study] = []

    def sweep() -> None:
        ended.append(
            tuner.sweep(
                slow,
                "sgd_momentum",
                name="night",
                objective="loss",
                goal="minimize",
                trials=10_000,
                executor="local",
                progress="off",
            )
        )

    running = threading.Thread(target=sweep, daemon=True)
    running.start()
    while not (project / "results/night/study.db").exists() or not is_steerable("night"):
        time.sleep(0.02)
    exec(STEER, {"tuner": tuner})
    running.join(PATIENCE_S)

    study = ended[0]
    assert list(study.requests["verb"]) == ["add", "set_box", "set_parallel", "stop"]
    assert set(study.requests["state"]) == {"applied"}
    assert {"learning_rate": 0.05, "beta": 0.95} in [trial.params for trial in study.state.trials]
    study.close()


@pytest.mark.ray
def test_a_run_is_babysat_as_written(project: Path) -> None:
    names: dict[str, Any] = {}
    exec(BABYSIT, names)
    run: tuner.RunHandle = names["run"]
    while not run.study.state.trials[0].stands_still:
        time.sleep(0.1)
    exec(LOOK_AFTER, names)

    study = run.study
    assert study.state.trials[0].state == "completed"
    assert list(study.adjustments["verdict"]) == ["taken back"]
    assert list(study.requests["verb"]) == ["step", "set", "step", "revert", "resume"]
    assert [each.name for each in study.forks()] == ["first-2"]
    assert (project / "results/first/logbook.md").is_file()


def test_a_run_that_trains_is_steered_as_written(tmp_path: Path) -> None:
    with at_home(tmp_path / "results"), standing_in(tmp_path, TRAINING):
        settings = {"learning_rate": 0.002, "beta": 0.9, "epochs": 10_000}
        begun = tuner.babysit(
            "tuner.workloads.digits:train", settings, name="one", objective="dev_accuracy", executor="local"
        )
        begun.pause()
        names: dict[str, Any] = {"tuner": tuner}
        exec(ATTACH, names)
        study = begun.study
        assert set(study.requests["state"]) == {"applied"}
        assert study.adjustments["parameter"].tolist() == ["learning_rate", "learning_rate"]
        assert (study.state.trials[0].state, study.state.trials[0].why) == ("stopped", "good enough")
        study.close()


def test_studies_behind_a_service_are_read_and_steered_as_written(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    with served(tmp_path) as url:
        names: dict[str, Any] = {"tuner": tuner, "url": url, "token": OPERATOR}
        exec(CONNECT, names)
    assert len(names["study"].state.trials) == 3


def test_the_callbacks_are_called_as_written() -> None:
    names: dict[str, Any] = {}
    exec(CALLBACKS, names)
    for name in tuner.callbacks.__all__:
        assert names[name] is getattr(tuner.callbacks, name)
        assert f"callbacks=[{name}(run)]" in CALLBACKS or f"callback = {name}(run)" in CALLBACKS


def slow(run: tuner.Run) -> None:
    for step in run.steps(20):
        time.sleep(0.002)
        run.report(loss=1.0 / (1 + step))


def is_steerable(name: str) -> bool:
    try:
        study = tuner.open(name)
    except tuner.TunerError:
        return False
    holder = study.coordinator(time.time())
    study.close()
    return holder is not None


def test_the_space_in_python_and_the_one_in_toml_are_the_same_where_they_speak_of_the_same() -> None:
    names: dict[str, Any] = {}
    exec(SPACE, names)
    (file,) = blocks("toml", "docs/spaces.md")
    written = tuner.Space.from_toml(file)

    assert {name: names["space"][name] for name in written} == dict(written)


def test_half_the_draws_of_beta_lie_above_0_99() -> None:
    beta = tuner.log_one_minus(0.9, 0.999)
    mirrored = tuner.log(0.9, 0.999)

    assert beta.to_unit(0.99) == pytest.approx(0.5)
    assert mirrored.to_unit(0.9 + 0.999 - 0.99) == pytest.approx(0.09, abs=0.01)  # what others call reverse log


@pytest.mark.parametrize("page", DOCS)
def test_a_page_opens_with_what_it_answers(page: str) -> None:
    title, between, opening = text(page).splitlines()[:3]
    assert title.startswith("# ")
    assert between == ""
    assert opening[0].isalpha()
