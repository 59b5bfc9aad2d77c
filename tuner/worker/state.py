"""The state of a training function, as `run.state` is told of it: objects, or two functions of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tuner.errors import CheckpointError, TrainingError, format_error
from tuner.worker import contents
from tuner.worker.disk import DISK_IS_FULL

OBJECTS = "state"


class State(Protocol):
    """What a training function registers with `run.state`: it can be captured between two steps and read back."""

    pickled: str | None
    """What of the state captured last only a pickle keeps, in words; None where reading it runs no code."""

    def capture(self, folder: Path) -> Mapping[str, bytes]:
        """Fix the state as it is now: files by name still to be written, beside those already written to the folder."""

    def read(self, folder: Path) -> None:
        """Restore the state from the files in the folder."""


class ObjectState:
    """The state of objects with `state_dict()` and `load_state_dict()`, kept together in the order given.

    What they hold of arrays, tensors and plain values is kept as such; anything else makes a pickle of the whole.
    """

    def __init__(self, *objects: Any) -> None:
        if not objects:
            raise TrainingError("run.state: nothing to save. Name the objects to save, or give save= and load=.")
        for each in objects:
            for method in ("state_dict", "load_state_dict"):
                if not callable(getattr(each, method, None)):
                    raise TrainingError(
                        f"run.state: {type(each).__name__} has no {method}(), so it cannot be saved and restored. "
                        "Give it state_dict() and load_state_dict(), or use run.state(save=..., load=...)."
                    )
        self.objects = objects
        self.pickled: str | None = None

    @property
    def names(self) -> list[str]:
        """The objects' types, for people to read."""
        return [type(each).__name__ for each in self.objects]

    def capture(self, folder: Path) -> Mapping[str, bytes]:  # noqa: ARG002 - kept in memory, written later
        """Copy every `state_dict()` in memory, so that training may go on at once."""
        try:
            content = [(type(each).__name__, each.state_dict()) for each in self.objects]
            kept, self.pickled = contents.kept(OBJECTS, content)
            return kept
        except Exception as error:
            raise TrainingError(
                f"run.state: the state of {', '.join(self.names)} cannot be pickled: {format_error(error)}. "
                "state_dict() should hold arrays, tensors and plain values."
            ) from error

    def read(self, folder: Path) -> None:
        """Give each object its saved `state_dict()`, in the order that they were saved."""
        path = contents.file_of(folder, OBJECTS)
        if path is None:
            raise CheckpointError(
                f"checkpoint {folder.parent} holds files of run.state(save=...), not the state of "
                f"{', '.join(self.names)}. Register the state the way it was saved."
            )
        saved = contents.read(path)
        if not isinstance(saved, list) or any(not isinstance(each, tuple) or len(each) != 2 for each in saved):
            raise CheckpointError(f"checkpoint file {path} holds no states of objects. Use an earlier checkpoint.")
        if len(saved) != len(self.objects):
            raise TrainingError(
                f"run.state: checkpoint {folder.parent} holds the state of {len(saved)} objects "
                f"({', '.join(name for name, _ in saved)}), this run registers {len(self.objects)} "
                f"({', '.join(self.names)}). Register the same objects in the same order."
            )
        for each, (name, content) in zip(self.objects, saved, strict=True):
            try:
                each.load_state_dict(content)
            except Exception as error:
                raise TrainingError(
                    f"run.state: {type(each).__name__}.load_state_dict() failed on the state of {name} in checkpoint "
                    f"{folder.parent}: {format_error(error)}. Register the same objects, in the same order and shapes."
                ) from error


class FolderState:
    """State that the user's own `save(folder)` and `load(folder)` write and read; called between two steps."""

    pickled: str | None = None

    def __init__(self, save: Callable[[Path], object], load: Callable[[Path], object]) -> None:
        for word, function in (("save", save), ("load", load)):
            if not callable(function):
                raise TrainingError(
                    f"run.state: {word}= must be a function of a folder, got {type(function).__name__}. "
                    "Give both save= and load=."
                )
        self.save, self.load = save, load

    def capture(self, folder: Path) -> Mapping[str, bytes]:
        """Call the user's `save`, which leaves its files in the folder."""
        try:
            self.save(folder)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
                raise  # told as a checkpoint that was not saved
            raise TrainingError(f"run.state: save({str(folder)!r}) failed: {format_error(error)}.") from error
        if not any(folder.iterdir()):
            raise TrainingError("run.state: save(folder) wrote nothing into its folder: there is nothing to return to.")
        return {}

    def read(self, folder: Path) -> None:
        """Call the user's `load`."""
        try:
            self.load(folder)
        except Exception as error:
            raise TrainingError(f"run.state: load({str(folder)!r}) failed: {format_error(error)}.") from error
