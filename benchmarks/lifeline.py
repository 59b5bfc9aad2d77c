"""What is done once this process is gone, whatever it died of: by a shell that waits for the end of its input."""

from __future__ import annotations

import subprocess
from typing import Any


class Lifeline:
    """A shell of its own session that runs a script when whoever made it is gone without having let it go."""

    def __init__(self, script: str, *words: str, **user: Any) -> None:
        """The script has the words as $0, $1, …; `user` is who runs it, as `subprocess` takes it."""
        self._shell = subprocess.Popen(
            ["sh", "-c", f"read -r _; {script}", *words],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **user,
        )

    def let_go(self) -> None:
        """There is nothing left to do."""
        self._shell.kill()
        self._shell.wait()
        assert self._shell.stdin is not None
        self._shell.stdin.close()
