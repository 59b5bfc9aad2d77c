"""The checkpoint folder of a program: what it wrote there to resume from, kept and put back as the state of its run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tuner.programs.process import Process
from tuner.programs.scores import Steps
from tuner.record.atomic import write_whole

_FILES, _POSITION = "files", "position.json"


class CheckpointFolder:
    """One folder in which a program saves what it resumes from; a program that finds it empty begins anew.

    How far training is in it, nobody but the program knows. It is taken to be the step whose scores came first after
    the folder had changed, since a program saves and then prints; one that names its steps needs no such guess.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put_back = False
        """Whether another state lies in the folder than the program has, so that it must be started again."""
        self.process: Process | None = None
        self._position: Mapping[str, Any] = {}
        self._seen: object = None

    def begin(self) -> None:
        """An empty folder, unless something was put back into it."""
        if not self.put_back:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.put_back = False
        self._seen = self._look()

    def steps(self, done: int) -> Steps:
        """How the scores of a program are counted that begins with what lies in the folder, `done` being on record."""
        return Steps(self._position.get("step", 0), first=self._position.get("first"), known=done)

    def noticed(self, step: int, steps: Steps) -> None:
        """Scores of a step came: if the folder has changed since the last, it is of this step."""
        if (seen := self._look()) != self._seen:
            self._seen = seen
            self._position = {"step": step, "first": steps.first}

    def save(self, to: Path) -> None:
        """Copies the folder; between two steps, where the program stands still."""
        shutil.copytree(self.folder, to / _FILES, ignore_dangling_symlinks=True)
        write_whole(to / _POSITION, json.dumps(self._position).encode())

    def load(self, place: Path) -> None:
        """Ends the program, which knows nothing of it, and puts a copy back."""
        if self.process is not None:
            self.process.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        if (place / _FILES).is_dir():
            shutil.copytree(place / _FILES, self.folder)
        self._position = json.loads((place / _POSITION).read_text())
        self.put_back = True

    def _look(self) -> object:
        """What tells whether anything in the folder has changed."""
        found = []
        for folder, within, files in os.walk(self.folder):  # which passes over a folder that is gone meanwhile
            for path in (Path(folder, name) for name in (*within, *files)):
                with suppress(OSError):
                    status = path.stat()
                    found.append((path, status.st_mtime_ns, status.st_size))
        return sorted(found)
