from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from diaries import beginning, diary, ended, reported, segment
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sweeping import sweep

import tuner
from tuner import choice, integer, log, log_one_minus
from tuner.errors import SettingsError, StudyError
from tuner.workloads import bowl

SPACE = tuner.Space(
    learning_rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    units=integer(50, 100),
    optimizer=choice("sgd", "adam"),
    beta2=log_one_minus(0.9, 0.9999, when={"optimizer": "adam"}),
)


def train(run: tuner.Run) -> None:
    """Learns by learning rate and momentum; some fail, and some diverge."""
    if run.params["units"] > 95:
        raise ValueError("out of memory")
    learning_rate = run.params["learning_rate"]
    for step in run.steps(12):
        floor = bowl.floor(learning_rate, run.params["beta"])
        run.report(score=math.inf if learning_rate > 0.5 else floor + 1 / (1 + step))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep called night with trials of every ending."""
    folder = tmp_path_factory.mktemp("results")
    sweep(folder, train, SPACE, goal="minimize", sampler="random", trials=40, stopping="median", max_failures=40)
    return folder


@pytest.fixture
def night(results: Path) -> Iterator[tuner.Study]:
    with closing(tuner.open("night", results=results)) as study:
        yield study


def loaded(url: str, code: str) -> Any:
    """What a fresh process prints, which knows the storage of Optuna's and nothing of tuner."""
    program = f"import json, optuna\nstudy = optuna.load_study(study_name='night', storage={url!r})\n{code}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(ran.stdout)


