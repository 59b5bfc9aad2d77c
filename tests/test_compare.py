from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from stories import Part, story

from tuner.api.fork import compare
from tuner.cli import pages
from tuner.errors import StudyError
from tuner.record.location import Place
from tuner.room.dispatch import compared

SLOW, FAST = {"learning_rate": 0.1, "beta": 0.9998}, {"learning_rate": 0.3, "beta": 0.9998}


def run(folder: Path, name: str, *parts: Part) -> Place:
    story(folder / name, *parts).close()
    return Place.of(name, folder, None)


def told(place: Place, other: str) -> tuple[str, str]:
    """The comparison as the shell shows it, and as the room does."""
    frame, page = compare(place, other), io.StringIO()
    Console(file=page, width=120).print(pages.comparison(frame, "maximize"))
    return page.getvalue(), compared(frame)


def test_a_comparison_says_what_each_setting_was_and_from_which_step_on(tmp_path: Path) -> None:
    one = run(tmp_path, "one", Part(start=0, to=40, params=SLOW), Part(start=40, to=60, params=FAST, parent=0))
    run(tmp_path, "two", Part(start=0, to=60, params=FAST | {"beta": 0.99985}))
    frame = compare(one, "two")
    assert frame.attrs["settings"] == {
        "one": {"beta": 0.9998, "learning_rate": 0.3},
        "two": {"beta": 0.99985, "learning_rate": 0.3},
    }
    for text in told(one, "two"):
        assert "0.1, 0.3 from step 40" in text
        assert "0.9998 " in text
        assert "0.99985" in text


def test_a_comparison_of_runs_with_the_same_settings_says_so(tmp_path: Path) -> None:
    one = run(tmp_path, "one", Part(start=0, to=40, params=SLOW))
    run(tmp_path, "two", Part(start=0, to=60, params=SLOW))
    assert all("settings" in text and "the same" in text for text in told(one, "two"))


def test_a_run_is_compared_with_another_run_alone(tmp_path: Path) -> None:
    one = run(tmp_path, "one", Part(start=0, to=40, params=SLOW))
    with pytest.raises(StudyError, match="one twice"):
        compare(one, "one")
