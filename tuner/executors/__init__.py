"""The executors, where training functions run: in this process, or on a Ray cluster."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

ExecutorName: TypeAlias = Literal["ray", "local"]
EXECUTORS: tuple[ExecutorName, ...] = get_args(ExecutorName)
"""What an executor is called, in Python and in the shell."""
