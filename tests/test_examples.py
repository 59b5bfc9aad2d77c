"""Each training function in `examples/` trains, and continues from its checkpoint as if nothing had happened."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import tuner

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


def test_the_three_days_follow_the_advice_and_leave_a_logbook_and_a_picture(tmp_path: Path) -> None:
    asked = ["--days", "3", "--epochs-a-day", "30", "--executor", "local", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "three_days.py"), *asked],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "day 1: slow" in done.stdout
    study = tuner.open("panda-demo", results=tmp_path)
    (raised,) = study.adjustments.query("step == 30").itertuples()
    assert raised.parameter == "learning_rate"
    assert raised.after > raised.before
    assert (tmp_path / "panda-demo" / "plots" / "lineage.png").is_file()
    study.close()
