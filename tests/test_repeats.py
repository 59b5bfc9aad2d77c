from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweeping import usually
from waiting import wait_until

import tuner
from tuner.caviar.repeats import Plan
from tuner.caviar.stopping import Asha
from tuner.cli import main
from tuner.errors import SettingsError, StudyError
from tuner.record.leaders import leaders
from tuner.space.constructors import linear
from tuner.space.space import Space
from tuner.worker.function import KEPT
from tuner.workloads import bowl

LINE = Space(x=linear(0.0, 1.0))


sweep = usually(stopping="off", sampler="random")


def confirm(folder: Path, **options: Any) -> tuner.Confirmation:
    return tuner.confirm("night", results=folder, progress="off", **options)


def recheck(folder: Path, **options: Any) -> tuner.Recheck:
    return tuner.recheck("night", results=folder, progress="off", **options)


def flat(run: tuner.Run) -> None:
    """Settings make no difference: all is luck of the seed."""
    for _ in run.steps(3):
        run.report(score=(run.seed % 1000) / 1000)


def clear(run: tuner.Run) -> None:
    """The score is x, and a little of the seed."""
    for _ in run.steps(4):
        run.report(score=run.params["x"] + 1e-6 * (run.seed % 1000))


def fragile(run: tuner.Run) -> None:
    """The higher x, the better, unless another seed comes along."""
    for _ in run.steps(2):
        lucky = run.params["x"] < 0.5 or run.seed % 2
        run.report(score=run.params["x"] if lucky else float("nan"))


WORLD = {"turned": False}


def changing(run: tuner.Run) -> None:
    """The world may turn, and what was good is bad."""
    for _ in run.steps(2):
        run.report(score=-run.params["x"] if WORLD["turned"] else run.params["x"])


# ── confirm ─────────────────────────────────────────────────────────────────────────────────────


def test_the_top_are_trained_again_with_new_seeds_that_they_share(tmp_path: Path) -> None:
    sweep(tmp_path).close()
    found = confirm(tmp_path, top=3, repeats=4)

    with_repeats = tuner.open("night", results=tmp_path)
    again = [trial for trial in with_repeats.state.trials if trial.purpose == "confirm"]
    best = [trial.trial for trial in leaders(with_repeats.state, 3)]
    assert sorted(each.trial for each in found.candidates) == sorted(best)
    assert [trial.parent for trial in again] == [f"night/{number}" for _ in range(4) for number in best]
    assert len({trial.seed for trial in again}) == 4
    assert not {trial.seed for trial in again} & {trial.seed for trial in with_repeats.state.trials[:8]}
    assert all(trial.state == "completed" and trial.steps == bowl.STEPS for trial in again)
    assert again[0].segments[0].why.startswith(f"repeat 1 of 4 of trial {best[0]}")
    with_repeats.close()


def test_a_clear_winner_is_confirmed_and_luck_is_told_from_it(tmp_path: Path) -> None:
    sweep(tmp_path, clear, LINE).close()
    found = confirm(tmp_path)

    assert found.confirmed
    assert found.best is not None
    assert found.best.chance == pytest.approx(1.0)
    assert found.sentence.startswith(f"Trial {found.best.trial} is the best with a chance of over 99%")
    assert "over 5 new seeds; next is trial" in found.sentence


def test_repeats_that_the_seed_does_not_change_are_told_to_prove_nothing(tmp_path: Path) -> None:
    sweep(tmp_path, changing, LINE).close()
    found = confirm(tmp_path)

    assert "draw nothing from run.seed" in found.sentence
    assert "Another seed" not in found.sentence


def test_more_repeats_are_not_advised_where_each_is_the_same_again(tmp_path: Path) -> None:
    def tied(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=min(run.params["x"], 0.1))

    sweep(tmp_path, tied, LINE).close()
    found = confirm(tmp_path)

    assert "too close to tell" in found.sentence
    assert "draw nothing from run.seed" in found.sentence
    assert "More repeats" not in found.sentence


def test_where_seeds_decide_it_is_too_close_to_tell(tmp_path: Path) -> None:
    def noisy(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=((run.seed * round(1e6 * run.params["x"])) % 1009) / 1009)

    sweep(tmp_path, noisy, LINE).close()
    found = confirm(tmp_path)

    assert not found.confirmed
    assert found.sentence.startswith("It is too close to tell: ")
    assert found.more is not None
    assert f"--top 3 --repeats {5 + found.more}" in found.sentence
    assert found.answer.startswith(f"not distinguishable with 5 seeds; about {found.more} more")
    assert sum(each.chance or 0.0 for each in found.candidates) == pytest.approx(1.0)


