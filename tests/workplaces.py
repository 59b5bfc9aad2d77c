"""A folder to stand in with a training function in it, as whoever types a command does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

MODULE = "my_training"


@contextmanager
def standing_in(folder: Path, training: str) -> Iterator[Path]:
    """Writes the training as `my_training.py` and stands beside it; no other folder's module of that name is met."""
    (folder / f"{MODULE}.py").write_text(training)
    sys.modules.pop(MODULE, None)
    with chdir(folder):
        try:
            yield folder
        finally:
            sys.modules.pop(MODULE, None)
            while str(folder) in sys.path:
                sys.path.remove(str(folder))
