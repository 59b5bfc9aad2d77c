"""What the pages say is so: their code runs, their commands parse, and nothing that a user meets goes unnamed."""

from __future__ import annotations

import inspect
import re
import shlex
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from waiting import PATIENCE_S
from workplaces import standing_in

import tuner
import tuner.callbacks
import tuner.cli
import tuner.tables
from tuner.cli import FAILED, INTERRUPTED, USAGE
from tuner.cli.output import NOT_YET
from tuner.cli.starting import SAMPLERS, STOPPING
from tuner.record.events import ENDED, LIVE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "cluster/README.md", "benchmarks/README.md")


def section(heading: str) -> str:
    """What stands under a heading of the README, down to the next one of its rank or above."""
    marks, rest = re.split(rf"^(##+) {heading}\n", README, maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{2,{len(marks)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(language: str, page: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading."""
    lines = re.findall(r"^\|(.*)\|$", section(heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith("---")]


def shell_lines(page: str = README) -> Iterator[list[str]]:
    """The words of every line in the shell blocks, without comments."""
    for block in blocks("bash", page):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def parsed(arguments: list[str]) -> click.Context:
    """The arguments as tuner's own command line reads them; an unknown verb or option raises."""
    context = click.Context(tuner.cli.cli, info_name="tuner")
    _, command, rest = tuner.cli.cli.resolve_command(context, arguments)
    assert command is not None
    return command.make_context(arguments[0], rest, parent=context)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the README's training function in it, where a reader would stand."""
    with standing_in(tmp_path, blocks("python", section("Your training function"))[0]):
        monkeypatch.syspath_prepend(tmp_path)
        yield tmp_path


# ── the code runs ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.ray
def test_the_journeys_from_training_to_tables_run_as_written(project: Path) -> None:
    names: dict[str, Any] = {}
    for block in [*blocks("python", section("Sweep")), *blocks("python", section("Read and export"))]:
        exec(block, names)

    assert names["study"].best.score > 0.9
    assert len(names["study"].trials) == 64
    for block in blocks("python", section("What it learned")):
        exec(block, names)
    assert (project / "night.html").is_file()
    assert set(tuner.open("night").trials["purpose"]) == {"search", "confirm"}
    assert len(names["curves"].columns) == 64
    assert {path.name for path in (project / "tables").iterdir()} == {f"{name}.csv" for name in tuner.tables.COLUMNS}
    names["study"].close()


def test_the_training_function_trains_without_anything_around_it(project: Path) -> None:
    import my_training  # type: ignore[import-not-found]

    exec(blocks("python", section("Your training function"))[1], {"train": my_training.train, "tuner": tuner})
    assert tuner.check(my_training.train, {"learning_rate": 0.1, "beta": 0.9}, steps=4).same


def test_a_running_sweep_is_steered_as_written(project: Path) -> None:
    ended: list[tuner.Study] = []

    def sweep() -> None:
        ended.append(
            tuner.sweep(
                slow,
                "sgd_momentum",
                name="night",
                objective="loss",
                goal="minimize",
                trials=10_000,
                executor="local",
                progress="off",
            )
        )

    running = threading.Thread(target=sweep, daemon=True)
    running.start()
    while not (project / "results/night/study.db").exists() or not is_steerable("night"):
        time.sleep(0.02)
    exec(blocks("python", section("Watch and steer"))[0], {"tuner": tuner})
    running.join(PATIENCE_S)

    study = ended[0]
    assert list(study.requests["verb"]) == ["add", "set_box", "set_parallel", "stop"]
    assert set(study.requests["state"]) == {"applied"}
    assert {"learning_rate": 0.05, "beta": 0.95} in [trial.params for trial in study.state.trials]
    study.close()


@pytest.mark.ray
def test_a_run_is_babysat_as_written(project: Path) -> None:
    begin, look_after = blocks("python", section("Babysit"))[:2]
    names: dict[str, Any] = {}
    exec(begin, names)
    run: tuner.RunHandle = names["run"]
    while not run.study.state.trials[0].stands_still:
        time.sleep(0.1)
    exec(look_after, names)

    study = run.study
    assert study.state.trials[0].state == "completed"
    assert list(study.adjustments["verdict"]) == ["taken back"]
    assert list(study.requests["verb"]) == ["step", "set", "step", "revert", "resume"]
    assert [each.name for each in study.forks()] == ["first-2"]
    assert (project / "results/first/logbook.md").is_file()


def test_the_callbacks_are_called_as_written() -> None:
    (code,) = blocks("python", section("Where a framework owns the loop"))
    names: dict[str, Any] = {}
    exec(code, names)
    for name in tuner.callbacks.__all__:
        assert names[name] is getattr(tuner.callbacks, name)
        assert f"callbacks=[{name}(run)]" in code or f"callback = {name}(run)" in code


def slow(run: tuner.Run) -> None:
    for step in run.steps(20):
        time.sleep(0.002)
        run.report(loss=1.0 / (1 + step))


def is_steerable(name: str) -> bool:
    try:
        study = tuner.open(name)
    except tuner.TunerError:
        return False
    holder = study.coordinator(time.time())
    study.close()
    return holder is not None


def test_the_space_in_python_and_the_one_in_toml_are_the_same_where_they_speak_of_the_same() -> None:
    names: dict[str, Any] = {}
    exec(blocks("python", section("What is searched"))[0], names)
    written = tuner.Space.from_toml(blocks("toml", section("What is searched"))[0])

    assert {name: names["space"][name] for name in written} == dict(written)


def test_the_optuna_study_is_made_as_written() -> None:
    for block in blocks("python", section("How it searches")):
        exec(block, {"tuner": tuner})


def test_half_the_draws_of_beta_lie_above_0_99() -> None:
    beta = tuner.log_one_minus(0.9, 0.999)
    mirrored = tuner.log(0.9, 0.999)

    assert beta.to_unit(0.99) == pytest.approx(0.5)
    assert mirrored.to_unit(0.9 + 0.999 - 0.99) == pytest.approx(0.09, abs=0.01)  # what others call reverse log


# ── the commands are commands ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in shell_lines(text):
        if words[0] == "tuner":
            parsed(words[1:])
        elif words[0] == "make":
            assert words[1] in targets
        elif words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file()


def test_every_command_named_within_a_sentence_exists() -> None:
    for page in PAGES:
        for command in re.findall(r"`tuner ([a-z][^`…]*)`", (ROOT / page).read_text()):
            verb, *rest = shlex.split(command)
            assert verb in tuner.cli.cli.commands
            if verb in ("spaces", "show") and rest:
                parsed([verb, *rest])


def test_every_option_named_exists() -> None:
    options = {option for verb in tuner.cli.cli.commands.values() for each in verb.params for option in each.opts} | {
        "--help"
    }
    for option in re.findall(r"`(--[a-z-]+)", README):
        assert option in options


def test_every_option_of_python_named_exists() -> None:
    known = set(inspect.signature(tuner.sweep).parameters)
    for name in ("failures_in_a_row", "retries", "time_limit_s", "silence_limit_s", "checkpoint_every_s"):
        assert f"`{name}" in README
        assert name in known


def test_every_extra_named_exists() -> None:
    extras = PROJECT["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r"(?:tuner|\.)\[([a-z]+)\]", (ROOT / page).read_text()):
            assert named in extras


# ── nothing goes unnamed ────────────────────────────────────────────────────────────────────────


def test_every_table_and_column_is_written_down_in_order() -> None:
    written = {row[0].strip("`"): re.findall(r"`([^`]+)`", row[2]) for row in rows("Tables")[1:]}

    assert written == {name: list(columns) for name, columns in tuner.tables.COLUMNS.items()}


def test_every_public_name_is_named() -> None:
    for name in tuner.__all__:
        assert f"tuner.{name}" in README


def test_every_verb_of_the_shell_is_in_its_table() -> None:
    named = [verb for row in rows("Shell") for verb in re.findall(r"`([a-z]+)`", row[0])]

    assert sorted(named) == sorted(tuner.cli.cli.commands)


def test_every_search_space_is_in_its_table() -> None:
    named = [row[0].strip("`") for row in rows("What is searched")[1:]]

    assert sorted(named) == sorted(path.stem for path in (ROOT / "search_spaces").glob("*.toml"))


def test_every_sampler_and_stopping_rule_is_named() -> None:
    named = [row[0].strip("`") for row in rows("How it searches")]

    assert [name for name in named if not name.startswith("any ")] == ["sampler", *SAMPLERS, "stopping", *STOPPING]


def test_every_trial_state_is_named() -> None:
    assert all(f"`{state}`" in section("Tables") for state in ENDED | LIVE)


def test_every_exit_code_is_the_one_the_shell_gives() -> None:
    told = f"0 done, {FAILED} failed, {USAGE} wrong usage, {NOT_YET} on record and not yet applied"
    assert f"{told}, {INTERRUPTED} interrupted" in README


# ── the pages hold together ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        found = ((ROOT / page).parent / target).exists()
        assert found or "results/benchmarks/" in target, target  # tables there are made by a command
    headings = {each.lower().replace(" ", "-") for each in re.findall(r"^#+ (.*)", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_the_constraints_are_plain_pins_of_what_the_tests_run_on() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    extras = PROJECT["optional-dependencies"]
    brought = [each for extra in ("digits", "parquet", "plots", "room") for each in extras[extra]]
    wanted = [*PROJECT["dependencies"], *brought, *extras["test"][1:]]

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@]+", line) for line in lines)
    assert {re.match(r"[A-Za-z0-9-]+", each)[0] for each in wanted} <= pinned  # type: ignore[index]