def test_a_score_of_the_search_that_repeats_do_not_reach_was_luck(tmp_path: Path) -> None:
    sweep(tmp_path, flat, LINE, trials=40).close()
    found = confirm(tmp_path, top=1, repeats=8)

    assert found.best is not None
    assert f"Its {found.best.searched:.4g} in the search" in found.sentence


def test_what_a_seed_does_to_all_alike_hides_no_difference(tmp_path: Path) -> None:
    def shared(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=run.params["x"] + 5.0 * (run.seed % 1000) + 1e-4 * ((run.seed * 7) % 10) * run.params["x"])

    sweep(tmp_path, shared, LINE, trials=3).close()
    found = confirm(tmp_path)

    assert found.confirmed
    assert found.noise is not None
    assert found.noise > 100 * abs((found.candidates[0].mean or 0.0) - (found.candidates[1].mean or 0.0))


def test_settings_that_diverge_with_another_seed_come_after_all_that_do_not(tmp_path: Path) -> None:
    start = [{"x": 0.9}, {"x": 0.45}, {"x": 0.4}]
    study = sweep(tmp_path, fragile, LINE, trials=24, start=start)
    study.close()
    found = confirm(tmp_path, top=24, repeats=6)

    shaky = [each for each in found.candidates if each.diverged]
    assert shaky
    assert found.best is not None
    assert found.best.params["x"] < 0.5
    assert all(each.chance is None for each in shaky)
    assert f"diverged in {shaky[0].diverged} of 6" in found.sentence


def test_more_repeats_add_to_those_that_are_there_and_the_same_again_trains_nothing(tmp_path: Path) -> None:
    sweep(tmp_path).close()
    first = confirm(tmp_path, top=2, repeats=2)
    assert confirm(tmp_path, top=2, repeats=2) == first
    second = confirm(tmp_path, top=2, repeats=3)

    study = tuner.open("night", results=tmp_path)
    assert len(study.trials) == 8 + 2 * 3
    by_trial = {each.trial: each for each in first.candidates}
    assert all(each.scores[:2] == by_trial[each.trial].scores for each in second.candidates)
    study.close()


def test_nothing_stops_a_repeat_early_whatever_stopped_the_search(tmp_path: Path) -> None:
    sweep(tmp_path, stopping="asha", trials=20).close()
    confirm(tmp_path, top=6, repeats=1)

    study = tuner.open("night", results=tmp_path)
    again = study.trials[study.trials["purpose"] == "confirm"]
    assert set(again["state"]) == {"completed"}
    assert set(again["steps"]) == {bowl.STEPS}
    study.close()


def test_the_winner_remains_a_trial_of_the_search_however_well_a_repeat_does(tmp_path: Path) -> None:
    sweep(tmp_path, flat, LINE, trials=1).close()
    before = tuner.open("night", results=tmp_path)
    winner = before.best
    confirm(tmp_path, top=1, repeats=40)
    before.refresh()

    assert winner is not None
    assert before.trials["objective"].max() > winner.score
    assert before.best == winner
    assert all(not trial.repeats for trial in leaders(before.state))
    before.close()


@pytest.mark.parametrize("sampler", ["random", "sobol", "grid", "coarse_to_fine"])
def test_a_search_goes_on_as_if_nothing_had_been_repeated(tmp_path: Path, sampler: str) -> None:
    whole = sweep(tmp_path / "whole", sampler=sampler, stopping="asha", trials=10)
    sweep(tmp_path / "parts", sampler=sampler, stopping="asha", trials=6).close()
    confirm(tmp_path / "parts", top=2, repeats=3)
    parts = sweep(tmp_path / "parts", sampler=sampler, stopping="asha", trials=10)

    searched = [trial for trial in parts.state.trials if not trial.repeats]
    assert len(searched) == 10
    if sampler != "coarse_to_fine":  # which keys its draws by the trial's number
        assert [trial.params for trial in searched] == [trial.params for trial in whole.state.trials]
    whole.close()
    parts.close()


