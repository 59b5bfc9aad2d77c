"""What a trial says lands in its log, whoever says it: tried in processes of their own, whose output it takes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SETTING = """
import logging, os, subprocess, sys, threading
from pathlib import Path
from tuner.executors import trial_log
from tuner.executors.trial_log import TrialLog

logging.basicConfig(stream=sys.stderr)  # made before there was a trial
log = TrialLog(Path("logs"))
print("before")
"""


def logs_of(folder: Path, code: str, *python: str) -> tuple[dict[str, str], str]:
    """The logs that some code leaves, and what it has said beside them."""
    told = subprocess.run(
        [sys.executable, *python, "-c", SETTING + textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    return {path.name: path.read_text() for path in (folder / "logs").glob("*")}, told.stdout + told.stderr


def test_prints_children_c_and_old_handlers_land_in_the_log_of_the_trial_that_trains(tmp_path: Path) -> None:
    logs, beside = logs_of(
        tmp_path,
        """
        import ctypes
        for trial in (3, 4):
            with log.of(trial):
                print("printed")
                print("to the first", file=sys.__stdout__)
                os.write(1, b"written\\n")
                subprocess.run([sys.executable, "-c", "print('child')"], check=True)
                subprocess.run(["echo", "given"], stdout=sys.stdout, check=True)
                logging.getLogger("old").warning("handled")
                ctypes.CDLL(None).puts(b"from C")
                sys.stdout.buffer.write(b"bytes\\n")
                print("dots", end="")
        print("between")
        """,
    )
    said = ["printed", "to the first", "written", "child", "given", "handled", "from C", "bytes", "dots"]
    assert set(logs) == {"3.log", "4.log"}
    for text in logs.values():
        assert [text.count(each) for each in said] == [1] * len(said)
    assert beside == "before\nbetween\n"


def test_the_streams_of_a_trial_are_text_streams_like_any(tmp_path: Path) -> None:
    logs, _ = logs_of(
        tmp_path,
        """
        import faulthandler
        with log.of(0):
            for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
                assert stream.fileno() == number
                assert (stream.encoding, stream.isatty(), stream.writable()) == ("utf-8", False, True)
                stream.reconfigure(line_buffering=True)
            faulthandler.enable()
            print("caf\\udce9 \\u00e9")
            sys.stdout.close()
        with log.of(1):
            print("as if nothing had happened")
        """,
    )
    assert logs == {"0.log": "caf\\udce9 é\n", "1.log": "as if nothing had happened\n"}


def test_the_last_words_of_a_process_that_dies_are_in_the_log(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", SETTING + "with log.of(0):\n    print('dying', end='')\n    os.kill(os.getpid(), 9)"],
        cwd=tmp_path,
        timeout=60,
        capture_output=True,
    )
    assert (tmp_path / "logs" / "0.log").read_text() == "dying"


def test_a_log_is_bounded_whoever_writes_it_and_is_not_kept_empty(tmp_path: Path) -> None:
    logs, beside = logs_of(
        tmp_path,
        """
        trial_log._LIMIT_BYTES = 1000
        with log.of(0):
            for _ in range(10):
                print("x" * 300)
        with log.of(1):
            os.write(1, b"y" * 5000)
            log.trim()
            assert os.fstat(1).st_size < 1100
            os.write(1, b"z" * 5000)
        with log.of(2):
            pass
        """,
    )
    assert set(logs) == {"0.log", "1.log"}
    for text, letter in ((logs["0.log"], "x"), (logs["1.log"], "y")):
        assert len(text) < 1100
        assert text.startswith(letter * 300)
        assert "nothing beyond" in text
    assert "z" not in logs["1.log"]
    assert beside == "before\n"


def test_a_folder_that_cannot_be_written_loses_the_words_and_not_the_trial(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    logs, beside = logs_of(tmp_path, "with log.of(0): print('lost')")
    assert logs == {}
    assert beside == "before\n"
