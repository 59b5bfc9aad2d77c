"""A GPU's memory: its want has a word, and what a trial held is free before the next begins. No GPU is needed here."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweeping import sweep

import tuner
from tuner.space.constructors import integer
from tuner.worker.device_memory import give_back, ran_out


def error_of(module: str, name: str, base: type[Exception] = RuntimeError) -> type[Exception]:
    """A class of exceptions as a framework that is not installed here has it."""
    return type(name, (base,), {"__module__": module})


TORCH = error_of("torch", "OutOfMemoryError")
TOLD = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB"


@pytest.mark.parametrize(
    "failure",
    [
        TORCH(TOLD),
        TORCH("another sentence of a version to come"),
        error_of("torch.cuda", "OutOfMemoryError")(TOLD),
        error_of("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("Out of memory allocating 1,024 bytes"),
        error_of("mine", "Mine", TORCH)("a class of the user's own"),
        RuntimeError(TOLD),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.10 GB)"),
        error_of("jaxlib.xla_extension", "XlaRuntimeError")("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592"),
        error_of("tensorflow.python.framework.errors_impl", "ResourceExhaustedError")(
            "OOM when allocating tensor with shape[9,9] on /job:localhost/replica:0/task:0/device:GPU:0 by GPU_0_bfc"
        ),
        ExceptionGroup("several", [ValueError("x"), TORCH(TOLD)]),
    ],
    ids=lambda failure: f"{type(failure).__name__} {failure}"[:40],
)
def test_whatever_a_framework_calls_it_a_gpu_without_memory_is_known(failure: Exception) -> None:
    assert ran_out(failure)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        ValueError("out of memory"),
        error_of("mine", "OutOfMemoryError")("of another kind"),
        error_of("tensorflow.errors", "ResourceExhaustedError")("OOM when allocating tensor on device:CPU:0"),
    ],
    ids=repr,
)
def test_other_wants_are_none_of_a_gpu(failure: Exception) -> None:
    assert not ran_out(failure)


def test_a_cause_counts_and_a_circle_of_causes_ends() -> None:
    outer, inner = ValueError("training failed"), TORCH(TOLD)
    outer.__cause__, inner.__cause__ = inner, outer
    assert ran_out(outer)
    outer.__cause__ = outer.__context__ = None
    assert not ran_out(outer)


def test_a_trial_that_runs_out_of_gpu_memory_has_failed_with_that_word_and_the_next_one_trains(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        if run.params["batch_size"] == 2:
            raise TORCH(TOLD)
        run.report(score=1.0)

    study = sweep(tmp_path, train, tuner.Space(batch_size=integer(1, 3)), sampler="grid", trials=3)
    assert sorted(study.trials["state"]) == ["completed", "completed", "failed"]
    why = study.trials.query("state == 'failed'")["why"].item()
    assert why.startswith("out of GPU memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB")


def test_what_a_trial_gave_to_its_state_is_free_before_the_next_begins(tmp_path: Path) -> None:
    class Weights:
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

    made: list[weakref.ref[Weights]] = []
    alive: list[int] = []

    def train(run: tuner.Run) -> None:
        alive.append(sum(each() is not None for each in made))
        weights = Weights()
        made.append(weakref.ref(weights))
        run.state(weights)
        for _ in run.steps(2):
            run.report(score=1.0)
        if len(made) == 2:
            raise ValueError("its traceback holds the weights too")

    gc.collect()
    gc.disable()
    try:
        sweep(tmp_path, train, trials=4, sampler="random", stopping="off")
    finally:
        gc.enable()
    assert alive == [0, 0, 0, 0]


@pytest.mark.long
def test_a_framework_in_use_is_asked_to_give_back_and_one_that_is_broken_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Circle:
        def __init__(self) -> None:
            self.itself = self

    def empty_cache() -> None:
        asked.append("emptied" if held() is None else "emptied too early")

    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def torch(*, in_use: bool, empty_cache: Any = empty_cache) -> None:
        cuda = SimpleNamespace(is_initialized=lambda: in_use, empty_cache=empty_cache)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    held = weakref.ref(Circle())
    torch(in_use=False)
    give_back()
    assert asked == []
    torch(in_use=True)
    give_back()
    assert asked == ["emptied"]
    torch(in_use=True, empty_cache=broken)
    give_back()
