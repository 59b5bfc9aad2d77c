"""A job of a Ray cluster: what a process is told that `ray job submit` has started on the head."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TOLD = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # the variable's own name, as ray.init reads it


def is_one() -> bool:
    """Whether this process is a job, or was started by one."""
    return bool(os.environ.get(_TOLD))


def brings_code() -> bool:
    """Whether the job has a working directory, which Ray then gives to every worker, and takes no second one."""
    return "working_dir" in _environment()


def passes(folder: Path) -> bool:
    """Whether the folder lies in the job's copy of its working directory, which Ray clears away."""
    return brings_code() and folder.absolute().is_relative_to(Path.cwd())


def _environment() -> Mapping[str, Any]:
    told = json.loads(os.environ.get(_TOLD) or "{}")
    found: Mapping[str, Any] = told.get("runtime_env") or {}
    return found
