from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest

from tuner.errors import StudyError
from tuner.record import events as rec
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space

pytest.importorskip("matplotlib")

from tuner.views.plots import sweep as plots

TWO = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999), hidden_units=integer(50, 100))
NOON = 1_700_000_000.0


def study(space: Space, *outcomes: tuple[str, list[float]], goal: str = "maximize", name: str = "night") -> StudyState:
    """A study of trials spread over the space, each with a state and the scores it reported."""
    state = StudyState()
    identity = {"objective": "dev_accuracy", "goal": goal, "space": space.to_dict()}
    state.apply(
        rec.StudyOpened(
            name=name, kind="sweep", identity=identity, function="a:train", source_sha256="", version="0", at=NOON
        )
    )
    for number, side in enumerate(([0.0, 1.0], [0.2, 0.6])):
        box = dict.fromkeys(space, side)
        state.apply(rec.RoundOpened(round=number, first_trial=4 * number, box=box, seen=0, why="zoom", at=NOON))
    for trial, (end, scores) in enumerate(outcomes):
        params = space.from_unit([(trial + 0.5) / len(outcomes)] * len(space))
        for record in life(trial, params, end, scores):
            state.apply(record)
        if end not in ("running", "waiting"):
            best = state.trials[trial].best_step, state.trials[trial].best_score
            state.apply(
                rec.TrialEnded(
                    trial=trial,
                    segment=0,
                    state=end,  # type: ignore[arg-type]
                    why=end,
                    step=len(scores),
                    best_step=best[0],
                    best_score=best[1],
                    started=NOON,
                    seconds=1.0,
                    node="n",
                    error="",
                    traceback="",
                    at=NOON,
                )
            )
    return state


def life(trial: int, params: dict[str, object], end: str, scores: list[float]) -> list[rec.Record]:
    records: list[rec.Record] = [
        rec.TrialCreated(
            trial=trial,
            purpose="search",
            round=trial // 4,
            parent=None,
            seed=0,
            params=params,
            seen=0,
            why="drawn",
            memo=None,
            at=NOON,
        ),
        rec.SegmentOpened(
            trial=trial,
            segment=0,
            parent_segment=None,
            from_step=0,
            checkpoint=None,
            cause="start",
            by="tuner",
            why="a new trial",
            params=None,
            at=NOON,
        ),
    ]
    if end != "waiting":
        records.append(rec.TrialStarted(trial=trial, segment=0, worker="w", node="n", pid=1, at=NOON))
    rows = [(step, "dev_accuracy", score, NOON) for step, score in enumerate(scores, start=1)]
    return [*records, pack_reports(trial, 0, rows)] if rows else records


