"""What the pages say is so: commands parse, links lead somewhere, and nothing that a user meets goes unnamed."""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from typing import get_args

import click
import pytest
from pages import DOCS, PAGES, ROOT, anchors, coded, everything, links, parts, paths, rows, section, shell_lines, text

import tuner
import tuner.cli
import tuner.tables
from tuner.caviar.requests import SweepRequests
from tuner.caviar.rules import STOPPING
from tuner.cli.exit_codes import FAILED, INTERRUPTED, NOT_YET, USAGE
from tuner.panda.requests import RunRequests
from tuner.record.events import ENDED, LIVE, Cause, Purpose, RequestState
from tuner.record.requests import REQUESTS
from tuner.room import language
from tuner.samplers import SAMPLERS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_USERS = ("README.md", *DOCS)
VERBS = tuner.cli.cli.commands


def parsed(arguments: list[str]) -> click.Context:
    """The arguments as tuner's own command line reads them; an unknown verb or option raises."""
    context = click.Context(tuner.cli.cli, info_name="tuner")
    _, command, rest = tuner.cli.cli.resolve_command(context, arguments)
    assert command is not None
    return command.make_context(arguments[0], rest, parent=context)


def options(*verbs: str) -> set[str]:
    """What may be said with these verbs, beginning with --."""
    given = {option for verb in verbs for each in VERBS[verb].params for option in (*each.opts, *each.secondary_opts)}
    return {option for option in given if option.startswith("--")}


# ── the commands are commands ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "the reader's own")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in shell_lines(page):
        if words[0] == "tuner":
            parsed(words[1:])
        elif words[0] == "make":
            assert words[1] in targets
        elif words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_named_within_a_sentence_exists(page: str) -> None:
    for command in re.findall(r"`tuner ([a-z][^`…]*)`", text(page)):
        verb, *rest = shlex.split(command)
        assert verb in VERBS
        if verb in ("spaces", "show") and rest:
            parsed([verb, *rest])


@pytest.mark.parametrize("page", FOR_USERS)
def test_every_option_named_exists(page: str) -> None:
    for option in re.findall(r"`(--[a-z-]+)", text(page)):
        assert option in options(*VERBS) | {"--help"}


def test_every_option_of_the_shell_is_named() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", everything(*DOCS)))
    assert sorted(options(*VERBS) - named) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_extra_named_exists(page: str) -> None:
    for named in re.findall(r"(?:tuner|\.)\[([a-z]+)\]", text(page)):
        assert named in PROJECT["optional-dependencies"]


# ── nothing goes unnamed ────────────────────────────────────────────────────────────────────────


def test_every_table_and_column_is_written_down_in_order() -> None:
    written = {row[0].strip("`"): coded(row[2]) for row in rows("docs/tables.md", "Columns")}

    assert written == {name: list(columns) for name, columns in tuner.tables.COLUMNS.items()}


@pytest.mark.parametrize("words", [ENDED | LIVE, get_args(Purpose), get_args(Cause), get_args(RequestState)])
def test_every_word_in_the_cells_is_named(words: tuple[str, ...]) -> None:
    assert set(words) <= set(coded(section("docs/tables.md", "Words in the cells")))


def test_every_public_name_is_named() -> None:
    named = set(re.findall(r"`tuner\.(\w+)`", section("docs/reference.md", "Python")))
    assert set(tuner.__all__) <= named


def test_every_verb_of_the_shell_is_in_its_table() -> None:
    named = [verb for row in rows("docs/reference.md", "Shell") for verb in coded(row[0])]

    assert sorted(named) == sorted(VERBS)


def test_an_option_stands_beside_a_verb_that_takes_it() -> None:
    for verbs, _, said in rows("docs/reference.md", "Shell"):
        assert set(re.findall(r"--[a-z-]+", said)) <= options(*coded(verbs))


@pytest.mark.parametrize(
    ("verb", "heading"), [("sweep", "What a sweep takes"), ("babysit", "What a babysat run takes")]
)
def test_every_setting_of_a_verb_is_in_its_table_with_the_word_of_the_shell(verb: str, heading: str) -> None:
    table = rows("docs/reference.md", heading)
    assert sorted(coded(row[0])[0] for row in table) == sorted(inspect.signature(getattr(tuner, verb)).parameters)
    assert {word for row in table for word in coded(row[1])} <= options(verb)
    aside = {"--json", "--no-json", "--plot", "--no-plot"}  # of how it is told, not of what is trained
    assert options(verb) - aside <= set(coded(section("docs/reference.md", heading)))


