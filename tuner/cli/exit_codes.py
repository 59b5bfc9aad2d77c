"""The exit codes of the shell's verbs."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2  # as click has it
NOT_YET = 3
"""On record, and not yet applied."""
INTERRUPTED = 130
"""As a shell says it: 128 and the number of SIGINT."""
