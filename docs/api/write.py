"""The API reference as HTML, from the docstrings of everything public: `make docs`."""

from __future__ import annotations

import inspect
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pdoc

MODULES = ("tuner", "tuner.callbacks", "tuner.errors")  # samplers and workloads are names of tuner
TEMPLATES = Path(__file__).parent


def write(to: Path) -> None:
    """Writes a page for each module, and an index, into a folder."""
    errors = import_module("tuner.errors")  # whose functions word the errors, and are nobody else's
    vars(errors)["__all__"] = [
        name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)
    ]
    for name in (*MODULES, "tuner.samplers"):
        _make_visible(import_module(name))
    # Fields keep the types of the modules that they come from as they are written there.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    pdoc.render.configure(docformat="google", show_source=False, template_directory=TEMPLATES)
    pdoc.pdoc(*MODULES, output_directory=to)


def _make_visible(module: ModuleType) -> None:
    """pdoc shows what lies in a module or class itself: neither what is imported when used, nor what is inherited."""
    for name in getattr(module, "__all__", ()):
        thing = vars(module)[name] = getattr(module, name)
        for base in thing.__mro__[1:] if inspect.isclass(thing) else ():
            for member, value in vars(base).items() if base.__module__.startswith("tuner.") else ():
                if not member.startswith("_") and member not in vars(thing):
                    setattr(thing, member, value)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