def test_every_verb_of_a_handle_is_in_its_table() -> None:
    either, sweeps, runs = (set(coded(row[1])) for row in rows("docs/reference.md", "What a handle can do"))
    public = [
        {name for name in dir(each) if not name.startswith("_")}
        for each in (tuner.Handle, tuner.SweepHandle, tuner.RunHandle)
    ]
    assert [either, sweeps | either, runs | either] == public


def test_every_search_space_is_in_its_table() -> None:
    named = [row[0].strip("`") for row in rows("docs/spaces.md", "The spaces that tuner brings")]

    assert sorted(named) == sorted(path.stem for path in (ROOT / "search_spaces").glob("*.toml"))


@pytest.mark.parametrize(("heading", "there"), [("Samplers", SAMPLERS), ("Stopping", STOPPING)])
def test_every_sampler_and_stopping_rule_is_in_its_table(heading: str, there: tuple[str, ...]) -> None:
    named = [row[0].strip("`") for row in rows("docs/searching.md", heading)]

    assert [name for name in named if not name.startswith("any ")] == list(there)


def test_every_exit_code_is_the_one_the_shell_gives() -> None:
    told = f"0 done, {FAILED} failed, {USAGE} wrong usage, {NOT_YET} on record and not yet applied"
    assert f"{told}, {INTERRUPTED} interrupted" in text("docs/reference.md")


def test_a_word_has_one_entry_in_the_glossary() -> None:
    lines = re.findall(r"^\| (?!word)([^|]+?) \| ([^|]+) \|$", text("docs/glossary.md"), re.MULTILINE)
    words = [word for entry, _ in lines for word in entry.split(", ")]

    assert len(words) > 60
    assert sorted(words) == sorted(set(words))
    assert not [told for _, told in lines if ". " in told], "a word is told in one sentence"


# ── the pages hold together ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target, anchor in links(page):
        found = (ROOT / page).parent / target if target else ROOT / page
        assert found.exists() or "results/benchmarks/" in target, target  # tables there are made by a command
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{target}#{anchor}"


def test_every_page_of_the_docs_is_in_the_index_and_the_index_in_the_readme() -> None:
    listed = {f"docs/{target}" for target, _ in links("docs/README.md")}

    assert set(DOCS) - {"docs/README.md"} <= listed
    assert ("docs/README.md", "") in links("README.md")


@pytest.mark.parametrize("page", [*FOR_USERS, "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_named_exists(page: str) -> None:
    for path in paths(page):
        beside = (ROOT, ROOT / "tuner", ROOT / "tuner/panda")
        assert any((folder / path).exists() for folder in beside), path


def test_every_test_that_the_makefile_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    named = re.findall(r"addprefix ([\w/]*test_),([\w\s]+)\)", makefile)

    assert named
    for prefix, names in named:
        for name in names.split():
            assert (ROOT / f"tests/{prefix}{name}.py").exists(), name


def test_what_contributing_names_in_a_file_is_there() -> None:
    prose = " ".join(parts("CONTRIBUTING.md")[2].split())
    named = re.findall(r"`(\w+)` in `([\w/.]+\.py)`", prose)

    assert len(named) > 25
    for name, path in named:
        defined = rf"^ *(?:(?:class|def) {name}\b|{name}(?:: .*)? = )"
        assert re.search(defined, (ROOT / path).read_text(), re.MULTILINE), f"{name} in {path}"


def test_a_verb_of_a_babysat_run_is_written_in_three_places_at_most() -> None:
    places = re.findall(r"^\d\. ", section("CONTRIBUTING.md", "A verb of a babysat run"), re.MULTILINE)
    assert 1 <= len(places) <= 3


def test_what_has_a_name_has_it_in_each_place_that_contributing_tells() -> None:
    for verb in RunRequests.verbs:
        assert all(verb in known for known in (dir(tuner.RunHandle), VERBS, language.VERBS)), verb
    for verb in SweepRequests.verbs:
        assert all(verb in known for known in (REQUESTS, dir(tuner.SweepHandle))), verb


def test_the_constraints_are_plain_pins_of_what_the_tests_run_on() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    extras = PROJECT["optional-dependencies"]
    brought = [each for extra in ("digits", "parquet", "plots", "room") for each in extras[extra]]
    wanted = [*PROJECT["dependencies"], *brought, *extras["docs"], *extras["test"][1:]]

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@]+", line) for line in lines)
    assert {re.match(r"[A-Za-z0-9-]+", each)[0] for each in wanted} <= pinned  # type: ignore[index]