MIXED = [
    ("completed", [0.3, 0.8, 0.9]),
    ("completed", [0.3, 0.7, 0.8]),
    ("pruned", [0.1, 0.2]),
    ("diverged", [0.1, math.nan]),
    ("failed", []),
    ("running", [0.5]),
    ("waiting", []),
    ("completed", [0.6, 0.95, 0.93]),
]
STUDIES = {
    "mixed": study(TWO, *MIXED),
    "a score to minimise over decades": study(TWO, *MIXED, ("completed", [1e3, 1e-4]), goal="minimize"),
    "a score of zero to minimise": study(TWO, ("completed", [0.0]), ("completed", [5.0]), goal="minimize"),
    "one trial": study(TWO, ("completed", [0.5])),
    "no trial": study(TWO),
    "none started": study(TWO, ("waiting", []), ("waiting", [])),
    "none with a score": study(TWO, ("failed", []), ("completed", [])),
    "all diverged": study(TWO, ("diverged", [0.1, math.inf]), ("diverged", [math.nan])),
    "an infinite score": study(TWO, ("completed", [math.inf, 1.0]), ("completed", [-math.inf]), goal="minimize"),
    "all alike": study(TWO, ("completed", [0.5, 0.5]), ("completed", [0.5, 0.5])),
    "one number": study(Space(learning_rate=log(1e-4, 1.0)), *MIXED),
    "few whole numbers": study(Space(dropout=linear(0.0, 0.5), layers=integer(2, 4)), *MIXED),
    "choices only": study(Space(activation=choice("relu", "$tanh", None), bias=choice(True, False)), *MIXED),
    "a parameter that is not always there": study(
        Space(optimizer=choice("adam", "sgd"), beta=log_one_minus(0.9, 0.999, when={"optimizer": "sgd"})), *MIXED
    ),
    "a name of dollars": study(TWO, *MIXED, name="$x$ $y_{$" + "n" * 100),
    "a name in another script": study(TWO, *MIXED, name="夜"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", STUDIES)
def test_every_study_has_its_three_pictures(kind: str, tmp_path: Path) -> None:
    state = STUDIES[kind]
    space = Space.from_dict(state.identity["space"])
    paths = plots.plot_all(state, space, tmp_path / "plots")
    assert [path.name for path in paths] == ["curves.png", "scatter.png", "progress.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert sorted((tmp_path / "plots").iterdir()) == sorted(paths)


def test_a_picture_says_what_is_seen() -> None:
    title = plots.curves(STUDIES["mixed"]).axes[0].get_title(loc="left")
    assert "dev_accuracy of 8 trials" in title
    assert "best 0.95 (trial 7)" in title


def test_scales_are_those_of_the_space() -> None:
    axes = plots.scatter(STUDIES["mixed"], TWO).axes[0]
    assert (axes.get_xlabel(), axes.get_xscale()) == ("learning_rate", "log")
    assert (axes.get_ylabel(), axes.get_yscale()) == ("1 − beta", "log")
    assert axes.get_ylim()[0] < 0.001 < 0.1 < axes.get_ylim()[1]


def test_rounds_are_boxes_with_names() -> None:
    axes = plots.scatter(STUDIES["mixed"], TWO).axes[0]
    assert {"round 0", "round 1"} <= {text.get_text() for text in axes.texts}
    left = axes.patches[1].get_bbox().x0  # type: ignore[attr-defined]
    assert left == pytest.approx(TWO["learning_rate"].from_unit(0.2))


def test_one_bad_trial_does_not_flatten_the_rest() -> None:
    good = [("completed", [0.9 + trial / 1000]) for trial in range(20)]
    axes = plots.progress(study(TWO, *good, ("completed", [-1e6]))).axes[0]
    assert axes.get_ylim()[0] > 0.8
    assert axes.get_ylim()[1] > 0.919


def test_no_more_than_a_thousand_curves_are_drawn_and_the_best_is_among_them() -> None:
    many = study(TWO, *[("completed", [trial / 2000]) for trial in range(plots.MOST_CURVES + 500)])
    sample = plots._View(many).sample()
    assert len({trial.trial for trial in sample}) == plots.MOST_CURVES
    assert many.best in sample
    assert min(trial.trial for trial in sample) == 0


def test_nothing_global_changes() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.progress(STUDIES["mixed"])
    assert dict(matplotlib.rcParams) == before


THREE = Space(useless=linear(0.0, 1.0), rate=log(1e-4, 1.0), momentum=linear(0.0, 1.0))


def telling(space: Space) -> StudyState:
    """A study whose score follows the rate, a little the momentum, and never the first setting."""
    state = study(space)
    for trial in range(24):
        point = [trial * 0.6180339887 % 1.0, trial * 0.7548776662 % 1.0, trial * 0.5698402909 % 1.0]
        params = space.from_unit(point)
        for record in life(trial, params, "completed", [point[1] + 0.2 * point[2]]):
            state.apply(record)
    return state


def test_the_scatter_plot_shows_the_two_settings_that_matter_most() -> None:
    axes = plots.scatter(telling(THREE), THREE).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate", "momentum")


def test_a_person_chooses_the_settings_of_the_scatter_plot() -> None:
    state = telling(THREE)
    chosen = plots.scatter(state, THREE, "useless", "rate").axes[0]
    assert (chosen.get_xlabel(), chosen.get_ylabel()) == ("useless", "rate")
    scored = plots.scatter(state, THREE, y="dev_accuracy").axes[0]
    assert (scored.get_xlabel(), scored.get_ylabel()) == ("rate", "dev_accuracy")
    with pytest.raises(StudyError, match="Did you mean rate"):
        plots.scatter(state, THREE, "rat")


def test_at_most_four_boxes_are_drawn_the_first_and_the_last_among_them() -> None:
    state = study(TWO, *MIXED)
    for number in range(2, 19):
        box = {name: [0.01 * number, 0.99] for name in TWO}
        opened = rec.RoundOpened(round=number, first_trial=8, box=box, seen=0, why="zoom", at=NOON)
        state.apply(opened)
    axes = plots.scatter(state, TWO).axes[0]
    assert len(axes.patches) == 4
    lefts = [patch.get_bbox().x0 for patch in axes.patches]  # type: ignore[attr-defined]
    ends = [TWO["learning_rate"].from_unit(side) for side in (0.0, 0.18)]
    assert [lefts[0], lefts[-1]] == pytest.approx(ends)


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_no_two_names_of_rounds_overlap_and_all_lie_within_the_axes(goal: str) -> None:
    state = study(TWO, *[("completed", [0.3, 0.8, 0.9])] * 48, goal=goal)
    for trial, begins in enumerate([0] * 4 + [1, 2, 2, 3, 4, 4, 4, 5, 5, 5] + [6] * 7 + [7] * 26 + [8]):
        state.trials[trial].round = begins
    figure = plots.progress(state)
    figure.canvas.draw()
    axes = figure.axes[0]
    drawn = [each.get_window_extent() for each in axes.texts if each.get_text().startswith("round ")]
    assert len(drawn) >= 3
    assert not [1 for one, other in combinations(drawn, 2) if one.overlaps(other)]
    within = axes.get_window_extent()
    assert all(within.x0 <= each.x0 and each.x1 <= within.x1 for each in drawn)


def test_the_best_half_of_the_trials_has_a_panel_of_its_own_where_it_is_a_narrow_band() -> None:
    good = [("completed", [0.1, 0.5, 0.96 + trial / 1000]) for trial in range(12)]
    poor = [("completed", [0.1, 0.1, 0.1 + trial / 100]) for trial in range(8)]
    top, all_of_them, *_ = plots.curves(study(TWO, *good, *poor)).axes
    low, high = top.get_ylim()
    assert 0.95 < low < 0.962
    assert 0.971 < high < 0.99
    assert all_of_them.get_ylim()[0] < 0.2


def test_where_scores_are_spread_evenly_one_panel_shows_them_all() -> None:
    spread = [("completed", [0.1, 0.05 * trial]) for trial in range(20)]
    panels = [axes for axes in plots.curves(study(TWO, *spread)).axes if axes.get_label() != "<colorbar>"]
    assert len(panels) == 1
