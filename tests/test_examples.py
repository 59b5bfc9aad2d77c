"""What is in `examples/` trains, and continues from its checkpoint; the script and the notebook run to their end."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuner
from tuner.record.location import names

EXAMPLES = Path(__file__).parent.parent / "examples"
SETTINGS = {"learning_rate": 0.1, "beta": 0.9}


def example(name: str) -> ModuleType:
    if name.startswith("torch"):
        pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=sorted(path.stem for path in EXAMPLES.glob("*_digits.py")))
def train(request: pytest.FixtureRequest) -> Callable[[tuner.Run], None]:
    function: Callable[[tuner.Run], None] = example(request.param).train
    return function


def test_an_example_learns(train: Callable[[tuner.Run], None]) -> None:
    run = tuner.Run(SETTINGS, seed=1)
    train(run)

    assert run.done == 30
    assert run.reports[-1].scores["dev_accuracy"] > 0.9


def test_an_example_continues_from_its_checkpoint_bit_for_bit(train: Callable[[tuner.Run], None]) -> None:
    report = tuner.check(train, SETTINGS, steps=4)

    assert report.same, report


def test_weights_that_are_no_numbers_any_more_are_reported_as_a_loss_that_is_none() -> None:
    run = tuner.Run({"learning_rate": 1e200, "beta": 0.9})
    example("sklearn_digits").train(run)

    assert math.isnan(run.reports[-1].scores["train_loss"])


def test_every_example_says_how_to_sweep_it() -> None:
    for path in EXAMPLES.glob("*_digits.py"):
        assert f"tuner sweep examples.{path.stem}:train --space sgd_momentum" in path.read_text()


@pytest.mark.long
def test_the_plain_script_is_swept_by_the_command_it_names(tmp_path: Path) -> None:
    (line,) = (
        line for line in (EXAMPLES / "plain_script.py").read_text().splitlines() if line.startswith("tuner sweep")
    )
    words = shlex.split(line)
    command = words[words.index("--command") + 1].replace("python", sys.executable, 1)
    train = tuner.command(f"{command} --epochs 3", metric=words[words.index("--metric") + 1])
    options: dict[str, Any] = {"objective": "val_acc", "executor": "local", "progress": "off", "results": tmp_path}
    with tuner.sweep(train, words[-1], name="plain", trials=2, start=SETTINGS, stopping="off", **options) as study:
        assert study.best is not None
        assert study.best.score > 0.8


def test_several_processes_train_one_model_as_one_trial(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    line = next(line for line in (EXAMPLES / "torch_ddp.py").read_text().splitlines() if line.startswith("tuner sweep"))
    words = shlex.split(line)
    of_this_python = f"{sys.executable} -m torch.distributed.run"
    command = words[words.index("--command") + 1].replace("torchrun", of_this_python, 1)
    train = tuner.command(command.replace("examples/", f"{EXAMPLES}/") + " --epochs 3")
    options: dict[str, Any] = {"objective": "dev_loss", "goal": "minimize", "progress": "off", "results": tmp_path}
    given: dict[str, Any] = {"executor": "local", "trials": 2, "parallel": 2, "stopping": "off"}
    with tuner.sweep(train, words[-1], name="ddp", start=SETTINGS, **given, **options) as study:
        assert study.trials["state"].tolist() == ["completed"] * 2
        assert set(study.reports.query("name == 'processes'")["value"]) == {2.0}
        assert study.reports.query("name == 'dev_loss' and trial == 0")["step"].tolist() == [1, 2, 3]


@pytest.mark.long
def test_the_three_days_follow_the_advice_and_leave_a_logbook_and_a_picture(tmp_path: Path) -> None:
    asked = ["--days", "3", "--epochs-a-day", "30", "--executor", "local", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "three_days.py"), *asked],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "day 1: train_loss falls slowly" in done.stdout
    study = tuner.open("panda-demo", results=tmp_path)
    (raised,) = study.adjustments.query("step == 30").to_dict("records")
    assert raised["parameter"] == "learning_rate"
    assert raised["after"] > raised["before"]
    assert (tmp_path / "panda-demo" / "plots" / "lineage.png").is_file()
    study.close()


# ── the notebook ────────────────────────────────────────────────────────────────────────────────

NOTEBOOK = EXAMPLES / "babysitting.ipynb"
A_CELL_TAKES_AT_MOST_S = 120


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, list[Any]], Path]]:
    """What each cell of the notebook puts out, by its id, and the folder of its runs; in the end all it began is over.

    The kernel is spoken to through sockets in a folder; nothing listens beyond this machine.
    """
    reason = "the notebook needs a kernel: pip install ipykernel nbclient nbformat"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    from traitlets.config import Config

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as sockets, pytest.MonkeyPatch.context() as patch:  # their paths must be short
        patch.setenv("JUPYTER_RUNTIME_DIR", sockets)
        for word in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(word, str(folder / word.lower()))
        client = nbclient.NotebookClient(
            notebook,
            timeout=A_CELL_TAKES_AT_MOST_S,
            startup_timeout=A_CELL_TAKES_AT_MOST_S,
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
        )
        try:
            client.execute()
            yield {cell["id"]: cell.get("outputs", []) for cell in notebook.cells}, folder / "results"
        finally:
            for name in names(folder / "results"):
                with closing(tuner.open(name, results=folder / "results")) as study:
                    holder = study.coordinator(time.time())
                if holder is not None:
                    with suppress(ProcessLookupError):
                        os.kill(holder[1], signal.SIGKILL)


Executed = tuple[dict[str, list[Any]], Path]


def test_the_notebook_is_kept_without_what_it_put_out() -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.long
def test_a_bare_run_trains_in_a_cell(executed: Executed) -> None:
    (output,) = executed[0]["bare"]
    assert output["data"]["text/plain"].startswith("{'dev_accuracy': 0.")


@pytest.mark.parametrize(
    ("cell", "heading", "rows"), [("look", "paused at step ", 1), ("look-again", "paused", 3), ("study", "stopped", 3)]
)
def test_a_cell_shows_a_run_as_a_table_and_a_picture(executed: Executed, cell: str, heading: str, rows: int) -> None:
    (output,) = executed[0][cell]
    html = output["data"]["text/html"]
    assert f"<b>first: {heading}" in html
    assert html.count("<tr>") == 1 + rows
    assert html.count('src="data:image/png;base64,iVBOR') == 1


def test_a_cell_shows_an_answer_in_words(executed: Executed) -> None:
    (output,) = executed[0]["set"]
    assert re.fullmatch(r"set: applied at step \d+ \(learning_rate 0\.01 → 0\.1\)", output["data"]["text/plain"])
    (refused,) = executed[0]["refused"]
    assert "must lie from 0.0001 to 1, got 30.0" in refused["text"]


def test_the_verbs_of_the_notebook_took_effect(executed: Executed) -> None:
    with closing(tuner.open("first", results=executed[1])) as study:
        asked = study.requests
        trial = study.state.trials[0]
        assert asked[asked["state"] != "applied"][["verb", "state"]].to_numpy().tolist() == [["set", "rejected"]]
        assert set(asked["verb"]) == {"step", "set", "resume", "pause", "revert", "note", "stop"}
        assert study.segments["cause"].tolist() == ["start", "adjust", "adjust", "revert"]
        assert study.adjustments["verdict"].dropna().tolist() == ["taken back", "taken back"]
        assert study.notes["text"].tolist()[-1] == "the bolder one is no better"
        assert trial.recipe.at(trial.steps)["learning_rate"] == 0.1
        assert (trial.state, trial.why) == ("stopped", "good enough")
    with closing(tuner.open("bolder", results=executed[1])) as other:
        assert other.state.trials[0].parent == f"first/0@{other.state.trials[0].segments[0].from_step}"
        assert other.state.trials[0].recipe.at(0)["learning_rate"] == 0.3
    (compared,) = executed[0]["compare"]
    assert "bolder" in compared["data"]["text/html"]
