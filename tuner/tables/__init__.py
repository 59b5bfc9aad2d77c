"""Records as tidy pandas tables."""

from __future__ import annotations

from tuner.tables.columns import COLUMNS

__all__ = ["COLUMNS"]
