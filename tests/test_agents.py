"""Agents: their tools by the Model Context Protocol, a budget that they cannot exceed, a record of what they did."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from babysat import at_home
from mcp import Client, StdioServerParameters
from pages import ROOT, shell_lines
from sweeping import sweep
from waiting import wait_until

import tuner
from tuner.agents import launching
from tuner.agents.agent import Agent
from tuner.agents.allowance import LAUNCH, Allowance, OverBudget, holder, share, spent
from tuner.agents.door import TOOLS, door, over_http, skill
from tuner.cli import cli, main
from tuner.errors import SettingsError, StudyError, TunerError
from tuner.record.events import Configured
from tuner.record.lease import born
from tuner.record.location import Place

BOWL = "tuner.workloads.bowl:train"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A results folder; what was launched in it ends with the test."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    yield folder
    for launch in folder.glob(f"*/{LAUNCH}"):
        launched = json.loads(launch.read_text())
        pid = launched["pid"]
        if pid == os.getpid():  # a coordinator on a thread of this one, which `at_home` ends
            continue
        coordinates = holder(Place.of(launch.parent.name, folder, None))  # another, where a verb has woken it
        for number, since in ((pid, launched["born"]), (coordinates, coordinates and born(coordinates))):
            if number is not None and since and born(number) == since:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
                wait_until(lambda number=number, since=since: born(number) != since)  # type: ignore[misc]


def agent(results: Path, **budget: Any) -> Agent:
    return Agent.called("ada", results, budget)


def asked(**given: Any) -> dict[str, Any]:
    usual = {"name": "first", "train": BOWL, "space": "sgd_momentum", "objective": "score", "executor": "local"}
    return {**usual, "why": "to look", **given}


def over_stdio(act: Callable[[Client], Awaitable[None]], results: Path, *words: str) -> None:
    """A server of its own, spoken to by the official client."""
    command = ["-m", "tuner", "mcp", "--by", "ada", "--results", str(results), *words]

    async def connected() -> None:
        async with Client(StdioServerParameters(command=sys.executable, args=command, cwd=results.parent)) as client:
            await act(client)

    anyio.run(connected)


# ── the tools ───────────────────────────────────────────────────────────────────────────────────


def test_there_are_fourteen_tools_and_each_says_what_it_does_to_the_world(results: Path) -> None:
    async def look() -> None:
        async with Client(door(agent(results))) as client:
            tools = (await client.list_tools()).tools
            assert client.instructions == skill()
        assert [each.name for each in tools] == list(TOOLS)
        assert len(tools) <= 14
        for each in tools:
            assert each.description
            assert each.annotations is not None
            reads = each.name not in ("sweep", "confirm", "set", "steer", "revert", "stop")
            assert each.annotations.read_only_hint is reads
            assert each.annotations.destructive_hint is (each.name in ("revert", "stop"))
            assert each.annotations.idempotent_hint
            assert (each.output_schema is None) is (each.name == "curves")

    anyio.run(look)


def test_an_agent_searches_and_looks_over_stdio(results: Path) -> None:
    async def act(client: Client) -> None:
        begun = await client.call_tool("sweep", asked(trials=6))
        waited = await client.call_tool("wait", {"study": "first", "events": ["ended"], "timeout_s": 60})
        assert begun.structured_content is not None
        assert waited.structured_content is not None
        assert begun.structured_content["study"] == "first"
        assert waited.structured_content["event"] == "ended"
        cursor = waited.structured_content["digest"]["cursor"]
        for tool, given in (
            ("studies", {}),
            ("digest", {"study": "first", "since": cursor}),
            ("show", {"study": "first"}),
            ("show", {"study": "first", "trial": 0}),
            ("explain", {"study": "first"}),
            ("compare", {"study": "first", "one": 0, "other": 1}),
            ("price", {"train": BOWL, "trials": 10}),
        ):
            answer = await client.call_tool(tool, given)
            assert not answer.is_error, answer.content
            assert answer.structured_content
        curves = await client.call_tool("curves", {"study": "first"})
        (picture,) = curves.content
        assert picture.type == "image"
        assert base64.b64decode(picture.data).startswith(b"\x89PNG")
        logbook = await client.read_resource("tuner://first/logbook")
        assert "first" in logbook.contents[0].text  # type: ignore[union-attr]

    over_stdio(act, results)

    with tuner.open("first", results=results) as study:
        (configured, *_) = study.records(Configured)
        assert (configured.by, configured.why) == ("agent:ada", "to look")


def test_an_agent_promotes_a_trial_and_forks_the_run(results: Path) -> None:
    sweep(results, trials=2, stopping="off").close()
    ada = agent(results, trials=2)
    with at_home(results):
        promoted = ada.steer("night", "promote", "the best so far", {"trial": 0, "name": "kept"}, request="p")
        again = ada.steer("night", "promote", "the best so far", {"trial": 0, "name": "kept"}, request="p")
        assert (promoted["study"], promoted["left"]["trials"]) == ("kept", 1)
        assert again == promoted, "the same request is the same run, and is paid for once"
        with tuner.attach("kept", results=results) as kept:
            assert isinstance(kept, tuner.RunHandle)
            kept.wait(60).close()
        forked = ada.steer("kept", "fork", "bolder", {"values": {"learning_rate": 0.5}})
        assert (forked["study"], forked["left"]["trials"]) == ("kept-2", 0)
        with pytest.raises(OverBudget, match="0 trials are left"):
            ada.steer("kept", "fork", "bolder still", {"values": {"learning_rate": 0.6}})
    with tuner.open("kept-2", results=results) as study:
        assert study.segments["by"].tolist()[0] == "agent:ada"
        assert study.state.trials[0].parent is not None


@pytest.mark.parametrize(
    ("study", "verb", "arguments", "told"),
    [
        ("night", "fork", {}, "promote a trial"),
        ("night", "promote", {"trail": 0}, "no trail"),
        ("night", "promote", {}, "trial"),
        ("night", "promote", {"trial": 99}, "no trial 99"),
    ],
)
def test_what_cannot_be_branched_is_told_to_an_agent(
    study: str, verb: Any, arguments: dict[str, Any], told: str, results: Path
) -> None:
    sweep(results, trials=2, stopping="off").close()
    with pytest.raises(TunerError, match=told):
        agent(results, trials=2).steer(study, verb, "to look", arguments)


def test_a_refusal_has_its_code_over_stdio(results: Path) -> None:
    async def act(client: Client) -> None:
        answers = [
            await client.call_tool("digest", {"study": "nothing"}),
            await client.call_tool("sweep", asked(budget_steps=100)),
            await client.call_tool("sweep", asked(space="adam", budget_steps=10)),
            await client.call_tool("sweep", asked(why="", budget_steps=10)),
            await client.call_tool("sweep", asked(train="os:getcwd", budget_steps=10)),
        ]
        codes = [each.structured_content["error"]["code"] for each in answers if each.structured_content]
        assert all(each.is_error for each in answers)
        assert codes == ["no_such_study", "over_budget", "over_budget", "why_required", "train"]

    over_stdio(act, results, "--steps", "50", "--search", "sgd_momentum", "--train", BOWL)


RUN: dict[str, Any] = {"name": "one", "kind": "babysitting", "params": {"x": 1.0, "y": 1.0}, "space": ""}


@pytest.mark.long
def test_an_agent_begins_a_babysat_run_and_tends_it_over_stdio(results: Path) -> None:
    async def act(client: Client) -> None:
        begun = await client.call_tool("sweep", asked(**RUN))
        again = await client.call_tool("sweep", asked(**RUN))
        assert not begun.is_error, begun.content
        assert begun.structured_content is not None
        assert again.structured_content is not None
        aside = {"pid": None}  # it may have trained to its end meanwhile
        assert begun.structured_content | aside == again.structured_content | aside
        assert (begun.structured_content["study"], begun.structured_content["left"]["trials"]) == ("one", 0)
        for given in ({"name": "two"}, {"objective": "loss"}, {"trials": 3}, {"space": "adam"}, {"why": ""}):
            answer = await client.call_tool("sweep", asked(**{**RUN, **given}))
            assert answer.is_error, given
        noted = await client.call_tool(
            "steer", {"study": "one", "verb": "note", "why": "", "arguments": {"text": "hm"}}
        )
        assert not noted.is_error, noted.content

    over_stdio(act, results, "--trials", "1", "--search", "sgd_momentum", "--train", BOWL)

    with tuner.open("one", results=results) as study:
        assert (study.state.kind, study.state.trials[0].settings) == ("babysitting", {"x": 1.0, "y": 1.0})
        assert study.segments["by"].tolist()[0] == "agent:ada"
        assert not study.notes[study.notes["by"] == "agent:ada"].empty


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"budget_steps": 10, "seeds": 3}, "babysitting.*no budget_steps, seeds"),
        ({"warm_start": "night"}, "no warm_start"),
        ({"params": {}}, "settings to begin with|space"),
        ({"kind": "sweep", "space": "sgd_momentum"}, "sweep.*no params"),
        ({"space": "adam"}, "not among those you may search"),
    ],
)
def test_what_makes_no_run_is_told_and_leaves_nothing(given: dict[str, Any], told: str, results: Path) -> None:
    with pytest.raises(TunerError, match=told):
        agent(results, trials=2, spaces=["sgd_momentum"]).sweep(**asked(**{**RUN, **given}))
    assert not (results / "one").exists()


def test_a_run_whose_module_never_ends_being_imported_keeps_no_other_waiting(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_RUN_BEGINS_WITHIN_S", 2.0)
    Path("stuck.py").write_text("import time\ntime.sleep(600)\n")
    with pytest.raises(StudyError, match="one has not begun within 2 s: importing stuck:train takes longer"):
        agent(results, trials=2).sweep(**asked(**{**RUN, "train": "stuck:train"}))
    assert not (results / "one").exists()
    assert agent(results, trials=2).studies()["left"]["trials"] == 2


def test_no_run_is_begun_within_a_bound_of_steps(results: Path) -> None:
    with pytest.raises(OverBudget, match="how many steps a run trains"):
        agent(results, steps=1000).sweep(**asked(**RUN))
    assert not (results / "one").exists()


def test_an_agent_steers_a_babysat_run_and_is_named_on_record(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with at_home(results):
        one = tuner.babysit(climbs, {"rate": 1.0}, name="one", objective="total", executor="local", results=results)
        ada = agent(results, steps=10)
        first = ada.set("one", {"rate": 2.0}, "too slow", request="r1")
        assert first == ada.set("one", {"rate": 2.0}, "too slow", request="r1")
        assert ada.steer("one", "checkpoint", "before a bold step")["state"] == "applied"
        assert ada.steer("one", "note", "", {"text": "it climbs"})["state"] == "applied"
        assert ada.revert("one", "no better", undo=True)["state"] == "applied"
        longer = ada.steer("one", "extend", "still climbing", {"steps": 4}, request="r2")
        assert longer["state"] == "applied"
        with pytest.raises(OverBudget, match="6 steps are left"):
            ada.steer("one", "extend", "still climbing", {"steps": 7})
        agent(results, steps=4).steer("one", "extend", "still climbing", {"steps": 4}, request="r2")  # paid for already
        with pytest.raises(TunerError, match="why"):
            ada.stop("one", "")
        assert ada.stop("one", "seen enough")["state"] == "applied"
        one.wait().close()
        with closing(one), closing(one.study) as study:
            assert set(study.requests["by"]) == {"agent:ada"}
            assert "it climbs" in ada.logbook("one")


class Sum:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def climbs(run: tuner.Run) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(1_000_000):
        each.total += run.params["rate"]
        run.report(total=each.total)


def test_an_agent_is_served_over_http_too_each_request_by_itself(results: Path) -> None:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    app = over_http(agent(results, steps=30))

    async def ask() -> None:
        transport = httpx2.ASGITransport(app)
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
            Client(streamable_http_client("http://127.0.0.1/mcp", http_client=http)) as client,
        ):
            assert len((await client.list_tools()).tools) == 14
            answer = await client.call_tool("studies", {})
            refused = await client.call_tool("sweep", asked(budget_steps=31))
        assert answer.structured_content == {
            "you": "agent:ada",
            "left": {"trials": None, "steps": 30},
            "studies": [],
            "of": 0,
        }
        assert refused.structured_content is not None
        assert refused.structured_content["error"]["code"] == "over_budget"

    anyio.run(ask)


# ── the budget ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_budget_of_steps_is_never_exceeded_however_often_an_agent_comes_back(results: Path) -> None:
    ada = agent(results, steps=100)
    ada.sweep(**asked(budget_steps=60))
    ada.wait("first", ["ended"], timeout_s=60)
    for name, steps in (("second", 60), ("third", 41)):
        with pytest.raises(OverBudget, match="40 steps are left"):
            agent(results, steps=100).sweep(**asked(name=name, budget_steps=steps))
    agent(results, steps=100).sweep(**asked(name="second"))  # all that is left, since it does not say how many
    ada.wait("second", ["ended"], timeout_s=60)
    with pytest.raises(OverBudget, match="0 steps are left"):
        ada.sweep(**asked(name="third"))

    trained = 0
    for name in ("first", "second"):
        with tuner.open(name, results=results) as study:
            trained += study.state.steps_done
    assert spent(results, "agent:ada")[1] == trained == 100


def test_what_runs_counts_in_full(results: Path) -> None:
    folder = results / "first"
    folder.mkdir(parents=True)
    mine = {"by": "agent:ada", "trials": 5, "steps": 70, "pid": os.getpid(), "born": born(os.getpid())}
    (folder / LAUNCH).write_text(json.dumps(mine))
    left = Allowance(trials=8, steps=100).left(results, "agent:ada")
    (folder / LAUNCH).write_text(json.dumps({**mine, "pid": None, "born": ""}))

    assert (left.trials, left.steps) == (3, 30)
    assert Allowance(steps=100).left(results, "agent:ada").steps == 100
    assert Allowance(steps=100).left(results, "agent:bob").steps == 100
    (folder / LAUNCH).unlink()


def test_the_same_sweep_asked_for_again_is_begun_once(results: Path) -> None:
    first = agent(results, steps=4000).sweep(**asked(budget_steps=3000))
    again = agent(results, steps=4000).sweep(**asked(budget_steps=3000))

    assert first == again
    assert first["steps"] == 3000
    with pytest.raises(TunerError, match="runs already"):
        agent(results, steps=4000).sweep(**asked(budget_steps=3500))


@pytest.mark.long
def test_a_sweep_asked_for_again_while_its_process_ends_is_taken_up(results: Path) -> None:
    given = {**asked(trials=1), "by": "ada"}
    launching.launch_sweep(results, Allowance(), **given)
    agent(results).wait("first", ["ended"], timeout_s=60)
    launched = results / "first" / LAUNCH
    with subprocess.Popen(["sleep", "2"]) as lingers:  # in the place of what has let go of the study and is there
        told = json.loads(launched.read_text()) | {"pid": lingers.pid, "born": born(lingers.pid)}
        launched.write_text(json.dumps(told))
        again = launching.launch_sweep(results, Allowance(), **given)

    assert again["pid"] != lingers.pid


@pytest.mark.long
def test_a_confirmation_is_paid_for_before_it_begins(results: Path) -> None:
    ada = agent(results, steps=130)
    ada.sweep(**asked(budget_steps=60))
    ada.wait("first", ["ended"], timeout_s=60)
    with pytest.raises(OverBudget, match="130 steps are left for it, of which 60 are trained"):
        ada.confirm("first", "luck or merit?", top=2, repeats=2)
    ada.confirm("first", "luck or merit?", top=1, repeats=3)
    ada.wait("first", ["ended"], timeout_s=60)

    assert spent(results, "agent:ada")[1] == 120
    sweep(results, name="mine", trials=2).close()
    with pytest.raises(TunerError, match="begun by somebody else"):
        ada.confirm("mine", "whose?")


@pytest.mark.parametrize(
    ("asked_for", "left", "already", "given"), [(5, None, 0, 5), (None, None, 0, None), (None, 7, 0, 7), (7, 7, 3, 7)]
)
def test_a_share_is_what_was_asked_or_all_that_is_left(
    asked_for: int | None, left: int | None, already: int, given: int | None
) -> None:
    assert share(asked_for, left, already, "step") == given


def test_a_share_of_nothing_is_refused() -> None:
    for asked_for, left, already in ((8, 7, 0), (None, 7, 7), (3, 0, 0)):
        with pytest.raises(OverBudget) as refused:
            share(asked_for, left, already, "step")
        assert refused.value.code == "over_budget"


def test_parallel_and_spaces_are_bounded_and_a_budget_is_checked() -> None:
    bounded = Allowance.of({"parallel": 2, "spaces": ["adam"], "trials": None})

    assert bounded.check_parallel(None) == 2
    assert bounded.check_parallel(1) == 1
    with pytest.raises(OverBudget, match="2 you may"):
        bounded.check_parallel(3)
    with pytest.raises(OverBudget, match="adam"):
        bounded.check_space("mlp")
    for wrong in ({"steps": 0}, {"hours": 3}, {"trials": "many"}):
        with pytest.raises(SettingsError):
            Allowance.of(wrong)


# ── what an agent is told, and one that follows it ──────────────────────────────────────────────


def test_every_command_of_the_skill_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["skill"])
    assert capfd.readouterr().out.strip() == skill().strip()
    lines = [words for words in shell_lines("tuner/agents/SKILL.md") if words[0] == "tuner"]
    assert len(lines) > 12
    for _, verb, *rest in lines:
        cli.commands[verb].make_context(verb, list(rest)).close()
    assert set(TOOLS) <= {word.strip("`") for word in skill().replace("`", " ` ").split()}


@pytest.mark.long
def test_a_scripted_agent_improves_the_digits_within_its_budget_though_its_connection_breaks(results: Path) -> None:
    pytest.importorskip("sklearn")
    script = str(ROOT / "examples/agent/improve_digits.py")
    command = [sys.executable, script, "--steps", "420", "--results", str(results)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["after"] >= told["before"] > 0.5
    assert told["connections"] == 5  # two of them broke, and it looked at what there is first
    assert "over_budget" in told["refusals"]
    assert "distinguishable" in told["answer"]
    assert spent(results, "agent:digits")[1] == 420 - told["left"] <= 420
    for name in ("look", "closer"):
        with tuner.open(name, results=results) as study:
            (configured, *_) = study.records(Configured)
            assert configured.by == "agent:digits"
            assert configured.why
            assert len(study.state.trials) > 0


@pytest.mark.timeout(280)
@pytest.mark.long
def test_every_command_of_the_skill_does_what_it_says(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.delenv("TUNER_OUTPUT")
    here = ["--executor", "local"]  # and not through Ray, for the test's sake; with fewer steps, and less patience
    for_the_test = {"400": "90", "30m": "2s", "epochs=500": "epochs=20000"}
    with at_home(results):
        for _, *words in shell_lines("tuner/agents/SKILL.md"):
            text = " ".join(words)
            for long, short in for_the_test.items():
                words = [word.replace(long, short) for word in words]
            words += here if words[0] in ("sweep", "babysit") else []
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code in ((0, 3) if words[0] == "wait" else (0,)), text

    with tuner.open("first", results=results) as study:
        assert next(iter(study.records(Configured))).by == "agent:ada"
    with tuner.open("one", results=results) as run:
        assert set(run.requests["by"]) - {"tests"} == {"agent:ada"}
