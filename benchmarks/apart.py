"""How one measurement runs in a process of its own, so that memory, imports and Ray sessions never mix."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

Outcome: TypeAlias = Mapping[str, float] | str
"""The figures by name, or the sentence that says why there are none."""

HERE = Path(__file__).resolve().parent
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}


class NotInstalled(Exception):
    """A peer that this environment lacks; the message is the command that installs it."""


def measured_apart(
    function: Callable[..., Mapping[str, float]], *, timeout_s: float = 240.0, **arguments: object
) -> Outcome:
    """Call a module-level `function` of this folder in a fresh interpreter; no failure of it ends the benchmark."""
    with tempfile.TemporaryDirectory(prefix="apart-") as folder:
        answer, complaint = Path(folder) / "answer.json", Path(folder) / "stderr"
        call = [f"{function.__module__}:{function.__name__}", json.dumps(arguments), str(answer)]
        # Ray's workers inherit the path, so they find the training functions of this folder by import.
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        with complaint.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, __file__, *call],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **QUIET, "PYTHONPATH": path},
                start_new_session=True,
            )
            ended = _wait(process, timeout_s)
        if not ended:
            return f"no figure within {timeout_s:.0f} s"
        if not answer.exists():
            last = complaint.read_text(errors="replace").strip().splitlines()[-1:] or ["no word on stderr"]
            return f"exit code {process.returncode}: {last[0][:200]}"
        outcome: Outcome = json.loads(answer.read_text())
        return outcome


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether the process ended by itself; an overdue one is interrupted, so that it shuts Ray down, then killed."""
    try:
        process.wait(timeout_s)
        return True
    except subprocess.TimeoutExpired:
        pass
    except BaseException:  # Ctrl-C ends the child as well
        _end(process)
        raise
    _end(process)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGINT, 15.0), (signal.SIGKILL, 15.0)):
        try:
            os.killpg(process.pid, sign)
            process.wait(patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def main() -> None:
    """Run `module:function arguments answer`, and leave the figures or the reason in the file `answer`."""
    target, arguments, answer = sys.argv[1:]
    module, _, name = target.partition(":")
    outcome: Outcome
    try:
        outcome = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    except Exception as error:
        # By name: run as a script, this file's NotInstalled is not the class that the peers import.
        traceback.print_exc()
        missing = type(error).__name__ == NotInstalled.__name__
        outcome = f"not installed: {error}" if missing else f"{type(error).__name__}: {str(error).strip()[:300]}"
    Path(answer).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
