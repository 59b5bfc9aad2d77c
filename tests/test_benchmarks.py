"""What the benchmarks stand on: problems whose best is known, luck told from worth, and goals that can be missed."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from waiting import wait_until

from tuner import Space, choice, linear, log
from tuner.space.parameters import Choice, Parameter

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # the folder is no package

import clearing
import constructed
import faults
import recordings
import regret
import report
import rivals
import search
from rows import Goal, Measured, Row, grid, lines_of
from standing import standing

BRANCHES = Space(kind=choice("plain", "deep"), depth=linear(1.0, 9.0, when={"kind": "deep"}), rate=log(1e-4, 1.0))


@pytest.mark.parametrize("number", range(24))
def test_a_constructed_problem_is_best_inside_and_nowhere_above_one(number: int) -> None:
    problem = constructed.problem(number)
    rng = np.random.default_rng(number)
    assert max(problem.worth(problem.space.sample(rng)) for _ in range(200)) < 1.0
    chosen = {name: option for (name, option), cost in problem.behind.items() if cost == 0.0}
    assert set(chosen) == {name for name, parameter in problem.space.items() if isinstance(parameter, Choice)}

    def best_of(name: str) -> object:
        parameter = problem.space[name]
        if not isinstance(parameter, Parameter):
            return chosen[name]
        place = problem.optimum(name, chosen)
        assert 0.05 < place < 0.95
        return parameter.from_unit(place)

    best = rivals.walked(problem.space, best_of)
    assert problem.worth(best) == pytest.approx(1.0, abs=1e-9)
    assert max(problem.curve(best)) == pytest.approx(1.0, abs=1e-9)


def test_the_problem_of_a_number_is_always_the_same() -> None:
    assert constructed.problem(5) == constructed.problem(5)
    assert constructed.problem(5).optima != constructed.problem(6).optima


def test_a_peer_is_asked_only_for_what_exists() -> None:
    assert set(rivals.settings(BRANCHES, {"kind": "plain", "depth": 0.5, "rate": 0.5})) == {"kind", "rate"}
    assert rivals.settings(BRANCHES, {"kind": "deep", "depth": 0.5, "rate": 0.5})["depth"] == 5.0


def test_coordinates_at_a_bound_are_counted_where_there_is_a_bound() -> None:
    drawn = [{"kind": "plain", "rate": 1e-4}, {"kind": "deep", "depth": 5.0, "rate": 0.01}]
    assert recordings.border(BRANCHES, drawn) == pytest.approx(1 / 3)


def test_the_incumbent_is_the_luckiest_and_counts_by_its_worth() -> None:
    epochs = [regret.Epoch(0.5, 0.5, 1.0), regret.Epoch(0.9, 0.2, 2.0), regret.Epoch(0.8, 0.8, 3.0)]
    assert regret.rises(epochs) == [(1, 0.5, 1.0), (2, 0.2, 2.0)]


def test_what_is_claimed_and_what_is_chosen_are_measured_on_one_scale() -> None:
    search = regret.Search(
        steps=3, seconds=3.0, rises=[(1, 0.5, 1.0)], best=1.0, bad=0.0, trials=2, claim=0.9, worth=0.2, border=0.0
    )
    assert [search.chosen, search.boast] == pytest.approx([0.8, 0.7])


def test_a_goal_is_missed_reached_or_not_measured() -> None:
    within = Goal(at_least=-0.1, at_most=0.1)
    assert [Row("claim", value, goal=within).verdict for value in (0.05, 0.2, -0.2)] == ["reached", "missed", "missed"]
    assert Row("rate", "no figure", goal=within).verdict == "not measured"
    assert Row("rate", 3.0, other=2.0, goal=Goal(at_least=2, times=True)).verdict == "missed"
    assert Row("rate", math.nan, goal=within).verdict == "missed"


def test_a_row_shows_its_unit_its_spread_and_its_goal() -> None:
    row = Row("a draw", Measured.of([3.0, 1.0, 2.0]), "ms", goal=Goal(at_most=5))
    heads, line = lines_of([row])
    assert heads == ("row", "tuner", "spread", "goal", "verdict")
    assert line == ("a draw", "2 ms", "1 to 3", "≤ 5 ms", "reached")


def test_a_section_takes_the_place_of_its_earlier_self_and_a_new_one_stands_before_the_last() -> None:
    page = "# Page\n\n## One\n\nold\n\n## Where\n\nhere\n"
    assert report.within(page, "## One\n\nnew\n\n") == "# Page\n\n## One\n\nnew\n\n## Where\n\nhere\n"
    assert report.within(page, "## Two\n\n2\n\n") == "# Page\n\n## One\n\nold\n\n## Two\n\n2\n\n## Where\n\nhere\n"


def test_a_command_is_shown_without_where_things_lie() -> None:
    typed = ["search.py", "--only", "adam8", "--data", "/some/where", "--cache", "/tmp/c", "--markdown", "p.md"]
    assert search.asked_for(typed, "/some/where") == "python search.py --only adam8 --data FOLDER"


def test_every_other_task_is_kept_apart_from_tuning() -> None:
    assert [search.half_of(number) for number in range(4)] == ["tune", "report", "tune", "report"]


# ── faults ──────────────────────────────────────────────────────────────────────────────────────

RUN_OF_FAULTS = """
import subprocess, sys, time
from clearing import cleared
with cleared() as folder:
    started = subprocess.Popen(["sleep", "600"], start_new_session=True)
    standing = subprocess.Popen(["sleep", "600"], start_new_session=True, cwd=folder, env={})
    print(folder, started.pid, standing.pid, flush=True)
    time.sleep(600)
"""


def test_a_run_of_faults_that_is_killed_leaves_no_process_and_no_file_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN_OF_FAULTS],
        cwd=clearing.__file__.rpartition("/")[0],
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        folder, *pids = run.stdout.readline().split()
        run.kill()
    wait_until(lambda: not Path(folder).exists())
    assert not [pid for pid in map(int, pids) if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_what_was_not_tried_anew_stands_as_the_page_has_it(tmp_path: Path) -> None:
    page, heads = tmp_path / "faults.md", ("fault", "tried", "what a person reads")
    lines = [heads, ("killed", "7", "a | b"), ("drowned", "not tried: left out", "")]
    page.write_text(f"# Faults\n\n{grid(lines)}\n\n- `killed`, lost: step 3\n- cpu: one\n")
    found = standing(page, heads)
    assert found.rows == {"killed": ("killed", "7", "a | b")}
    assert found.complaints == {"killed": ["`killed`, lost: step 3"]}
    assert standing(page, ("fault", "tried")).rows == {}, "a table with other columns is another table"
    assert standing(tmp_path / "nowhere.md", heads).rows == {}


def test_the_page_of_faults_says_how_busy_the_machine_was_meanwhile() -> None:
    lines: dict[str, list[dict[str, object]]] = {
        "killed": [{"load": "9.5"}, {"load": "1.0"}],
        "stopped": [{"load": "17.2"}],
        "of before": [{}],
    }
    assert faults.strain(lines).startswith("1.0 to 17.2 during the tries of 2 of ")
    assert "not known" in faults.strain({"of before": [{}]})
