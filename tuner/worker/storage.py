"""The storage of a study's checkpoints: what a folder and an object store have in common, and the folder.

A checkpoint has the name that the record gives it: `checkpoints/<trial>/<segment>-<step>`, or `beginning`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tuner.errors import CheckpointError
from tuner.worker import checkpoints
from tuner.worker.checkpoints import FOLDER, Written
from tuner.worker.leftovers import sweep_leftovers
from tuner.worker.manifest import MANIFEST, Manifest, claimed_sha256
from tuner.worker.state import State


class Unwritten(Protocol):
    """A state fixed between two steps, to be written by any thread while training goes on."""

    def write(self) -> Written:
        """Makes the checkpoint durable and visible, whole; else `CheckpointError`, and nothing is to be seen of it."""
        ...


class Storage(Protocol):
    """Where the checkpoints of one study lie, each by its name; it travels to the workers as it is."""

    def shown(self, name: str) -> str:
        """Where a checkpoint lies, for people."""
        ...

    def take(self, name: str, *, step: int, state: State, settings: Mapping[str, Any]) -> Unwritten:
        """Fixes everything that belongs into a checkpoint; this is all that training waits for."""
        ...

    def fetched(
        self, name: str, *, sha256: str | None = None, say: Callable[[str], None] | None = None
    ) -> AbstractContextManager[Path]:
        """A checkpoint in a folder of this machine, every byte of it verified; the folder lasts as long as the context.

        Where it has to be waited for, `say` is told why, and the empty text once it is not any more.
        Raises `CheckpointError` where it is missing, torn, or not the one recorded (`sha256`).
        """
        ...

    def look(self, name: str, *, sha256: str | None = None) -> Manifest:
        """Whether a checkpoint is there, whole as far as can be told without moving it; else `CheckpointError`."""
        ...

    def adopt(self, folder: Path, name: str, *, sha256: str | None = None) -> None:
        """A copy of a checkpoint in a folder, under a name of its own; durable, verified, or nothing there."""
        ...

    def delete(self, name: str) -> None:
        """Removes a checkpoint; one that is gone already is fine. Raises `CheckpointError` where it is refused."""
        ...

    def mend(self) -> None:
        """Removes what saves that died left half-written; whoever writes still is let be."""
        ...

    def lying(self) -> Sequence[str]:
        """The checkpoints of trials that are there, by name, whether or not the record knows of them."""
        ...

    def halves(self) -> Sequence[str]:
        """What is there of saves that never ended, and took up a checkpoint's name."""
        ...

    def saved_at(self, name: str) -> float:
        """When one of those was written, in Unix seconds."""
        ...

    def claimed(self, name: str) -> str | None:
        """The hash that a checkpoint's own manifest gives; None where that cannot be read."""
        ...

    def set_aside(self, names: Sequence[str]) -> str:
        """Moves checkpoints to where no trial writes; says where."""
        ...


@dataclass(frozen=True)
class FolderStorage:
    """Checkpoints in a study's folder, which every worker sees."""

    folder: Path

    @property
    def root(self) -> Path:
        """The folder that holds the trials' checkpoints."""
        return self.folder / FOLDER

    def shown(self, name: str) -> str:
        """Its path."""
        return str(self.folder / name)

    def take(self, name: str, *, step: int, state: State, settings: Mapping[str, Any]) -> Unwritten:
        """A snapshot beside its final name."""
        return checkpoints.Snapshot.take(self.folder / name, step=step, state=state, settings=settings)

    @contextmanager
    def fetched(
        self,
        name: str,
        *,
        sha256: str | None = None,
        say: Callable[[str], None] | None = None,  # noqa: ARG002 - it is there, or it is not
    ) -> Iterator[Path]:
        """The checkpoint where it lies."""
        checkpoints.verify(self.folder / name, sha256=sha256)
        yield self.folder / name

    def look(self, name: str, *, sha256: str | None = None) -> Manifest:
        """Hashes every file."""
        return checkpoints.verify(self.folder / name, sha256=sha256)

    def adopt(self, folder: Path, name: str, *, sha256: str | None = None) -> None:
        """Copies it, and verifies the copy."""
        checkpoints.copy(folder, self.folder / name, sha256=sha256)

    def delete(self, name: str) -> None:
        """Removes the folder; nothing but a checkpoint goes."""
        checkpoints.delete(self.folder / name, root=self.root)

    def mend(self) -> None:
        """Sweeps what is hidden beside the checkpoints."""
        sweep_leftovers(self.root)

    def lying(self) -> Sequence[str]:
        """Folders with a manifest; links are none."""
        if not self.root.is_dir():
            return []
        return sorted(str(path.relative_to(self.folder)) for path in checkpoints.lying_below(self.root))

    def halves(self) -> Sequence[str]:
        """None: a folder gets its name when it is whole."""
        return []

    def saved_at(self, name: str) -> float:
        """When its manifest was written."""
        return (self.folder / name / MANIFEST).lstat().st_mtime

    def claimed(self, name: str) -> str | None:
        """What its manifest says."""
        return claimed_sha256(self.folder / name)

    def set_aside(self, names: Sequence[str]) -> str:
        """Renames them into a folder of their own."""
        number = 1
        while (aside := self.root / f"set-aside-{number}").exists():
            number += 1
        for name in names:
            path = self.folder / name
            target = aside / path.relative_to(self.root)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(target)
        return str(aside)


def copied(name: str, source: Storage, to: Storage, as_name: str, *, sha256: str | None) -> None:
    """A copy of a checkpoint in another study's storage, or `CheckpointError` and nothing there."""
    try:
        with source.fetched(name, sha256=sha256) as folder:
            to.adopt(folder, as_name, sha256=sha256)
    except CheckpointError:
        with suppress(CheckpointError):
            to.delete(as_name)
        raise
