"""What `typing_usage.py` shows to the type checker is also what happens."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typing_usage
from typing_usage import (
    before_a_long_run,
    in_a_notebook,
    in_a_script,
    points,
    train_with_folders,
    what_goes_wrong,
    what_was_learned,
    with_parts_of_optuna,
)

import tuner


def test_a_bare_run_trains_in_a_notebook() -> None:
    in_a_notebook()
    run = tuner.Run({})
    train_with_folders(run)
    assert [report.step for report in run.reports] == [1, 2, 3]


def test_a_script_sweeps_reads_and_hears_of_its_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_a_script(tmp_path)
    what_goes_wrong(tmp_path)
    assert "Did you mean night?" in capsys.readouterr().out


def test_what_was_learned_is_told(tmp_path: Path) -> None:
    what_was_learned(tmp_path)


def test_parts_of_optuna_fit_in_and_ours_fit_into_optuna(tmp_path: Path) -> None:
    with_parts_of_optuna(tmp_path)


def test_a_check_before_a_long_run_finds_nothing_to_complain_about() -> None:
    before_a_long_run()


def test_points_and_settings_lead_to_one_another() -> None:
    points()


def test_everything_public_is_shown_in_use() -> None:
    source = inspect.getsource(typing_usage)
    assert [name for name in tuner.__all__ if not re.search(rf"\b{name}\b", source)] == []
