from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from sweeping import sweep

import tuner
from tuner import Run, Space, Study, log, log_one_minus
from tuner.record.leaders import leaders
from tuner.values.numbers import number
from tuner.views.terminal import Progress, chart, summary
from tuner.workloads import bowl

SPACE = Space(learning_rate=log(1e-4, 10.0), beta=log_one_minus(0.9, 0.999))
CONTROL = re.compile(r"\x1b")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train(run: Run) -> None:
    ball = bowl.Ball()
    for step in run.steps(20):
        if run.params["learning_rate"] < 2e-4:
            raise ValueError("too small [bold]to bother[/bold]")
        ball.roll(run.params["learning_rate"], run.params["beta"])
        run.report(loss=ball.height, score=-ball.height, test_score=step / 100)


def swept(progress: Progress | None, trials: int = 30) -> Study:
    return tuner.sweep(
        train,
        SPACE,
        name="night",
        objective="score",
        trials=trials,
        executor="local",
        clock="virtual",
        seed=1,
        store="memory",
        progress="off" if progress is None else progress,
        failures_in_a_row=100,
    )


def rendered(study: Study, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(summary(study))
    return file.getvalue()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=200))
@example([1.7e308, -1.7e308])
def test_a_chart_keeps_within_its_frame(values: list[float]) -> None:
    lines = chart(values, width=40, height=5)
    assert len(lines) == 5
    assert max(len(line) for line in lines) <= 40


def test_a_chart_rises_with_its_values_and_leaves_a_gap_for_nan() -> None:
    assert chart([0.0, math.nan, 1.0], height=2) == ["  █", "▁ █"]


# ── while it trains ─────────────────────────────────────────────────────────────────────────────


def test_off_a_terminal_progress_is_a_few_plain_lines_and_every_round() -> None:
    file = io.StringIO()
    study = swept(Progress(file, clock=lambda: 0.0))
    lines = file.getvalue().splitlines()
    assert not CONTROL.search(file.getvalue())
    assert sum(line.startswith("round ") for line in lines) == len(study.state.rounds_with_trials())
    assert any("[bold]to bother[/bold]" in line for line in lines)
    assert lines[-1].startswith("night: 30 of 30 tried; ")
    assert len([line for line in lines if line.startswith("night:")]) <= 2


def test_on_a_terminal_the_cursor_comes_back_and_the_last_state_stays() -> None:
    file = Terminal()
    swept(Progress(file))
    text = file.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "30 of 30" in text[text.rindex("\x1b[?25l") :] or text.rstrip().count("30 of 30")


def test_a_display_that_never_showed_anything_closes_silently() -> None:
    for file in (io.StringIO(), Terminal()):
        Progress(file).close()
        assert file.getvalue() == ""


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    swept(Progress(file), trials=3)
    assert not CONTROL.search(file.getvalue())


# ── afterwards ──────────────────────────────────────────────────────────────────────────────────


def test_the_summary_tells_the_winner_the_leaders_the_rounds_and_the_files() -> None:
    study = swept(None)
    text, best = rendered(study), study.best
    assert best is not None
    for word in (
        f"best score {number(best.score)} (trial {best.trial}, step {best.step})",
        number(best.params["learning_rate"]),
        "1-beta",
        f"{(best.step - 1) / 100:g} at the same step",
        "diverged (",
        "where it looked",
        "round 0",
        "rounds more: the table rounds has them",
    ):
        assert word in text
    assert "files:" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_summary_keeps_within_the_terminal(width: int) -> None:
    assert max(len(line) for line in rendered(swept(None), width).splitlines()) <= width


def test_leaders_are_in_order_and_none_of_them_diverged() -> None:
    study = swept(None).state
    best = leaders(study, 10)
    scores = [trial.best_score or -math.inf for trial in best]
    assert scores == sorted(scores, reverse=True)
    assert best[0].trial == study.winner
    assert all(trial.state != "diverged" for trial in best)


def test_the_summary_of_a_study_without_a_score_says_so(tmp_path: Path) -> None:
    def silent(run: Run) -> None:
        raise ValueError("not today")

    with pytest.raises(tuner.TunerError):
        tuner.sweep(silent, SPACE, name="night", objective="score", executor="local", results=tmp_path, progress="off")
    study = tuner.open("night", results=tmp_path)
    text = " ".join(rendered(study).split())
    assert "trial 4, failed: ValueError: not today" in text
    study.close()


def test_a_round_is_one_short_line_and_an_end_of_the_space_is_named_once_in_the_summary(tmp_path: Path) -> None:
    space = tuner.Space(rate=tuner.linear(0.5, 0.9))

    def rises(run: tuner.Run) -> None:
        for _ in run.steps(3):
            run.report(score=run.params["rate"])

    file = io.StringIO()
    study = sweep(tmp_path, rises, space, trials=14, stopping="off", progress=Progress(file))
    rounds = [line for line in file.getvalue().splitlines() if line.startswith("round ")]
    assert rounds
    assert not [line for line in rounds if "wider" in line or "widened" in line]
    console = Console(width=200)
    with study, console.capture() as shown:
        console.print(summary(study))
    (told,) = [line for line in shown.get().splitlines() if "end of its range" in line]
    assert "rate 0.9 (upper)" in told
    assert "tuner explain night" in told


def test_the_summary_counts_the_trials_that_are_still_to_come(tmp_path: Path) -> None:
    study = sweep(tmp_path, steady, tuner.Space(rate=tuner.linear(0.1, 0.9)), trials=14, budget_steps=8, stopping="off")
    with study:
        assert "4 of 14 trials tried" in rendered(study)


def test_the_summary_of_a_sweep_that_is_not_done_asks_for_no_more_trials(tmp_path: Path) -> None:
    space = tuner.Space(rate=tuner.linear(0.1, 0.9))
    with sweep(tmp_path, steady, space, trials=40, budget_steps=12, stopping="auto") as study:
        text = " ".join(rendered(study).split())
        assert "was overtaken" in text
        assert "asked for" not in text


def steady(run: Run) -> None:
    weight = [0.0]
    run.state(
        save=lambda folder: (folder / "weight").write_text(str(weight[0])),
        load=lambda folder: weight.__setitem__(0, float((folder / "weight").read_text())),
    )
    for step in run.steps(2):
        weight[0] += run.params["rate"]
        run.report(score=weight[0] + step)
