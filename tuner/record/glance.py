"""A glance at a study: what one line about it says, without folding its record.

Of a file that nobody writes to it is read as it lies, without locks, logs and what else a connection takes: of a
thousand studies in a folder a few are in anybody's hands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tuner.record.database import as_it_lies
from tuner.record.lease import Lease
from tuner.record.patience import delayed
from tuner.record.schema import ALONE, VERSION, Schema, compiled

First: TypeAlias = Callable[[Any], Sequence[Any] | None]
"""The first row that a statement of the schema finds."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A study at a glance: `brief` as a store has it, when it was last written to, and who holds it, or did."""

    brief: dict[str, Any]
    written_at: float | None
    lease: Lease


def glance_at(path: Path) -> Sighting | None:
    """What is seen of a file as it lies; None where somebody may write to it, or a store has to be asked.

    A store is, of what cannot be read, for the reason; and of a study with several seeds, for how far they differ.
    """
    return as_it_lies(path, lambda ask: _seen(lambda statement: ask(compiled(statement, "sqlite"))))


def _seen(first: First) -> Sighting | None:
    held = first(ALONE.held)
    if held is None or held["schema_version"] != VERSION:  # type: ignore[call-overload]  # by name, too
        return None
    brief, step = brief_of(ALONE, first)
    if step is not None:
        return None
    newest = first(ALONE.written) or ()
    written_at = max((at for at in newest if at is not None), default=None)
    return Sighting(brief=brief, written_at=written_at, lease=Lease.of(held))  # type: ignore[arg-type]


def brief_of(schema: Schema, first: First) -> tuple[dict[str, Any], int | None]:
    """What one line about a study needs; and where its seeds are to be compared: the best step, None with one seed."""
    kind, identity, trials, ended = first(schema.opened) or ("", "{}", 0, 0)
    identity = json.loads(identity)
    led = first(schema.leader) or first(schema.winners[identity.get("goal", "maximize")])
    best_trial, best, step = led or (None, None, None)
    aside, delay = first(schema.aside) if ended < trials else None, first(schema.delay)
    told = {"kind": kind, "objective": identity.get("objective", ""), "trials": trials, "ended": ended}
    told |= {"best": best, "best_trial": best_trial, "aside": aside[0] if aside else 0}
    told["delay"] = delayed(*delay) if delay else ""
    return told, step if identity.get("seeds", 1) > 1 else None
