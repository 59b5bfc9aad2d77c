"""What is searched: parameters, each with its scale, and the files that declare them."""

from __future__ import annotations

from tuner.space.space import Space, available_spaces, choice, integer, linear, log, log_one_minus

__all__ = ["Space", "available_spaces", "choice", "integer", "linear", "log", "log_one_minus"]
