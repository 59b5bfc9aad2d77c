from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from stories import Part, story

import tuner
from tuner.views.notebook import study_html

CHANGED = (
    Part(start=0, to=10),
    Part(start=10, to=20, params={"learning_rate": 0.5, "beta": 0.9}, parent=0, why="<b>bolder</b>"),
)


def test_a_run_is_shown_with_its_stretches_and_its_lineage(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with contextlib.closing(story(tmp_path / "one", *CHANGED)) as study:
        html = study._repr_html_()
    assert "running at step 20, best score 20" in html
    assert "<td>10 → 20</td><td>adjust</td><td>0.5</td><td>0.9</td><td>&lt;b&gt;bolder&lt;/b&gt;</td>" in html
    assert 'src="data:image/png;base64,iVBOR' in html


def test_a_handle_shows_its_study_and_how_to_steer_it(tmp_path: Path) -> None:
    story(tmp_path / "one", *CHANGED).close()
    with contextlib.closing(tuner.attach("one", results=tmp_path)) as handle:
        assert "Steer it with set, schedule" in handle._repr_html_()


def test_a_run_that_is_over_is_shown_with_what_it_can_still_do(tmp_path: Path) -> None:
    story(tmp_path / "one", *CHANGED, end=("stopped", "enough")).close()
    with contextlib.closing(tuner.attach("one", results=tmp_path)) as handle:
        assert "What it can: extend, revert, " in handle._repr_html_()


def test_a_run_says_how_it_stands(tmp_path: Path) -> None:
    with contextlib.closing(story(tmp_path / "one", *CHANGED)) as study:
        assert repr(study) == "<Study one: running at step 20, best score 20 at step 20>"


def test_a_sweep_is_shown_with_its_best_trials(tmp_path: Path) -> None:
    study = tuner.sweep(
        "tuner.workloads.bowl:train",
        "sgd_momentum",
        name="night",
        objective="score",
        trials=3,
        executor="local",
        results=tmp_path,
        progress="off",
    )
    with contextlib.closing(study):
        html = study_html(study)
    assert html.count("<tr>") == 4
    assert "<th>1-beta</th>" in html


def test_without_matplotlib_the_table_stands_alone(tmp_path: Path) -> None:
    story(tmp_path / "one", *CHANGED).close()
    show = f"import tuner; print(tuner.open('one', results={str(tmp_path)!r})._repr_html_())"
    source = f"import sys; sys.modules['matplotlib'] = None; {show}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=120)
    assert "<table>" in done.stdout
    assert "<img" not in done.stdout
