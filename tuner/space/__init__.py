"""The space that is searched: parameters, each with its scale, and the files that declare them."""

from __future__ import annotations

from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.files import available_spaces
from tuner.space.space import Space

__all__ = ["Space", "available_spaces", "choice", "integer", "linear", "log", "log_one_minus"]
