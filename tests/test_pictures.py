"""Pictures as values: what they show of nothing, of one trial, of thousands, and what they never hold."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stories import Part, story
from sweeping import sweep

import tuner
from tuner import Space, choice, linear, log, log_one_minus
from tuner.insight.importance import Importance, Share
from tuner.record.lineage import Tree
from tuner.record.state import StudyState
from tuner.server.page.frames import framed
from tuner.views.pictures.branches import branches
from tuner.views.pictures.colours import INKS_IN_THE_DARK
from tuner.views.pictures.curves import curves
from tuner.views.pictures.diagram import Diagram, Theme, drawable, placed
from tuner.views.pictures.importance import importance
from tuner.views.pictures.parallel import parallel
from tuner.views.pictures.progress import progress
from tuner.views.pictures.run import run
from tuner.views.pictures.settings import axes_of, settings
from tuner.views.pictures.thinning import thinned, width_for

pytest.importorskip("bokeh")

SPACE = Space(
    rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    optimizer=choice("adam", "sgd"),
    warmup=linear(0.0, 10.0, when={"optimizer": "adam"}),
)


def train(run: tuner.Run) -> None:
    for step in run.steps(10):
        diverges = run.params["rate"] > 0.3 and step > 4
        run.report(score=math.nan if diverges else abs(math.log10(run.params["rate"]) + 2) + 1 / (1 + step))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuner.Study]:
    with sweep(tmp_path_factory.mktemp("results"), train, SPACE, trials=24, seed=3) as found:
        yield found


def everything(study: tuner.Study, theme: Theme = "light") -> list[Diagram]:
    state, space = study.state, SPACE
    return [
        curves(state, theme),
        settings(state, space, "rate", "beta", theme),
        parallel(state, space, theme),
        progress([state], theme),
        run(state, Tree.of(study, 0), theme, trial=0),
        branches(state, Tree.of(study, 0), theme),
    ]


def models(chart: Diagram) -> Iterator[Mapping[str, Any]]:
    """Every model within a picture."""

    def walk(value: Any) -> Iterator[Mapping[str, Any]]:
        if isinstance(value, dict):
            if value.get("type") == "object":
                yield value
            for each in value.values():
                yield from walk(each)
        elif isinstance(value, list):
            for each in value:
                yield from walk(each)

    yield from walk(json.loads(json.dumps(chart.item)))


def columns(chart: Diagram, source: str) -> dict[str, Any]:
    """The columns of a source, arrays as they are read in a browser."""
    found = next(
        each["attributes"]["data"]["entries"]
        for each in models(chart)
        if each["name"] == "ColumnDataSource" and each["attributes"].get("name") == source
    )
    return {name: array_of(value) for name, value in found}


def array_of(value: Any) -> Any:
    if isinstance(value, list):
        return [array_of(each) for each in value]
    if isinstance(value, dict) and value.get("type") == "ndarray":
        return np.frombuffer(gzip.decompress(base64.b64decode(value["array"]["data"])), value["dtype"]).tolist()
    return value


def test_a_picture_is_json_with_words_and_a_table(study: tuner.Study) -> None:
    for chart in everything(study):
        assert json.dumps(chart.item), chart.name
        assert chart.label, chart.name
        assert chart.shown.endswith("."), chart.name
        assert len({len(row) for row in chart.table}) == 1, chart.name
        assert len(chart.table) > 1, chart.name


def test_no_picture_holds_code_that_would_have_to_be_evaluated(study: tuner.Study) -> None:
    for chart in everything(study):
        kinds = {each["name"] for each in models(chart)}
        assert not {kind for kind in kinds if kind.startswith(("CustomJS", "CustomAction"))}, chart.name


def test_in_another_theme_a_picture_has_other_colours_alone(study: tuner.Study) -> None:
    assert len(set(INKS_IN_THE_DARK.values())) == len(INKS_IN_THE_DARK)  # so that they lead back, too

    def darkened(told: Any) -> Any:
        if isinstance(told, dict):
            return {key: darkened(value) for key, value in told.items()}
        if isinstance(told, list):
            return [darkened(each) for each in told]
        return INKS_IN_THE_DARK.get(told, told) if isinstance(told, str) else told

    for light, dark in zip(everything(study), everything(study, "dark"), strict=True):
        told, wanted = (json.loads(json.dumps(framed(each.item or {})["item"])) for each in (light, dark))
        assert told != wanted == darkened(told), light.name


def test_every_picture_is_drawn_on_the_canvas(study: tuner.Study) -> None:
    for chart in everything(study):
        backends = {
            e["attributes"]["output_backend"] for e in models(chart) if "output_backend" in e.get("attributes", {})
        }
        assert backends <= {"canvas"}, chart.name  # which is the default too


def test_runs_that_diverged_stand_on_a_rail_and_stretch_no_axis(study: tuner.Study) -> None:
    chart = curves(study.state)
    diverged = {trial.trial for trial in study.state.trials if trial.state == "diverged"}
    assert diverged
    assert set(columns(chart, "trials-2")["trial"]) == diverged
    assert not set(columns(chart, "trials")["trial"]) & diverged
    assert f"{len(diverged)} run" in chart.shown


def test_curves_say_how_many_reports_are_shown_of_how_many(study: tuner.Study) -> None:
    sound = [trial for trial in study.state.trials if trial.state != "diverged"]
    total = sum(len(study.state.curve(trial)) for trial in sound)
    assert f"{total:,} of {total:,} reports" in curves(study.state).shown


def test_a_stair_has_a_point_where_it_begins_rises_and_ends(study: tuner.Study) -> None:
    drawn = next(each for each in models(progress([study.state])) if each["name"] == "ColumnDataSource")
    heights = array_of(dict(drawn["attributes"]["data"]["entries"])["y"])
    best = np.array([float(score) for _, _, score in progress([study.state]).table[1:]])[::-1]
    assert np.allclose(heights[: len(best)], best, rtol=1e-3)
    assert len(best) <= len(heights) <= len(best) + 1
    assert heights[-1] == heights[len(best) - 1]


def test_lines_and_marks_of_a_crowd_are_as_exact_as_half_a_pixel() -> None:
    draws = np.random.default_rng(0)
    few, many = (list(draws.uniform(0, 1, (count, 7))) for count in (9, 2_000))
    for lines, parts in ((few, 4_000), (many, 500)):
        assert np.abs(np.array(drawable(lines, 1.0)) - np.array(lines)).max() <= 0.5001 / parts
    places = 10 ** draws.uniform(-4, 0, 2_000)
    told = np.log(placed(places, (1e-4, 1.0), "log"))
    assert np.abs(told - np.log(places)).max() <= math.log(1e4) / 500
    assert np.array_equal(placed(places[:9], (1e-4, 1.0), "log"), places[:9].astype(np.float32))
    assert placed(np.linspace(0, 9, 2_000), (0.0, 9.0), "linear")[-1] == 9.0


def test_a_short_training_has_whole_steps_on_its_axis_and_its_best_on_its_level_curve(tmp_path: Path) -> None:
    with story(
        tmp_path / "one", Part(start=0, to=2, scores=lambda step: {"score": 0.1}), end=("stopped", "so")
    ) as study:
        charts = [
            run(study.state, Tree.of(study, 0)),
            branches(study.state, Tree.of(study, 0)),
            progress([study.state]),
        ]
    for chart in charts:
        tickers = [each["attributes"] for each in models(chart) if each["name"] == "BasicTicker"]
        assert any(each.get("min_interval") == 1 for each in tickers), chart.name
    heights = [
        height
        for each in models(charts[0])
        if each["name"] == "ColumnDataSource"
        for name, column in each["attributes"]["data"]["entries"]
        if name == "y"
        for height in array_of(column)
    ]
    assert len(heights) == 4  # two reports, the newest, and the best
    assert len(set(heights)) == 1


def test_of_one_trial_the_best_so_far_is_a_point(tmp_path: Path) -> None:
    with sweep(tmp_path, train, SPACE, trials=1, seed=3) as study:
        chart = progress([study.state])
    assert any(each["name"] == "Scatter" for each in models(chart))


def test_beside_the_trials_of_a_sweep_a_run_counts_its_reports(study: tuner.Study, tmp_path: Path) -> None:
    with story(tmp_path / "one", Part(start=0, to=30)) as lone:
        both, alone = progress([study.state, lone.state]), progress([lone.state])
    assert "24 trials in the order they began and 30 reports" in both.shown
    assert alone.shown == "30 reports."
    (legend,) = [each["attributes"] for each in models(both) if each["name"] == "Legend"]
    assert legend["orientation"] == "horizontal"


def test_marks_are_left_out_for_want_of_what_trials_really_lack(study: tuner.Study) -> None:
    assert "the others have no warmup" in settings(study.state, SPACE, "rate", "warmup").shown


def test_of_a_long_name_a_legend_has_both_ends(tmp_path: Path) -> None:
    names = ["a-night-that-begins-the-same-" + end for end in ("as-another", "and-ends-otherwise")]
    studies = [sweep(tmp_path, train, SPACE, trials=2, name=name) for name in names]
    told = json.dumps(progress([each.state for each in studies]).item)
    for each in studies:
        each.close()
    assert "s-another" in told
    assert "otherwise" in told
    assert names[0] not in told


def test_the_best_trial_is_drawn_last(study: tuner.Study) -> None:
    assert study.best is not None
    assert columns(curves(study.state), "trials")["trial"][-1] == study.best.trial
    assert columns(parallel(study.state, SPACE), "trials")["trial"][-1] == study.best.trial


def test_each_setting_stands_on_its_own_scale(study: tuner.Study) -> None:
    chart = settings(study.state, SPACE, "rate", "beta")
    axes = [each["name"] for each in models(chart) if each["name"].endswith("Axis")]
    assert axes == ["LogAxis", "LogAxis"]
    shown = columns(chart, "trials")
    trials = study.state.trials
    for number, place in zip(shown["trial"], shown["y"], strict=True):
        assert place == pytest.approx(1 - trials[number].params["beta"], rel=1e-5)


def test_a_conditional_setting_keeps_a_place_on_its_axis(study: tuner.Study) -> None:
    chart = parallel(study.state, SPACE)
    shown = columns(chart, "trials")
    axis = list(SPACE).index("warmup")
    for number, line in zip(shown["trial"], shown["ys"], strict=True):
        has = "warmup" in study.state.trials[number].params
        assert (line[axis] < 0) == (not has)
    assert "no such setting" in chart.shown


def test_parallel_coordinates_are_even_on_each_scale(study: tuner.Study) -> None:
    shown = columns(parallel(study.state, SPACE), "trials")
    for number, line in zip(shown["trial"], shown["ys"], strict=True):
        params = study.state.trials[number].params
        assert line[0] == pytest.approx(SPACE["rate"].to_unit(params["rate"]), abs=1e-4)
        assert line[1] == pytest.approx(SPACE["beta"].to_unit(params["beta"]), abs=1e-4)


def test_of_nothing_a_picture_says_that_there_is_nothing() -> None:
    state = StudyState(name="new", objective="score")
    for chart in (curves(state), settings(state, SPACE, "rate", "beta"), parallel(state, SPACE), progress([state])):
        assert chart.item is None
        assert chart.shown.startswith("No trial")


def test_the_axes_are_those_named_else_those_that_matter_else_those_declared() -> None:
    assert axes_of(SPACE) == ("rate", "beta")
    assert axes_of(SPACE, x="warmup") == ("warmup", "rate")
    assert axes_of(SPACE, y="rate") == ("beta", "rate")
    assert axes_of(SPACE, by_importance=("optimizer", "beta")) == ("optimizer", "beta")
    assert axes_of(Space(rate=log(1e-4, 1.0))) == ("rate", "")


def test_with_one_setting_the_score_is_the_other_axis(tmp_path: Path) -> None:
    alone = Space(rate=log(1e-4, 1.0))
    with sweep(tmp_path, train_bowl, alone, trials=4) as found:
        assert "rate and score" in settings(found.state, alone, *axes_of(alone)).label


def train_bowl(run: tuner.Run) -> None:
    run.report(score=math.log10(run.params["rate"]) ** 2)


def test_importance_has_a_bar_a_setting() -> None:
    shares = (
        Share(parameter="rate", total=0.7, alone=0.6, error=0.1),
        Share(parameter="beta", total=0.2, alone=0.1, error=0.1),
    )
    found = Importance(objective="score", shares=shares, foretold=0.8, scored=30)
    assert [row[0] for row in importance("night", found).table] == ["setting", "rate", "beta"]
    none = Importance(objective="score", shares=(), foretold=math.nan, scored=3)
    assert importance("night", none).item is None


def test_thinning_leaves_every_extreme_and_the_newest_report() -> None:
    steps = np.arange(1, 100_001)
    scores = np.sin(steps / 500.0)
    scores[40_321] = 9.0
    width = width_for(len(steps), len(steps), 1, 2_000)
    kept, values = thinned(steps, scores, width)
    assert len(kept) <= 2_000
    assert 9.0 in values
    assert kept[-1] == steps[-1]
    assert np.array_equal(values, scores[kept - 1])  # reports as they were made


def test_points_once_drawn_stay_where_they_are_while_a_run_goes_on() -> None:
    steps = np.arange(1, 5_001)
    scores = np.random.default_rng(0).normal(size=len(steps))
    before, _ = thinned(steps[:4_000], scores[:4_000], 64)
    after, _ = thinned(steps, scores, 64)
    assert set(before[:-1]) <= set(after)


def test_a_short_curve_is_shown_whole() -> None:
    assert width_for(900, 100, 9, 1_000) == 1
    steps, scores = np.arange(5), np.arange(5.0)
    kept, _ = thinned(steps, scores, 1)
    assert kept.tolist() == steps.tolist()
    assert kept is not steps  # Bokeh compares deeply: no array is handed out twice


def test_a_babysat_run_shows_its_changes_and_what_was_given_up(tmp_path: Path) -> None:
    low, high = {"learning_rate": 0.01}, {"learning_rate": 0.02}
    told = story(
        tmp_path / "one",
        Part(start=0, to=50, params=low, scores=falling),
        Part(start=50, to=70, params=high, parent=0, scores=falling),
        Part(start=50, to=120, params=low, parent=0, cause="revert", verb="revert", scores=falling),
    )
    with closing(told) as study:
        tree = Tree.of(study)
        curve, tree_chart = run(study.state, tree), branches(study.state, tree)
    assert "20 steps given up" in curve.shown
    assert "train_loss" in curve.table[0]
    assert [row[1] for row in tree_chart.table[1:]] == ["start", "adjust", "revert"]
    assert "learning_rate 0.01 → 0.02" in tree_chart.table[2][4]
    assert [row[-1] for row in tree_chart.table[1:]] == ["yes", "given up", "yes"]


def falling(step: int) -> dict[str, float]:
    return {"score": math.exp(-step / 30), "train_loss": math.exp(-step / 20)}
