"""The memory of a GPU: whether a failure is its want, and its return between two trials of one process.

Frameworks are asked where they are loaded, and known by what they say; none is imported for it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

from tuner.errors import format_error, name_of

OUT_OF_GPU_MEMORY = "out of GPU memory"

_MOST_CAUSES = 16
# What PyTorch (CUDA, ROCm, XPU, Apple), CuPy, JAX, TensorFlow, cuBLAS and the CUDA runtime say, in small letters.
_SAID = (
    "cuda out of memory",
    "hip out of memory",
    "xpu out of memory",
    "mps backend out of memory",
    "cuda error: out of memory",
    "cuda_error_out_of_memory",
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "resource_exhausted: out of memory",
)
# What TensorFlow says of main memory too, but for the device.
_SAID_OF_A_DEVICE = ("oom when allocating", "device:gpu")
# By its class where its words are its own: torch.OutOfMemoryError, cupy.cuda.memory.OutOfMemoryError.
_CLASS, _HOMES = "OutOfMemoryError", ("torch", "cupy")


def ran_out(failure: BaseException) -> bool:
    """Whether a failure, or what caused it, is that a GPU had no memory left.

    >>> ran_out(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")), ran_out(MemoryError())
    (True, False)
    """
    return any(_is_of_a_gpu(each) for each in _with_causes(failure))


def give_back() -> None:
    """Lets other processes have what frameworks keep of a GPU; a moment where none is in use.

    What the trial before held may hang together in circles, so these are collected first.
    """
    torch, cupy = cast(Any, sys.modules.get("torch")), cast(Any, sys.modules.get("cupy"))
    with suppress(Exception):  # a device that is broken says so to whoever trains on it next
        if torch is not None and torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()
    with suppress(Exception):
        if cupy is not None:
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()


def _with_causes(failure: BaseException) -> Iterator[BaseException]:
    waiting, seen = [failure], set[int]()
    while waiting and len(seen) < _MOST_CAUSES:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        context = None if each.__suppress_context__ else each.__context__
        waiting += [cause for cause in (each.__cause__, context) if cause is not None]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _is_of_a_gpu(failure: BaseException) -> bool:
    for kind in type(failure).__mro__:
        if name_of(kind) == _CLASS and str(kind.__module__).partition(".")[0] in _HOMES:
            return True
    said = format_error(failure).lower()
    return any(words in said for words in _SAID) or all(words in said for words in _SAID_OF_A_DEVICE)
