from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from stories import Part, story

from tuner.api.study import Study
from tuner.errors import StudyError
from tuner.views.plots.labels import Spot, stack

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from tuner.views.plots import lineage

LOW, HIGH = {"learning_rate": 0.1, "beta": 0.9}, {"learning_rate": 0.5, "beta": 0.9}


def scores(step: int) -> dict[str, float]:
    return {"score": 1.0 - math.exp(-step / 30), "train_loss": math.exp(-step / 20)}


def went_back(folder: Path) -> Study:
    return story(
        folder / "one",
        Part(start=0, to=50, params=LOW, scores=scores),
        Part(start=50, to=70, params=HIGH, parent=0, scores=lambda step: {"score": 0.2, "train_loss": 2.0}),
        Part(start=50, to=120, params=LOW, parent=0, cause="revert", verb="revert", scores=scores),
        end=("completed", "trained all 120 steps"),
    )


def steps_of(line: Line2D) -> list[float]:
    return [float(step) for step in np.asarray(line.get_xdata())]


def test_the_head_is_coloured_the_tail_grey_and_going_back_an_arrow(tmp_path: Path) -> None:
    with contextlib.closing(went_back(tmp_path)) as study:
        figure = lineage.lineage(study)
    _, objective, loss = figure.axes
    curves = {to_hex(line.get_color()): steps_of(line) for line in objective.lines if len(steps_of(line)) > 2}
    assert max(curves[lineage._HEAD]) == 120
    assert curves[lineage._TAIL][0::20] == [50, 70]
    assert [sum(isinstance(each, FancyArrowPatch) for each in axes.patches) for axes in (objective, loss)] == [1, 1]
    assert loss.get_ylabel() == "train_loss"
    assert loss.get_xlabel() == "step"


def test_a_tail_hangs_on_the_curve_it_left(tmp_path: Path) -> None:
    with contextlib.closing(went_back(tmp_path)) as study:
        objective = lineage.lineage(study).axes[1]
    tail = next(line for line in objective.lines if to_hex(line.get_color()) == lineage._TAIL)
    assert np.asarray(tail.get_ydata())[0] == pytest.approx(scores(50)["score"])


def test_changes_are_labelled_and_what_the_marks_mean_is_said(tmp_path: Path) -> None:
    with contextlib.closing(went_back(tmp_path)) as study:
        above, _, loss = lineage.lineage(study).axes
    assert "learning_rate 0.1 → 0.5" in [text.get_text() for text in above.texts]
    box = loss.get_legend()
    assert box is not None
    legend = [text.get_text() for text in box.get_texts()]
    assert legend == ["head", "training loss", "given up", "change", "went back", "checkpoint kept", "best"]


def test_a_run_that_has_reported_nothing_is_drawn_and_says_so(tmp_path: Path) -> None:
    with contextlib.closing(story(tmp_path / "one", Part(start=0, to=0, scores=lambda step: {}))) as study:
        (path,) = lineage.plot_lineage(study, tmp_path / "plots")
        texts = [text.get_text() for text in lineage.lineage(study).axes[1].texts]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert texts == ["score has not been reported yet"]


def test_a_run_that_blew_up_is_drawn_within_its_sound_scores(tmp_path: Path) -> None:
    study = story(
        tmp_path / "one",
        Part(start=0, to=50, params=LOW, scores=scores),
        Part(
            start=50, to=60, params=HIGH, parent=0, scores=lambda step: {"score": -(10.0**step), "train_loss": math.inf}
        ),
        Part(start=50, to=55, params=LOW, parent=0, cause="revert", verb="revert", scores=scores),
    )
    with contextlib.closing(study):
        low, high = lineage.lineage(study).axes[1].get_ylim()
    assert -2 < low < high < 2


def test_a_babysat_study_plots_its_lineage(tmp_path: Path) -> None:
    with contextlib.closing(went_back(tmp_path)) as study:
        assert study.plot() == [tmp_path / "one" / "plots" / "lineage.png"]


def test_a_picture_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with contextlib.closing(went_back(tmp_path)) as study, pytest.raises(StudyError, match="Choose another folder"):
        study.plot(tmp_path / "file" / "plots")


LABELS = st.lists(st.tuples(st.integers(0, 1000), st.floats(0.2, 3.0)), max_size=20)


@given(labels=LABELS)
def test_no_two_labels_meet_and_none_leaves_the_picture(labels: list[tuple[int, float]]) -> None:
    spots = [spot for spot in stack(labels, (-20.0, 1020.0), 7.0) if spot.row >= 0]
    assert not any(spots[i].meets(spots[j]) for i in range(len(spots)) for j in range(i))
    assert all(spot.left >= -20.0 and spot.right <= 1020.0 + 1e-9 for spot in spots)


def test_few_labels_all_find_a_row_and_no_line_crosses_a_text() -> None:
    spots = stack([(step, 1.6) for step in (0, 100, 200, 300, 400)], (0.0, 1000.0), 7.0)
    assert all(spot.row >= 0 for spot in spots)
    assert not any(one.crosses(other) for one in spots for other in spots if one is not other)


def test_a_label_at_the_edge_is_moved_inside() -> None:
    (spot,) = stack([(990, 2.0)], (0.0, 1000.0), 5.0)
    assert spot == Spot(600.0, 1000.0, 990, 0)


def test_a_long_run_shows_its_changes_apart_from_one_another(tmp_path: Path) -> None:
    ends = [300, 340, 390, 420, 20_000]
    rates = [0.1, 0.2, 0.1, 0.3, 0.1]
    parts = [
        Part(
            start=start,
            to=to,
            params={"learning_rate": rate, "beta": 0.9},
            parent=None if at == 0 else at - 1,
            scores=lambda step: {"score": step / 20_000} if step % 20 == 0 else {},
        )
        for at, (start, to, rate) in enumerate(zip([0, *ends], ends, rates, strict=False))
    ]
    with contextlib.closing(story(tmp_path / "one", *parts)) as study:
        _, objective = lineage.lineage(study).axes
    lines = sorted({steps_of(line)[0] for line in objective.lines if len(set(steps_of(line))) == 1})
    places = [objective.transData.transform((step, 0.0))[0] for step in lines]
    wide = objective.bbox.width
    assert objective.transData.transform((0, 0.0))[0] - objective.bbox.x0 < 0.03 * wide  # no room before the start
    assert lines == [300, 340, 390, 420]
    assert min(after - before for before, after in itertools.pairwise(places)) > 0.03 * wide


def test_a_loss_that_fell_fast_where_the_axis_is_wide_is_drawn_as_it_fell(tmp_path: Path) -> None:
    def fell(step: int) -> dict[str, float]:
        return {"score": 1.0 - math.exp(-step / 30), "train_loss": 1e-5 + math.exp(-step / 60)}

    ran = story(
        tmp_path / "one",
        Part(start=0, to=100, params=LOW, scores=fell),
        Part(start=100, to=300, params=HIGH, parent=0, scores=fell),
        Part(start=300, to=9000, params=LOW, parent=1, scores=fell),
        end=("completed", "trained all 9000 steps"),
    )
    with contextlib.closing(ran) as study:
        loss = lineage.lineage(study).axes[2]
    low, high = loss.get_ylim()
    assert low < 1e-5
    assert high > 0.3
    assert loss.get_yscale() == "log"
