"""Records as tidy pandas tables."""

from __future__ import annotations

from tuner.tables.frames import COLUMNS

__all__ = ["COLUMNS"]
