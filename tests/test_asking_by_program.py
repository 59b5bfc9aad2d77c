"""A program asks as a person does: the same request twice is one, refusals have codes, and answers keep their shape."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from babysat import at_home, state_of, steps_of
from sweeping import sweep
from waiting import wait_until

import tuner
from tuner.cli import cli, main
from tuner.cli.options import ShellVerb
from tuner.errors import RequestReused, SettingsError, StudyError, TunerError, coded, uncoded
from tuner.record.store import Store
from tuner.worker.run import Run

Shell = Callable[..., tuple[int, Any]]


class Sum:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def adds_on(run: Run) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(100_000):
        each.total += run.params["rate"]
        run.report(total=each.total)
        time.sleep(0.002)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # where a run begins, there it trains: the coordinator of this process goes there again
    with at_home(tmp_path / "results"):
        yield tmp_path / "results"


@pytest.fixture
def run(results: Path) -> Iterator[tuner.RunHandle]:
    begun = tuner.babysit(
        adds_on, {"rate": 1.0}, name="one", objective="total", goal="maximize", executor="local", results=results
    )
    with closing(begun):
        yield begun


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs a command line into a pipe, as a program would, and reads its answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_OUTPUT")

    def run(*words: object) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    return run


# ── the same request twice ──────────────────────────────────────────────────────────────────────


def test_the_same_request_twice_is_one_with_one_answer(run: tuner.RunHandle) -> None:
    first = run.set(rate=2.0, why="too slow", request="r1")
    second = run.set(rate=2.0, why="too slow", request="r1")

    with closing(run.study) as study:
        assert first == second
        assert list(study.requests["request"]) == ["r1"]
        assert len(study.adjustments) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda run: run.pause(request="x"),
        lambda run: run.checkpoint(request="x"),
        lambda run: run.step(2, request="x"),
        lambda run: run.extend(5, request="x"),
        lambda run: run.note("day 2", request="x"),
        lambda run: run.schedule("rate", "exponential", request="x"),
        lambda run: run.stop(request="x"),
    ],
)
def test_every_verb_of_a_run_can_be_sent_twice(act: Callable[[tuner.RunHandle], Any], run: tuner.RunHandle) -> None:
    first, second = act(run), act(run)

    with closing(run.study) as study:
        assert first == second
        assert list(study.requests["request"]) == ["x"]


def test_a_run_that_ended_meanwhile_gives_the_same_answer_still(run: tuner.RunHandle) -> None:
    saved = run.checkpoint(request="c")
    run.stop()
    run.wait().close()

    assert run.checkpoint(request="c") == saved
    assert run.note("over", request="n") == run.note("over", request="n")


@pytest.mark.parametrize(
    "act",
    [
        lambda run: run.set(rate=3.0, why="slow", request="r1"),
        lambda run: run.set(rate=2.0, why="another reason", request="r1"),
        lambda run: run.pause("slow", request="r1"),
    ],
)
def test_an_id_is_not_for_another_request(act: Callable[[tuner.RunHandle], Any], run: tuner.RunHandle) -> None:
    run.set(rate=2.0, why="slow", request="r1")

    with pytest.raises(RequestReused, match="r1") as refused:
        act(run)
    assert refused.value.code == "request_reused"


def test_what_was_refused_is_refused_again_in_the_same_words(run: tuner.RunHandle) -> None:
    told = []
    for _ in range(2):
        with pytest.raises(StudyError) as refused:
            run.set(speed=2.0, request="r2")
        told.append((str(refused.value), refused.value.code))

    assert told[0] == told[1]
    assert told[0][1] == "unknown_setting"


def test_a_fork_asked_for_twice_is_one_run(run: tuner.RunHandle) -> None:
    run.checkpoint()
    with closing(run.fork(rate=3.0, why="bolder", request="f1")) as first:
        with closing(run.fork(rate=3.0, why="bolder", request="f1")) as second:
            assert first.name == second.name == "one-2"
        with pytest.raises(RequestReused, match="f1"):
            run.fork(rate=3.0, name="another", request="f1")
        with closing(run.fork(rate=4.0, request="f2")) as third:
            assert third.name == "one-3"


# ── who has seen what ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["pause", "checkpoint", "stop", "undo", "resume"])
def test_a_change_since_refuses_any_verb(verb: str, run: tuner.RunHandle) -> None:
    run.set(rate=2.0)

    with pytest.raises(StudyError, match="changed since") as refused:
        getattr(run, verb)(expect=0)
    assert refused.value.code == "changed_since"


def test_a_round_since_refuses_a_verb_of_a_sweep(tmp_path: Path) -> None:
    from tuner.caviar.requests import SweepRequests, _expected
    from tuner.policy.requests import Refused

    assert "set_box" in SweepRequests.verbs
    with sweep(tmp_path, trials=12) as study:
        latest = study.state.rounds[-1].round
        _expected(study.state, {"expect": latest})
        assert latest > 0
        with pytest.raises(Refused, match="round") as refused:
            _expected(study.state, {"expect": 0})
        assert refused.value.code == "changed_since"


# ── agents ──────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_says_why(run: tuner.RunHandle, results: Path) -> None:
    with closing(tuner.attach("one", results=results, by="agent:ada")) as agent:
        assert isinstance(agent, tuner.RunHandle)
        with pytest.raises(SettingsError, match="why") as refused:
            agent.set(rate=2.0)
        assert refused.value.code == "why_required"
        with pytest.raises(SettingsError, match="fork"):
            agent.fork(rate=2.0)
        agent.set(rate=2.0, why="it converges slowly")
        agent.note("a note needs no why")

    with closing(run.study) as study:
        assert list(study.adjustments["by"]) == ["agent:ada"]
        assert list(study.adjustments["why"]) == ["it converges slowly"]


def test_an_agent_has_a_name(run: tuner.RunHandle, results: Path) -> None:
    with (
        closing(tuner.attach("one", results=results, by="agent:")) as agent,
        pytest.raises(SettingsError, match="names no agent"),
    ):
        agent.pause("to look")


def test_a_row_that_an_agent_writes_without_a_why_is_refused_by_the_coordinator(
    run: tuner.RunHandle, results: Path
) -> None:
    with closing(Store.open(results / "one" / "study.db")) as store:
        store.request("pause", {}, by="agent:ada", why="", request="sly")
        answer = wait_until(lambda: store.answer("sly"))

    assert answer is not None
    assert (answer.state, uncoded(answer.detail)[1]) == ("rejected", "why_required")
    wait_until(lambda: state_of(run) == "running")


# ── codes ───────────────────────────────────────────────────────────────────────────────────────


def kinds(error: type[TunerError]) -> Iterator[type[TunerError]]:
    yield error
    for each in error.__subclasses__():
        yield from kinds(each)


def test_every_mistake_has_a_code_in_one_word() -> None:
    from tuner.policy import requests  # noqa: F401 - has one of its own

    codes = {kind: kind.code for kind in kinds(TunerError)}
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes.values())
    own = [kind for kind in codes if "code" in vars(kind)]
    assert len({kind.code for kind in own}) == len(own)


@pytest.mark.parametrize("sentence", ["no.", "a list [1, 2]", "line\nline", ""])
def test_a_code_goes_with_its_sentence_onto_the_record_and_back(sentence: str) -> None:
    assert uncoded(coded(StudyError(sentence, code="over"))) == (sentence, "over")
    assert uncoded(sentence) == (sentence, "refused")


# ── JSON by itself ──────────────────────────────────────────────────────────────────────────────

TOLD_AS_TEXT = {"babysit", "watch", "export", "plot", "mcp", "skill"}
REPLY = {"name", "answer", "request", "verb", "state", "step", "detail"}
BEST = {"params", "score", "trial", "step", "checkpoint", "checkpoint_url", "spread"}
STUDY = {
    *("name", "kind", "objective", "goal", "function", "trials", "ended", "tried", "states", "best", "recommended"),
    *("top", "rounds", "folder"),
}
DIGEST = {"study", "kind", "stands", "objective", "goal", "best", "spent", "news", "left_out", "cursor"}
TRIAL = {
    *("name", "trial", "state", "why", "purpose", "round", "params", "score", "best_step", "steps", "seconds", "node"),
    *("segments", "curve", "checkpoints", "traceback", "spread", "delay"),
}
LISTED = {
    "name",
    "kind",
    "activity",
    "trials",
    "ended",
    "objective",
    "best",
    "best_trial",
    "updated",
    "spread",
    "aside",
}


def test_into_a_pipe_a_verb_prints_json_but_for_those_that_print_paths_or_go_on() -> None:
    piped = {name for name, verb in cli.commands.items() if isinstance(verb, ShellVerb) and verb.piped == "text"}

    assert piped == TOLD_AS_TEXT


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (("show", "night"), STUDY),
        (("show", "night/0"), TRIAL),
        (("digest", "night"), DIGEST),
        (("wait", "night"), {"study", "event", "came", "sentence", "waited_s", "digest"}),
        (("stop", "night"), REPLY),
        (("export", "night", "--json"), {"files"}),
        (
            ("explain", "night"),
            {
                *(
                    "study",
                    "objective",
                    "goal",
                    "trials",
                    "winner",
                    "recommended",
                    "importance",
                    "edges",
                    "divergences",
                ),
                *("worth", "fits", "confirmation", "recheck", "sections", "file"),
            },
        ),
    ],
)
def test_the_shape_of_an_answer_is_kept(words: tuple[str, ...], shape: set[str], tmp_path: Path, shell: Shell) -> None:
    sweep(tmp_path / "results", trials=8).close()

    code, answer = shell(*words)

    assert (code, set(answer)) == (0, shape)
    if words == ("show", "night"):
        assert set(answer["best"]) == BEST


CONFIRMATION = {
    *("study", "objective", "goal", "repeats", "candidates", "noise", "noise_bounds", "alike", "more", "best"),
    *("confirmed", "answer", "sentence"),
}
BOWL = ("tuner.workloads.bowl:train", "--space", "sgd_momentum")
HERE = ("--objective", "score", "--executor", "local", "--no-plot")


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (("sweep", *BOWL, "--name", "new", "--trials", "3", *HERE), {*STUDY, "files"}),
        (
            ("sweep", *BOWL, "--trials", "3", *HERE, "--dry-run"),
            {
                *("function", "trials", "steps_most", "steps", "seconds_per_step", "worker_s", "wall_s", "parallel"),
                *("known_from", "sentence"),
            },
        ),
        (("check", *BOWL, "--steps", "4"), {"same", "differences", "sentences"}),
        (("confirm", "night", "--top", "2", "--repeats", "2"), CONFIRMATION),
        (("compare", "night/0", "night/1"), CONFIRMATION),
    ],
)
def test_the_shape_of_what_training_answers_is_kept(
    words: tuple[str, ...], shape: set[str], tmp_path: Path, shell: Shell
) -> None:
    sweep(tmp_path / "results", trials=4, stopping="off").close()

    code, answer = shell(*words)

    assert (code, set(answer)) == (0, shape)


def test_the_shape_of_runs_is_kept(run: tuner.RunHandle, shell: Shell) -> None:
    run.checkpoint()
    _, shown = shell("show", "one")
    _, forked = shell("fork", "one", "--set", "rate=3", "--as", "bolder")
    _, compared = shell("compare", "one", "bolder")

    assert set(shown) == {*STUDY, "run"}, shown
    assert set(forked) == {*STUDY, "run"}, forked
    assert set(shown["run"]) == {
        *("state", "activity", "why", "delay", "step", "parent", "settings", "schedules", "segment", "segments"),
        "checkpoints",
    }
    assert set(compared) == {"settings", "courses", "answer", "steps", "scores"}


def test_the_shape_of_a_list_is_kept(tmp_path: Path, shell: Shell) -> None:
    sweep(tmp_path / "results", trials=2).close()

    _, listed = shell("ls")
    _, spaces = shell("spaces")

    assert set(listed[0]) == LISTED
    assert set(spaces[0]) == {"name", "parameters"}


def test_the_shape_of_a_request_and_of_its_refusal_is_kept(run: tuner.RunHandle, shell: Shell) -> None:
    done = shell("set", "one", "rate=2", "--request", "r1", "--why", "slow", "--by", "agent:ada")
    again = shell("set", "one", "rate=2", "--request", "r1", "--why", "slow", "--by", "agent:ada")
    refused = shell("set", "one", "rate=3", "--request", "r1", "--why", "slow", "--by", "agent:ada")
    unreasoned = shell("pause", "one", "--by", "agent:ada")
    changed = shell("checkpoint", "one", "--expect", "0")

    assert done[0] == 0
    assert set(done[1]) == REPLY
    assert done == again
    assert [each[1]["error"]["code"] for each in (refused, unreasoned, changed)] == [
        "request_reused",
        "why_required",
        "changed_since",
    ]
    assert [each[0] for each in (refused, unreasoned, changed)] == [1, 2, 1]
    assert set(refused[1]) == {"error"}
    assert set(refused[1]["error"]) == {"code", "sentence"}
    assert steps_of(run) > 0


def test_a_refusal_and_wrong_usage_are_told_in_json_too(shell: Shell) -> None:
    assert shell("show", "nothing")[1]["error"]["code"] == "no_such_study"
    assert shell("show") == (2, {"error": {"code": "usage", "sentence": "Missing argument 'NAME[/TRIAL]'."}})


@pytest.mark.parametrize(
    ("setting", "words", "is_json"),
    [("", (), True), ("text", (), False), ("", ("--no-json",), False), ("text", ("--json",), True), ("json", (), True)],
)
def test_there_is_a_way_back_to_text(
    setting: str,
    words: tuple[str, ...],
    is_json: bool,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_OUTPUT", setting)

    with pytest.raises(SystemExit):
        main(["ls", *words])

    assert (capfd.readouterr().out.strip() == "[]") is is_json