def test_successive_halving_compares_with_trials_of_the_search_alone(tmp_path: Path) -> None:
    sweep(tmp_path, trials=9).close()
    before = tuner.open("night", results=tmp_path)
    some = before.state.trials[3]
    verdict = Asha().judge(before.state, some, 9)
    confirm(tmp_path, top=3, repeats=5)
    before.refresh()

    assert Asha().judge(before.state, some, 9) == verdict
    before.close()


def test_steps_of_repeats_are_not_taken_from_the_budget_of_the_search(tmp_path: Path) -> None:
    sweep(tmp_path, budget_steps=4 * bowl.STEPS, trials=None).close()
    confirm(tmp_path, top=2, repeats=3)
    study = sweep(tmp_path, budget_steps=6 * bowl.STEPS, trials=None)

    assert sum(trial.steps for trial in study.state.trials if not trial.repeats) == 6 * bowl.STEPS
    study.close()


def test_a_repeat_that_failed_is_trained_once_more_by_the_same_call(tmp_path: Path) -> None:
    def brittle(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=run.params["x"])
            if (tmp_path / "broken").exists():
                raise OSError("the disk is full")

    sweep(tmp_path, brittle, LINE, trials=3).close()
    (tmp_path / "broken").touch()
    found = confirm(tmp_path, top=2, repeats=2)
    assert found.best is None
    assert found.sentence.startswith("No repeat of night")
    (tmp_path / "broken").unlink()

    assert all(len(each.finite) == 2 for each in confirm(tmp_path, top=2, repeats=2).candidates)


def test_code_that_does_not_run_any_more_gives_up_at_once(tmp_path: Path) -> None:
    def renamed(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=run.params["x"])
            if (tmp_path / "broken").exists():
                raise NameError("name 'old' is not defined")

    sweep(tmp_path, renamed, LINE, trials=3).close()
    (tmp_path / "broken").touch()
    with pytest.raises(tuner.TunerError, match="first repeat failed"):
        confirm(tmp_path)


def test_what_cannot_be_confirmed_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no study 'night'"):
        confirm(tmp_path)
    sweep(tmp_path, lambda run: run.report(score=float("nan")), LINE, trials=2).close()
    with pytest.raises(StudyError, match="no trial of night"):
        confirm(tmp_path)
    with pytest.raises(SettingsError, match=r"top .*got 0"):
        confirm(tmp_path, top=0)


# ── recheck ─────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_holds_is_said_to_hold(tmp_path: Path) -> None:
    sweep(tmp_path, clear, LINE, trials=12).close()
    found = recheck(tmp_path)

    assert found.verdict == "holds"
    assert found.correlation is not None
    assert found.correlation.rho == pytest.approx(1.0)
    assert "rank correlation 1.00" in found.sentence
    assert found.correlation.low < 0.5
    assert "is the best today" in found.sentence


def test_an_order_that_has_turned_is_said_not_to_hold(tmp_path: Path) -> None:
    sweep(tmp_path, changing, LINE, trials=12).close()
    WORLD["turned"] = True
    try:
        found = recheck(tmp_path)
    finally:
        WORLD["turned"] = False

    assert found.verdict == "does not hold"
    assert found.correlation is not None
    assert found.correlation.rho == pytest.approx(-1.0)
    first = found.leaders[0].trial
    assert f"and then it was trial {first}" in found.sentence


def test_an_order_among_equals_cannot_be_expected_to_hold(tmp_path: Path) -> None:
    def equals(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=((run.seed * round(1e6 * run.params["x"])) % 1009) / 1009)

    sweep(tmp_path, equals, LINE, trials=12).close()
    found = recheck(tmp_path, repeats=3)

    assert found.verdict != "holds"
    assert "no order among them" in found.sentence


def test_the_next_recheck_is_another_one_and_repeats_of_the_first_do_not_count(tmp_path: Path) -> None:
    sweep(tmp_path, clear, LINE, trials=5).close()
    first, second = recheck(tmp_path, top=4), recheck(tmp_path, top=4)

    assert (first.occasion, second.occasion) == (1, 2)
    study = tuner.open("night", results=tmp_path)
    again = study.trials[study.trials["purpose"] == "recheck"]
    assert len(again) == 8
    assert again["seed"].nunique() == 2
    study.close()


