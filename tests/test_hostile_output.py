"""Whatever a program prints is a score, a line that is none, or why its trial failed; and no terminal is given more."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import serving
from diaries import NOON, beginning, diary
from hostile import HOSTILE, commands_in
from hypothesis import example, given
from hypothesis import strategies as st
from programs import sweep, train

import tuner
from tuner.agents.agent import Agent
from tuner.errors import TunerError
from tuner.programs.process import Lines
from tuner.programs.scores import ScoreParser
from tuner.record.printed import last_line, printed_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["step", "loss", "self", "", "x" * 300]) | st.text(st.characters(), max_size=9)
JSON_LINES = st.dictionaries(NAMES, VALUES, max_size=4).map(json.dumps)
LINES = (
    JSON_LINES
    | st.sampled_from(
        [
            '{"loss": ' + "9" * 5000 + "}",
            '{"a":' * 5000 + "1" + "}" * 5000,
            '{"loss": 1e999}',
            "x" * 100_000,
            "loss=\x00 e3",
        ]
    )
    | st.text(st.characters(), max_size=60).map("loss={} e7".format)
)
READERS = [ScoreParser(), ScoreParser.of(r"loss=(?P<loss>\S*)( e(?P<step>\S+))?"), ScoreParser.of(r"(.+)")]


@given(line=LINES, reader=st.sampled_from(READERS))
@example(line='{"loss": ' + "9" * 400 + "}", reader=READERS[0])
def test_a_line_of_anything_is_read_or_refused_with_a_sentence(line: str, reader: ScoreParser) -> None:
    try:
        found = reader.of_line(line, "score")
    except TunerError as refused:
        sentence = str(refused)
    else:
        assert found is None or all(isinstance(each, float) for each in found.scores.values())
        return
    assert len(sentence) < 500
    assert commands_in(sentence) == []


@given(
    text=st.text(st.characters(), max_size=40) | st.sampled_from(["(" * 5000, "(a){99999999999}", *HOSTILE.values()])
)
@example(text=HOSTILE["ten thousand"])
@example(text="(a)" * 3000)
def test_a_pattern_of_anything_is_taken_or_refused_with_a_sentence(text: str) -> None:
    try:
        ScoreParser.of(text)
    except TunerError as refused:
        sentence = str(refused)
    else:
        return
    assert len(sentence) < 500
    assert commands_in(sentence) == []


@given(chunks=st.lists(st.binary(max_size=50) | st.sampled_from([b"\n", b"\r", b"\xff" * 250_000]), max_size=8))
def test_lines_of_any_bytes_come_one_by_one_and_none_is_long(chunks: list[bytes]) -> None:
    with TemporaryDirectory() as folder, closing(Lines(Path(folder) / "out")) as lines:
        found: list[str] = []
        for chunk in chunks:
            with (Path(folder) / "out").open("ab") as file:
                file.write(chunk)
            found += lines.new()
        found += lines.new(all_=True)
    assert all(len(line) <= 100_000 and "\n" not in line and "\r" not in line for line in found)
    assert len([line for line in found if line]) == len([each for each in b"".join(chunks).splitlines() if each])


# ── a trial that prints all of it ───────────────────────────────────────────────────────────────

PRINTS = """
    import sys
    for line in {lines!r}:
        sys.stdout.buffer.write(line + b"\\n")
        sys.stderr.buffer.write(line + b"\\n")
    sys.stdout.buffer.write(b"x" * 20_000_000 + b"\\x1b[2J\\xff\\x00\\n")
    print("val_acc=0.5", flush=True)
    sys.exit({code})
"""


@pytest.mark.parametrize("code", [0, 1], ids=["and succeeds", "and fails"])
def test_a_program_that_prints_anything_is_heard_and_what_it_printed_commands_no_terminal(
    tmp_path: Path, code: int
) -> None:
    lines = [text.encode("utf-8", "surrogatepass") for text in HOSTILE.values()]
    text = PRINTS.format(lines=lines, code=code)
    given: dict[str, Any] = {"trials": 1, "failures_in_a_row": 9, "max_failures": 9}
    with sweep(tmp_path, train(tmp_path, text, metric=r"val_acc=(\S+)"), **given) as study:
        (trial,) = study.state.trials
        assert trial.state == ("failed" if code else "completed")
        assert trial.best_score == 0.5
        printed = study.printed(0)
        assert "日本語" in printed
        assert commands_in(printed + trial.why + study.traceback(0)) == []
    with serving.client(serving.app(tmp_path)) as asking:
        for path in ("/v1/studies/night/trials/0", "/studies/night/trials/0"):
            told = asking.get(path).text
            assert commands_in(told.replace("\r", "")) == []
            assert "val_acc=0.5" in told
            assert len(told) < 200_000


def test_of_a_file_that_still_grows_the_end_is_told(tmp_path: Path) -> None:
    with closing(diary(tmp_path)) as store:
        store.append(beginning(0), NOON)
    log = tmp_path / "night" / "logs" / "0.log"
    log.parent.mkdir()
    log.write_bytes(b"begun\n")
    os.truncate(log, 10**12)  # which takes no room on the disk
    with log.open("ab") as file:
        file.write("the end \x9b2J é\n".encode())
    assert printed_of(tmp_path / "night", 0, 16) == "the end �2J é\n"
    with tuner.open("night", results=tmp_path) as study:
        assert study.printed(0).endswith("the end �2J é\n")


def test_what_a_process_says_last_is_told_without_what_commands_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_line(tmp_path / "none.log", "nothing") == "nothing"
    (tmp_path / "loud.py").write_text("import os\nos.write(2, b'\\x1b[31mno data\\x1b[2J')\nos._exit(3)")
    monkeypatch.chdir(tmp_path)
    ada = Agent.called("ada", tmp_path / "results", None, home=tmp_path)
    given: dict[str, Any] = {"train": "loud:train", "space": "adam", "objective": "score", "why": "so"}
    with pytest.raises(TunerError, match="no data�") as refused:
        ada.sweep(name="new", executor="local", **given)
    assert commands_in(str(refused.value)) == []
