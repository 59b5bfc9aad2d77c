"""The executors, where trials train: in this process, on a Ray cluster, or in programs that ask for them."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

ExecutorName: TypeAlias = Literal["ray", "local", "external"]
EXECUTORS: tuple[ExecutorName, ...] = get_args(ExecutorName)
"""What the executor of a sweep is called, in Python and in the shell."""

FunctionExecutor: TypeAlias = Literal["ray", "local"]
FUNCTION_EXECUTORS: tuple[FunctionExecutor, ...] = get_args(FunctionExecutor)
"""Those that call a training function themselves."""

PROGRAMS = "programs that ask for their trials"
"""What stands on record in place of a training function where there is none."""