def test_only_trials_that_completed_are_rechecked(tmp_path: Path) -> None:
    sweep(tmp_path, stopping="asha", trials=20).close()
    found = recheck(tmp_path, top=20)

    study = tuner.open("night", results=tmp_path)
    completed = {trial.trial for trial in study.state.trials if trial.state == "completed" and not trial.repeats}
    assert {each.trial for each in found.leaders} == completed
    study.close()


def test_fewer_than_three_make_no_order(tmp_path: Path) -> None:
    sweep(tmp_path, clear, LINE, trials=2).close()
    with pytest.raises(StudyError, match=r"night has 2.*takes 3"):
        recheck(tmp_path)


# ── what survives ───────────────────────────────────────────────────────────────────────────────

HELD = """
import time
from pathlib import Path

class Nothing:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

def train(run):
    run.state(Nothing())
    begun = Path("begun")
    begun.touch()
    with begun.open("a") as file:
        file.write(".")
    while Path("held").exists() and begun.stat().st_size > 2:
        time.sleep(0.01)
    for step in run.steps(10):
        run.report(score=run.params["x"] + 1e-3 * (run.seed % 10))
"""


@pytest.mark.parametrize("command", ["confirm", pytest.param("recheck", marks=pytest.mark.long)])
def test_after_kill_9_the_same_command_goes_on(tmp_path: Path, command: str) -> None:
    (tmp_path / "held_training.py").write_text(HELD)
    (tmp_path / "line.toml").write_text('[x]\nscale = "linear"\nlow = 0.0\nhigh = 1.0\n')
    words = "--space line.toml --name night --objective score --trials 4 --executor local --stopping off --no-plot"
    go(tmp_path, "sweep", "held_training:train", *words.split())
    asked = [command, "night", "--top", "4", "--repeats", "2", "--json"]
    (tmp_path / "begun").unlink()
    (tmp_path / "held").touch()  # the third repeat waits for the kill
    killed = subprocess.Popen([sys.executable, "-m", "tuner", *asked], cwd=tmp_path, stdout=-3, stderr=-3)
    wait_until(lambda: len([each for each in repeats(tmp_path) if each.ended]) >= 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (tmp_path / "held").unlink()
    assert len([each for each in repeats(tmp_path) if each.ended]) == 2

    told = json.loads(go(tmp_path, *asked))
    again = repeats(tmp_path)
    assert len(again) == 8
    assert {each.state for each in again} == {"completed"}
    assert len({(each.parent, each.seed) for each in again}) == 8
    assert len(told["candidates" if command == "confirm" else "leaders"]) == 4


def go(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *words], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def repeats(folder: Path) -> list[Any]:
    study = tuner.open("night", results=folder / "results")
    found = [trial for trial in study.state.trials if trial.repeats]
    study.close()
    return found


def test_a_sweep_that_goes_on_leaves_unfinished_repeats_to_whoever_asked_for_them(tmp_path: Path) -> None:
    def interrupted(run: tuner.Run) -> None:
        for step in run.steps(4):
            run.report(score=run.params["x"])
            if step == 1 and (tmp_path / "now").exists():
                (tmp_path / "now").unlink()
                signal.raise_signal(signal.SIGINT)

    sweep(tmp_path, interrupted, LINE, trials=3).close()
    (tmp_path / "now").touch()
    with pytest.raises(KeyboardInterrupt):
        confirm(tmp_path, top=2, repeats=2)
    study = sweep(tmp_path, interrupted, LINE, trials=5)
    states = {trial.state for trial in study.state.trials if trial.repeats}
    assert states & {"waiting", "paused"}
    assert len([trial for trial in study.state.trials if not trial.repeats]) == 5
    study.close()

    assert all(len(each.finite) == 2 for each in confirm(tmp_path, top=2, repeats=2).candidates)


def test_a_plan_knows_its_repeats_by_whom_they_repeat_and_with_which_seed(tmp_path: Path) -> None:
    study = sweep(tmp_path, clear, LINE, trials=4)
    one, other = (Plan.to_recheck(study.state, 2, 3, occasion) for occasion in (1, 2))
    confirming = Plan.to_confirm(study.state, 2, 3)
    seeds = [seed for plan in (one, other, confirming) for seed in plan.seeds(study.state)]
    assert len(set(seeds)) == 9
    study.close()


# ── in the shell ────────────────────────────────────────────────────────────────────────────────


def test_both_print_a_table_and_a_sentence_and_json_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, clear, LINE).close()

    def shell(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--results", str(tmp_path)])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    page = shell("confirm", "night", "--top", "2", "--repeats", "3")
    assert "chance to be best" in page
    assert "is the best with a chance of" in " ".join(page.split())
    told = json.loads(shell("confirm", "night", "--top", "2", "--repeats", "3", "--json"))
    assert told["confirmed"] is True
    assert told["best"] == told["candidates"][0]["trial"]
    assert set(told["candidates"][0]) >= {"trial", "params", "searched", "scores", "mean", "error", "chance"}
    assert "The order of the leaders still holds" in " ".join(shell("recheck", "night").split())
    told = json.loads(shell("recheck", "night", "--json"))
    assert told["verdict"] == "holds"
    assert set(told["correlation"]) == {"rho", "low", "high", "chance"}


def test_what_lists_and_draws_a_search_leaves_repeats_out(tmp_path: Path) -> None:
    from tuner.views.plots import sweep as plots

    sweep(tmp_path, flat, LINE, trials=1).close()
    (before,) = tuner.studies(tmp_path)
    confirm(tmp_path, top=1, repeats=40)
    (after,) = tuner.studies(tmp_path)
    assert (after.best, after.best_trial) == (before.best, before.best_trial)

    study = tuner.open("night", results=tmp_path)
    figure = plots.progress(study.state)
    assert "1 trial;" in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_xlim()[1] < 3
    assert len(study.trials) == 41
    assert study.trials["objective"].max() > (before.best or 0.0)
    study.close()


# ── which code ──────────────────────────────────────────────────────────────────────────────────

MODULE = """
def train(run):
    for _ in run.steps(2):
        run.report(score={score})
"""


def module_of_today(folder: Path, name: str, score: str) -> None:
    """A module as somebody has just written it, not imported yet."""
    sys.modules.pop(name, None)
    (folder / f"{name}.py").write_text(MODULE.format(score=score))
    importlib.invalidate_caches()


def test_a_stale_pickle_never_wins_over_the_code_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {"__name__": "unimportable"}
    module_of_today(tmp_path, "code_of_today", "run.params['x']")
    exec(compile(MODULE.format(score="run.params['x']"), str(tmp_path / "code_of_today.py"), "exec"), names)
    sweep(tmp_path, names["train"], LINE).close()
    kept = tmp_path / "night" / KEPT
    stale = kept.read_bytes()
    sweep(tmp_path, "code_of_today:train", LINE).close()  # the same source, by import path now
    assert not kept.exists()
    kept.write_bytes(stale)
    module_of_today(tmp_path, "code_of_today", "-run.params['x']")
    assert all(each.now is not None and each.now < 0 < each.then for each in recheck(tmp_path).leaders)


def test_a_script_that_was_edited_since_is_refused_rather_than_trained_as_it_was(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    names: dict[str, Any] = {"__name__": "unimportable"}
    script.write_text(MODULE.format(score="run.params['x']"))
    exec(compile(script.read_text(), str(script), "exec"), names)
    sweep(tmp_path, names["train"], LINE).close()
    script.write_text(MODULE.format(score="-run.params['x']"))
    for verb in (confirm, recheck):
        with pytest.raises(StudyError, match=r"changed in .*script\.py"):
            verb(tmp_path)
    script.write_text(MODULE.format(score="run.params['x']"))
    recheck(tmp_path)


SCRIPT = """
import sys
import tuner
from tuner import Space, linear


def train(run):
    for _ in run.steps(2):
        run.report(score={score})


if sys.argv[1] == "sweep":
    tuner.sweep(
        train, Space(x=linear(0.0, 1.0)), name="night", objective="score", trials=4, executor="local", stopping="off",
        results=sys.argv[2], progress="off",
    )
else:
    found = tuner.recheck("night", results=sys.argv[2], progress="off")
    print([each.now for each in found.leaders])
"""


@pytest.mark.long
def test_a_script_that_calls_recheck_itself_trains_its_function_of_today(tmp_path: Path) -> None:
    def run_script(verb: str, score: str) -> str:
        (tmp_path / "script.py").write_text(SCRIPT.format(score=score))
        command = [sys.executable, str(tmp_path / "script.py"), verb, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    run_script("sweep", "run.params['x']")
    assert all(score < 0 for score in json.loads(run_script("recheck", "-run.params['x']")))
