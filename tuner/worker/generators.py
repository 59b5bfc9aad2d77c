"""The global random generators: Python's, NumPy's, and torch's where torch is loaded."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Mapping
from typing import Any, cast

from tuner.errors import CheckpointError, format_error


def capture_generators() -> dict[str, Any]:
    """The state of the Python and NumPy global generators, and of torch's where torch is loaded."""
    import numpy as np  # a tenth of a second that `tuner ls` need not wait for

    generators: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}
    if torch := cast(Any, sys.modules.get("torch")):
        generators["torch"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_initialized():
            generators["cuda"] = [each.numpy().tobytes() for each in torch.cuda.get_rng_state_all()]
    return generators


def restore_generators(generators: Mapping[str, Any]) -> None:
    """Put the global generators back; devices that this machine lacks are passed over."""
    import numpy as np

    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])
    if "torch" not in generators:
        return
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise CheckpointError(
            f"the checkpoint was saved with torch, which cannot be imported here: {format_error(error)}. Install it."
        ) from error

    def tensor(content: bytes) -> Any:
        return torch.frombuffer(bytearray(content), dtype=torch.uint8)

    torch.set_rng_state(tensor(generators["torch"]))
    for device, content in enumerate(generators.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(tensor(content), device)