def shown(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    """What must be the same of a trial wherever it is read, nan beside nan."""
    between = sorted((step, repr(value)) for step, value in trial.intermediate_values.items())
    times = trial.datetime_start, trial.datetime_complete
    drawn = sorted((name, value, trial.distributions[name]) for name, value in trial.params.items())
    return trial.number, trial.state, trial.value, drawn, between, times, trial.user_attrs


# ── a live study ────────────────────────────────────────────────────────────────────────────────


def test_a_live_study_has_every_trial_under_its_number_and_with_its_best_score(night: tuner.Study) -> None:
    live = night.optuna
    assert isinstance(live, optuna.Study)
    assert [each.number for each in live.trials] == list(range(40))
    complete = [each for each in live.trials if each.state is TrialState.COMPLETE]
    assert complete
    for each in complete:
        assert each.value == night.trial(each.number).best_score
    assert live.direction is optuna.study.StudyDirection.MINIMIZE
    assert live.study_name == "night"
    assert live.metric_names == ["score"]


def test_settings_lie_on_the_scales_they_were_drawn_on(night: tuner.Study) -> None:
    trials = night.optuna.trials
    first = trials[0].distributions
    assert first["learning_rate"] == FloatDistribution(1e-4, 1.0, log=True)
    assert first["one_minus.beta"] == FloatDistribution(0.001, 0.1, log=True)
    assert first["units"] == IntDistribution(50, 100)
    assert first["optimizer"] == CategoricalDistribution(("sgd", "adam"))
    for each, ours in zip(trials, night.state.trials, strict=True):
        assert each.params["learning_rate"] == ours.params["learning_rate"]
        assert each.params["one_minus.beta"] == pytest.approx(1 - ours.params["beta"], rel=1e-11)
        assert each.user_attrs["settings"]["beta"] == ours.params["beta"]
        for name, value in each.params.items():
            distribution = each.distributions[name]
            if isinstance(distribution, FloatDistribution | IntDistribution):
                assert distribution.low <= value <= distribution.high


def test_a_setting_that_did_not_exist_is_absent(night: tuner.Study) -> None:
    for each in night.optuna.trials:
        assert ("one_minus.beta2" in each.params) == (each.params["optimizer"] == "adam")


def test_a_trials_end_and_its_reason_come_along(night: tuner.Study) -> None:
    states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    seen = set()
    for each, ours in zip(night.optuna.trials, night.state.trials, strict=True):
        assert each.state is states.get(ours.state, TrialState.FAIL)
        assert (each.user_attrs["state"], each.user_attrs["why"]) == (ours.state, ours.why)
        assert each.datetime_complete is not None
        assert each.datetime_complete.timestamp() == pytest.approx(ours.ended_at, abs=1e-3)
        seen.add(ours.state)
    assert seen >= {"completed", "pruned", "diverged", "failed"}


def test_values_in_between_are_those_of_the_head_alone(tmp_path: Path) -> None:
    with closing(diary(tmp_path)) as store:
        store.append([*beginning(0), reported(0, 0, [(1, 3.0), (2, 2.0), (3, 9.0)])], 1.0)
        store.append([segment(0, 1, parent_segment=0, from_step=2, cause="retry"), reported(0, 1, [(3, 1.0)])], 2.0)
        with tuner.open("night", results=tmp_path) as study:
            (trial,) = study.optuna.trials
        assert trial.intermediate_values == {1: 3.0, 2: 2.0, 3: 1.0}


def test_new_trials_and_scores_appear_without_opening_it_again(tmp_path: Path) -> None:
    with closing(diary(tmp_path)) as store, closing(tuner.open("night", results=tmp_path)) as study:
        live = study.optuna
        assert live.trials == []
        store.append(beginning(0), 1.0)
        assert [each.state for each in live.trials] == [TrialState.RUNNING]
        store.append([reported(0, 0, [(1, 0.5)])], 1.0)
        assert live.trials[0].intermediate_values == {1: 0.5}
        store.append([ended(0, 0.5), *beginning(1)], 1.0)
        assert [each.state for each in live.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
        assert live.best_trial.number == 0


def test_what_would_change_a_live_study_says_what_to_do_instead(night: tuner.Study) -> None:
    live = night.optuna
    with pytest.raises(StudyError, match="sampler=") as refused:
        live.ask()
    assert "attach('night').add" in str(refused.value)
    with pytest.raises(StudyError, match=r"run\.report"):
        live.tell(0, 1.0)
    with pytest.raises(StudyError, match="nothing to ask"):
        live.optimize(lambda trial: 0.0, n_trials=1)
    with pytest.raises(StudyError, match="nothing can be told"):
        live.add_trial(live.trials[0])
    with pytest.raises(StudyError, match=r"tuner\.attach"):
        live.set_user_attr("tag", 1)
    assert len(live.trials) == 40


def test_optunas_own_plots_and_importances_read_a_live_study(night: tuner.Study) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    live = night.optuna
    importances = optuna.importance.get_param_importances(live)
    assert {"learning_rate", "one_minus.beta", "units", "optimizer"} <= set(importances)
    assert len(live.trials_dataframe()) == 40
    drawn: Any = optuna.visualization.matplotlib
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, since it is theirs to change
        for axes in (
            drawn.plot_optimization_history(live),
            drawn.plot_param_importances(live),
            drawn.plot_intermediate_values(live),
            drawn.plot_slice(live, params=["one_minus.beta"]),
            drawn.plot_parallel_coordinate(live, params=["learning_rate", "one_minus.beta"]),
        ):
            assert axes.has_data()
        assert drawn.plot_slice(live, params=["one_minus.beta"]).get_xscale() == "log"
    pyplot.close("all")


def test_a_babysat_run_without_a_space_is_a_study_of_one_trial(tmp_path: Path) -> None:
    with closing(diary(tmp_path, kind="babysitting", space=None)) as store:
        store.append([*beginning(0), reported(0, 0, [(1, 0.5)])], 1.0)
        with tuner.open("night", results=tmp_path) as study:
            (trial,) = study.optuna.trials
    assert trial.params == {"x": 0.5}
    assert trial.distributions == {"x": FloatDistribution(0.5, 0.5)}


# ── a storage of theirs ─────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_an_export_is_read_in_a_fresh_process_as_the_live_study_is_here(night: tuner.Study, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sub' / 'x.db'}"
    assert night.export("optuna", url) == [tmp_path / "sub" / "x.db"]
    stored = optuna.load_study(study_name="night", storage=url)
    assert [shown(each) for each in stored.trials] == [shown(each) for each in night.optuna.trials]
    assert stored.user_attrs["best_trial"] == night.best.trial  # type: ignore[union-attr]
    told = loaded(url, "print(json.dumps([study.direction.name, study.metric_names, study.best_trial.number]))")
    assert told == ["MINIMIZE", ["score"], night.optuna.best_trial.number]
    importances = loaded(url, "print(json.dumps(optuna.importance.get_param_importances(study)))")
    assert sum(importances.values()) == pytest.approx(1.0)


def test_an_export_once_more_changes_nothing_and_says_so(night: tuner.Study, tmp_path: Path) -> None:
    from tuner.views.optuna import copy

    url = f"sqlite:///{tmp_path / 'x.db'}"
    first, second = copy(night, url), copy(night, url)
    assert (first.added, first.changed, first.same) == (40, 0, 0)
    assert (second.added, second.changed, second.same) == (0, 0, 40)
    assert "40 as before" in str(second)
    assert len(optuna.load_study(study_name="night", storage=url).trials) == 40


def test_an_export_brings_up_to_date_what_went_on_since_and_keeps_what_others_wrote(tmp_path: Path) -> None:
    from tuner.views.optuna import copy

    url = f"sqlite:///{tmp_path / 'x.db'}"
    with closing(diary(tmp_path)) as store, closing(tuner.open("night", results=tmp_path)) as study:
        store.append([*beginning(0), reported(0, 0, [(1, 0.7)]), *beginning(1)], 1.0)
        assert copy(study, url).added == 2
        theirs = optuna.load_study(study_name="night", storage=url)
        theirs._storage.set_trial_user_attr(theirs.trials[0]._trial_id, "tag", "a good one")
        store.append([reported(0, 0, [(2, 0.5)]), ended(0, 0.5), *beginning(2)], 1.0)
        copied = copy(study, url)
        assert (copied.added, copied.changed, copied.same) == (1, 1, 1)
        trials = optuna.load_study(study_name="night", storage=url).trials
        assert [each.state.name for each in trials] == ["COMPLETE", "RUNNING", "RUNNING"]
        assert trials[0].intermediate_values == {1: 0.7, 2: 0.5}
        assert trials[0].user_attrs["tag"] == "a good one"
        assert trials[0].datetime_complete == study.optuna.trials[0].datetime_complete


def test_scores_that_are_no_finite_numbers_come_through(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with closing(diary(tmp_path)) as store, closing(tuner.open("night", results=tmp_path)) as study:
        store.append([*beginning(0), reported(0, 0, [(1, math.nan), (2, math.inf), (3, -math.inf)])], 1.0)
        for _ in range(2):
            study.export("optuna", url)
    (trial,) = optuna.load_study(study_name="night", storage=url).trials
    assert list(map(repr, trial.intermediate_values.values())) == ["nan", "inf", "-inf"]


def test_another_study_of_the_same_name_is_not_written_over(night: tuner.Study, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    theirs = optuna.create_study(study_name="night", storage=url)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(StudyError, match="another study called night"):
        night.export("optuna", url)
    assert len(theirs.trials) == 1


def test_what_is_no_storage_is_refused_where_it_is_written(night: tuner.Study, results: Path, tmp_path: Path) -> None:
    for wrong in ("x.db", "sqlite://", "sqlite:///"):
        with pytest.raises(SettingsError, match=r"sqlite:///x\.db"):
            night.export("optuna", wrong)
    with pytest.raises(SettingsError, match='format="optuna"'):
        night.export("csv", "sqlite:///x.db")
    with pytest.raises(StudyError, match="cannot be opened"):
        night.export("optuna", "nosuchdatabase://x")
    record = results / "night" / "study.db"
    with pytest.raises(StudyError, match="is the record of a study"):
        night.export("optuna", f"sqlite:///{record}")
    (tmp_path / "text.db").write_text("no database, by its first sixteen bytes")
    with pytest.raises(StudyError, match="cannot be opened"):
        night.export("optuna", f"sqlite:///{tmp_path / 'text.db'}")


def test_the_shell_says_what_an_export_has_written(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.cli import main

    file = tmp_path / "x.db"
    words = ["export", "night", "--results", str(results), "--format", "optuna", "--to", f"sqlite:///{file}"]
    said = []
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert not ended.value.code
        said.append(capsys.readouterr().out)
    assert "40 added" in said[0]
    told = json.loads(said[1])
    assert (told["added"], told["same"], told["files"]) == (0, 40, [str(file)])
