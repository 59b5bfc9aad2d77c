"""Several seeds a trial: one function, called once for each, side by side; what they score, save and raise as one."""

from __future__ import annotations

import contextlib
import io
import os
import random
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sweeping import sweep
from test_training import Script, order
from test_training import trained as train

import tuner
from tuner.api.identity import begin
from tuner.cli import main
from tuner.errors import IdentityMismatch, SettingsError, StudyError
from tuner.record.events import StudyOpened
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.values.numbers import number
from tuner.views.terminal import best_of, summary
from tuner.worker.divergence import DivergenceAlarm
from tuner.worker.messages import Ended, Job, Pause, Saved, Stop, Warned
from tuner.worker.run import Run
from tuner.worker.seeds import mean_and_spread, seed_of
from tuner.worker.storage import FolderStorage

JOB = Job(study="night", function="m:f", search_path=(), objective="score", seeds=3)
SPREAD = "score (spread)"
SPACE = tuner.Space(learning_rate=tuner.log(1e-4, 1.0))
OWN = [11, seed_of(11, 1), seed_of(11, 2)]


class Walk:
    """Something that trains: all its steps so far, from a generator that is not its own."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def take(self) -> float:
        self.steps.append(random.random() + float(np.random.random()))
        return sum(self.steps)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": list(self.steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = list(state["steps"])


def walks(run: Run, steps: int = 6) -> None:
    random.seed(run.seed)
    np.random.seed(run.seed % 2**32)
    walk = Walk()
    run.state(walk)
    for _ in run.steps(steps):
        run.report(score=walk.take(), length=len(walk.steps))


def alone(function: Callable[[Run], None], seed: int) -> list[float]:
    """What a function scores by itself."""
    run = Run({}, seed=seed)
    function(run)
    return [report.scores["score"] for report in run.reports]


def trained(function: Callable[[Run], Any], script: Script | None = None, **more: Any) -> tuple[Ended, Script]:
    script = script or Script()
    return train(function, order(**more), JOB, script), script


def averaged(function: Callable[[Run], None]) -> list[tuple[int, float]]:
    """The means, step by step, of what the three seeds score by themselves."""
    columns = zip(*(alone(function, seed) for seed in OWN), strict=True)
    return [(step, pytest.approx(statistics.fmean(column))) for step, column in enumerate(columns, 1)]  # type: ignore[misc]


# ── what a trial scores ─────────────────────────────────────────────────────────────────────────


def test_a_trial_scores_the_mean_of_its_seeds_at_every_step_as_each_would_have_scored_alone() -> None:
    ended, script = trained(walks)
    assert (ended.state, ended.step) == ("completed", 6)
    assert script.scores() == averaged(walks)
    columns = zip(*(alone(walks, seed) for seed in OWN), strict=True)
    assert [value for _, value in script.scores(SPREAD)] == pytest.approx([*map(statistics.stdev, columns)])
    assert script.scores("length") == [(step, step) for step in range(1, 7)]


def test_the_first_seed_is_the_trials_own_and_all_differ() -> None:
    seen: list[int] = []
    trained(lambda run: seen.append(run.seed))
    assert seen == OWN
    assert len(set(seen)) == 3


def test_seeds_that_change_nothing_have_their_own_score_to_the_last_digit() -> None:
    assert mean_and_spread([0.1, 0.1, 0.1]) == (0.1, 0.0)
    _, script = trained(lambda run: run.report(score=0.1))
    assert (script.scores(), script.scores(SPREAD)) == ([(1, 0.1)], [(1, 0.0)])


def test_what_is_returned_is_a_score_too() -> None:
    _, script = trained(lambda run: float(OWN.index(run.seed)))
    assert (script.scores(), script.scores(SPREAD)) == ([(1, 1.0)], [(1, 1.0)])


def test_what_one_seed_alone_reports_is_no_mean_and_is_left_out() -> None:
    def tells(run: Run) -> None:
        for _ in run.steps(2):
            run.report(score=1.0, **({"gift": 1.0} if run.seed == 11 else {}))

    _, script = trained(tells)
    assert script.scores() == [(1, 1.0), (2, 1.0)]
    assert script.scores("gift") == []


def test_a_seed_that_is_done_earlier_keeps_its_last_score() -> None:
    def impatient(run: Run) -> None:
        for step in run.steps(4):
            run.report(score=step)
            if run.seed == 11 and step == 1:
                break
        run.report(test=run.done)

    ended, script = trained(impatient)
    assert ended.state == "completed"
    assert script.scores() == [(1, 0), (2, 1), (3, pytest.approx(5 / 3)), (4, pytest.approx(7 / 3))]
    assert script.scores("test") == [(4, 3)]


def test_one_goes_on_at_a_time_from_step_to_step_in_turn() -> None:
    order_of: list[tuple[int, int]] = []

    def notes(run: Run) -> None:
        order_of.extend((step, OWN.index(run.seed)) for step in run.steps(2))

    trained(notes)
    assert order_of == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_each_seed_begins_where_the_trial_does_and_keeps_its_own_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def moves(run: Run) -> None:
        os.chdir("data")
        for _ in run.steps(2):
            run.report(score=float(Path.cwd() == tmp_path / "data"))

    ended, script = trained(moves)
    assert (ended.state, script.scores()) == ("completed", [(1, 1.0), (2, 1.0)])


def test_each_seed_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders: list[Path | None] = []
    train(lambda run: folders.append(run.folder), order(), replace(JOB, trials_folder=tmp_path), Script())
    assert folders == [tmp_path / "3" / f"seed-{number}" for number in range(3)]


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


def test_what_one_seed_raises_ends_the_trial_and_its_traceback_begins_in_the_users_file() -> None:
    left: list[int] = []

    def breaks(run: Run) -> None:
        try:
            for step in run.steps(4):
                if run.seed == OWN[1] and step == 2:
                    raise ZeroDivisionError("too small")
                run.report(score=1.0)
        finally:
            left.append(run.seed)

    ended, script = trained(breaks)
    assert (ended.state, ended.why, ended.error[0]) == ("failed", "ZeroDivisionError: too small", "ZeroDivisionError")
    first, second = ended.traceback.splitlines()[:2]
    assert first.startswith("Traceback")
    assert __file__ in second
    assert "worker" not in ended.traceback
    assert f"Seed 2 of 3 raised it: run.seed = {OWN[1]}" in ended.traceback
    assert sorted(left) == sorted(OWN)
    assert [step for step, _ in script.scores()] == [1, 2]


def test_a_seed_that_is_no_number_is_a_trial_that_diverged_and_which_it_was_is_said() -> None:
    def explodes(run: Run) -> None:
        for step in run.steps(5):
            run.report(score=float("nan") if run.seed == OWN[2] and step == 1 else 0.5)

    alarm = DivergenceAlarm(objective="score", goal="maximize")
    script = Script()
    ended = train(explodes, order(), replace(JOB, alarm=alarm), script)
    assert (ended.state, ended.why, ended.step) == ("diverged", "score is nan at step 2", 2)
    (warned,) = script.said(Warned)
    assert "1 of 3 seeds" in warned.text
    assert str(OWN[2]) in warned.text


def test_a_stop_takes_effect_between_two_steps_of_all_seeds() -> None:
    taken: list[int] = []

    def counts(run: Run) -> None:
        for step in run.steps(6):
            run.report(score=step)
        taken.append(run.done)
        assert run.ended == "enough"
        run.report(score=100.0)

    ended, script = trained(counts, Script({2: [Stop(trial=3, state="stopped", why="enough")]}))
    assert (ended.state, ended.why, taken) == ("stopped", "enough", [2, 2, 2])
    assert script.scores() == [(1, 0), (2, 1)]
    assert script.scores("score (after the end)") == [(2, 100.0)]


def test_a_function_that_waits_within_a_step_is_stopped_there_with_every_seed() -> None:
    asked: list[int] = []

    def waits(run: Run) -> None:
        run.step()
        while run.goes_on():
            asked.append(run.seed)
            if len(asked) == 4:
                break
        assert run.ended in (None, "enough")

    class Impatient(Script):
        def passed(self, trial: int, step: int) -> None:
            super().passed(trial, step)
            if len(asked) == 3:
                self._due.append(Stop(trial=3, state="stopped", why="enough"))

    ended, _ = trained(waits, Impatient())
    assert (ended.state, asked) == ("stopped", OWN)


def test_a_state_that_one_seed_alone_registers_is_refused_with_a_sentence() -> None:
    def halves(run: Run) -> None:
        if run.seed == 11:
            run.state(Walk())
        for _ in run.steps(2):
            run.report(score=1.0)

    ended, _ = trained(halves)
    assert ended.state == "failed"
    assert "with every seed" in ended.why


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────


def paused_at(step: int, function: Callable[[Run], None], folder: Path) -> tuple[Saved, Script]:
    """A trial that gives its worker back after a step, and the checkpoint that it leaves."""
    ended, script = trained(
        function, Script({step: [Pause(trial=3, why="later", release=True)]}), storage=FolderStorage(folder)
    )
    assert (ended.state, ended.released, ended.step) == ("paused", True, step)
    return script.said(Saved)[-1], script


def resumed(saved: Saved, function: Callable[[Run], None], folder: Path) -> tuple[Ended, Script]:
    random.seed(0)  # another process would have other generators
    np.random.seed(0)
    storage = FolderStorage(folder)
    return trained(function, storage=storage, checkpoint=saved.path, sha256=saved.sha256, from_step=saved.step)


def test_a_trial_that_was_paused_goes_on_with_every_seed_to_the_same_scores(tmp_path: Path) -> None:
    saved, before = paused_at(3, walks, tmp_path)
    ended, after = resumed(saved, walks, tmp_path)
    assert (ended.state, ended.step) == ("completed", 6)
    assert [*before.scores(), *after.scores()] == averaged(walks)
    assert after.scores("length") == [(4, 4), (5, 5), (6, 6)]


def test_functions_that_save_into_a_folder_have_one_for_each_seed(tmp_path: Path) -> None:
    def saves(run: Run) -> None:
        count = [0]

        def load(folder: Path) -> None:
            seed, count[0] = map(int, (folder / "state").read_text().split())
            assert seed == run.seed

        run.state(save=lambda folder: (folder / "state").write_text(f"{run.seed} {count[0]}"), load=load)
        for _ in run.steps(4):
            count[0] += 1
            run.report(score=count[0])

    saved, _ = paused_at(2, saves, tmp_path)
    ended, after = resumed(saved, saves, tmp_path)
    assert (ended.state, after.scores()) == ("completed", [(3, 3), (4, 4)])


def test_a_seed_that_was_done_when_the_others_were_paused_is_not_trained_again(tmp_path: Path) -> None:
    trained_by: list[int] = []

    def impatient(run: Run) -> None:
        walk = Walk()
        run.state(walk)
        for step in run.steps(4):
            trained_by.append(run.seed)
            run.report(score=step)
            if run.seed == 11 and step == 0:
                break

    saved, before = paused_at(2, impatient, tmp_path)
    assert before.scores() == [(1, 0), (2, pytest.approx(2 / 3))]
    trained_by.clear()
    ended, after = resumed(saved, impatient, tmp_path)
    assert (ended.state, 11 in trained_by) == ("completed", False)
    assert after.scores() == [(3, pytest.approx(4 / 3)), (4, 2)]


def test_a_checkpoint_of_one_training_is_refused_where_three_are_expected(tmp_path: Path) -> None:
    script = Script({3: [Pause(trial=3, why="later", release=True)]})
    train(walks, order(storage=FolderStorage(tmp_path)), replace(JOB, seeds=1), script)
    ended, _ = resumed(script.said(Saved)[-1], walks, tmp_path)
    assert ended.state == "failed"
    assert "one training" in ended.why


def shell(*words: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code
    return said.getvalue()


# ── a sweep ─────────────────────────────────────────────────────────────────────────────────────


def noisy(run: Run) -> None:
    walk, rng = Walk(), np.random.default_rng(run.seed)
    run.state(walk)
    for step in run.steps(9):
        walk.take()
        run.report(score=step * run.params["learning_rate"] + float(rng.normal()))


def test_a_sweep_of_several_seeds_has_a_row_a_trial_with_mean_and_spread(tmp_path: Path) -> None:
    with sweep(tmp_path, noisy, SPACE, trials=3, seeds=3, stopping="off", sampler="random") as study:
        trials = study.trials
        assert list(trials["state"]) == ["completed"] * 3
        assert list(trials["steps"]) == [9] * 3
        assert (trials["spread"] > 0).all()
        assert f"score.{SPREAD}" not in trials
        assert study.best is not None
        assert study.best.spread == trials["spread"][study.best.trial]
        assert study.state.seeds == 3


def test_where_scores_stand_the_spread_of_the_seeds_stands_beside_them(tmp_path: Path) -> None:
    sweep(tmp_path, noisy, SPACE, trials=9, seeds=3, stopping="off").close()
    with tuner.open("night", results=tmp_path) as study:
        best = study.best
        assert best is not None
        assert best.spread is not None
        told = f"{number(best.score)} ± {number(best.spread, 2)}"
        console = Console(width=200, file=io.StringIO())
        console.print(summary(study), best_of(study.state))
        assert console.file.getvalue().count(told) == 3  # type: ignore[attr-defined]  # the winner, its row, the line
        explained = str(study.explain())
        assert f"the mean of 3 seeds, which differ by ±{number(best.spread, 2)}" in explained
        assert "other seeds change a mean of 3 by" in explained
    (line,) = tuner.studies(tmp_path)
    assert line.spread == best.spread
    for words in (["ls"], ["show", f"night/{best.trial}"]):
        assert told in shell(*words, "--results", str(tmp_path), "--no-json")


def test_a_trial_of_several_seeds_is_not_promoted_and_what_to_do_is_said(tmp_path: Path) -> None:
    sweep(tmp_path, noisy, SPACE, trials=1, seeds=3).close()
    with pytest.raises(StudyError, match=r"3 models, one a seed.*tuner babysit .*noisy --set learning_rate="):
        tuner.promote("night", 0, results=tmp_path)
    assert not (tmp_path / "night-0").exists()


def test_a_function_without_a_state_trains_with_several_seeds_too(tmp_path: Path) -> None:
    def boosts(run: Run) -> None:
        for step in run.steps(9):
            run.report(score=step + run.params["learning_rate"] + run.seed % 7)

    with sweep(tmp_path, boosts, SPACE, trials=8, seeds=3, stopping="asha") as study:
        assert {*study.trials["state"]} == {"completed", "pruned"}
        assert (study.trials["spread"] > 0).all()


def test_a_program_runs_once_for_each_seed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; print('score', int(sys.argv[1]) % 97)", "{seed}", "{width}"]
    program = tuner.command(words, metric=r"score (\d+)")
    with sweep(tmp_path, program, tuner.Space(width=tuner.integer(0, 9)), trials=1, seeds=3) as study:
        own = study.state.trials[0].seed
        scores = [seed_of(own, number) % 97 for number in range(3)]
        assert study.best_score == pytest.approx(statistics.fmean(scores))
        assert study.best is not None
        assert study.best.spread == pytest.approx(statistics.stdev(scores))
    folders = (tmp_path / "night" / "trials" / "0").iterdir()
    assert sorted(each.name for each in folders) == ["seed-0", "seed-1", "seed-2"]


def test_leaders_are_repeated_and_confirmed_with_as_many_seeds(tmp_path: Path) -> None:
    with sweep(tmp_path, noisy, SPACE, trials=12, seeds=2, stopping="off", repeats="auto") as study:
        again = study.trials.query("purpose == 'repeat'")
        assert len(again) > 0
        assert (again["spread"] > 0).all()
    found = tuner.confirm("night", top=2, repeats=2, results=tmp_path, progress="off")
    assert [len(each.scores) for each in found.candidates] == [2, 2]
    with tuner.open("night", results=tmp_path) as study:
        assert (study.trials.query("purpose == 'confirm'")["spread"] > 0).all()


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    with sweep(tmp_path, noisy, SPACE, trials=2) as study:
        assert study.trials["spread"].isna().all()
        assert study.best is not None
        assert study.best.spread is None


def test_more_seeds_do_not_change_what_is_drawn_first(tmp_path: Path) -> None:
    with (
        sweep(tmp_path, noisy, SPACE, name="one", trials=1) as one,
        sweep(tmp_path, noisy, SPACE, trials=1, seeds=3) as three,
    ):
        drawn = [(trial.params, trial.seed) for trial in (one.state.trials[0], three.state.trials[0])]
    assert drawn[0] == drawn[1]


def test_a_study_of_several_seeds_is_a_function_of_its_seed_also_where_it_pauses(tmp_path: Path) -> None:
    def scores(name: str) -> list[Any]:
        with sweep(tmp_path, noisy, SPACE, name=name, trials=9, seeds=2) as study:
            return [(each.params, each.state, each.best_score) for each in study.state.trials]

    first = scores("first")
    assert first == scores("second")
    assert any(state == "paused" for _, state, _ in first)


@pytest.mark.parametrize("others", [1, 2])
def test_another_number_of_seeds_is_another_study(tmp_path: Path, others: int) -> None:
    sweep(tmp_path, noisy, SPACE, trials=1, seeds=3, sampler="random").close()
    with pytest.raises(IdentityMismatch, match=rf"another seeds: it has 3, this call has {others}"):
        sweep(tmp_path, noisy, SPACE, trials=2, seeds=others, sampler="random")


def test_a_study_begun_before_there_was_a_choice_goes_on_with_one_seed() -> None:
    identity = {"space": SPACE.to_dict(), "objective": "score", "goal": "maximize", "seed": 0, "sampler": "random"}
    usual = {"name": "night", "kind": "sweep", "function": "m:f", "source_sha256": "", "version": "0.1", "at": 1.0}
    state, records = StudyState(), Store.in_memory()
    records.acquire(1.0)
    begin(state, records, StudyOpened(identity=identity, **usual), {})  # type: ignore[arg-type]
    begin(state, records, StudyOpened(identity={**identity, "seeds": 1}, **usual), {})  # type: ignore[arg-type]
    assert state.seeds == 1
    with pytest.raises(IdentityMismatch, match="another seeds: it has 1, this call has 3"):
        begin(state, records, StudyOpened(identity={**identity, "seeds": 3}, **usual), {})  # type: ignore[arg-type]
    records.close()


def test_a_budget_of_steps_counts_those_of_every_seed(tmp_path: Path) -> None:
    with sweep(tmp_path, noisy, SPACE, trials=None, seeds=3, budget_steps=100, sampler="random") as study:
        assert 81 <= 3 * study.state.steps_done <= 100


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"seeds": 0}, "whole number from 1 up"),
        ({"seeds": 101}, "at most 100"),
        ({"seeds": 2.5}, "whole number"),
        ({"seeds": 3, "budget_steps": 2}, "less than one step"),
        ({"seeds": 3, "train": None, "executor": "external"}, "Leave seeds out"),
    ],
)
def test_seeds_that_make_no_sense_are_refused_where_they_are_written(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    given = {"train": noisy, "space": SPACE, "name": "n", "objective": "score", "executor": "local", **more}
    with pytest.raises(SettingsError, match=told):
        tuner.sweep(results=tmp_path, progress="off", **given)
    assert not (tmp_path / "n").exists()
