"""What tuner itself reaches: each function here runs one measurement to its end, in a process of its own.

What counts is what lies on the disk: rates are read between commits, and compared with the study's tables afterwards.
"""

from __future__ import annotations

import gc
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
from training import fifty_steps, hundred_reports, one_report, one_second, ten_reports, timed_reports, timed_steps

import tuner
from tuner.record.state import StudyState

# ── measurements ─────────────────────────────────────────────────────────────────────────────────────────────────────


def space() -> tuner.Space:
    return tuner.Space(learning_rate=tuner.log(1e-4, 1.0), beta=tuner.log_one_minus(0.9, 0.999))


class Ends:
    """A face: shown the study after each commit, it notes when how many trials and steps were on the disk."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int, int]] = []

    def show(self, study: StudyState, status: object) -> None:  # noqa: ARG002 - a face is also told how busy all are
        self.marks.append((time.perf_counter(), len(study.ended_order), study.steps_done))

    def close(self) -> None:
        pass

    def rates(self) -> tuple[float, float]:
        """Trials and steps a second, from the first commit with an ended trial to the one with the last."""
        (began, first, first_steps), *_ = [mark for mark in self.marks if mark[1]]
        ended, last, last_steps = next(mark for mark in self.marks if mark[1] == self.marks[-1][1])
        return (last - first) / (ended - began), (last_steps - first_steps) / (ended - began)


def sweep_rate(
    *, parallel: int, trials: int, reports: int, seed: int, folder: str, adaptive: bool = False
) -> dict[str, float]:
    """Trials and reports per second that ended up on the disk; `adaptive` takes the default sampler and stopping."""
    train = {1: one_report, 10: ten_reports, 100: hundred_reports}[reports]
    name, ends = f"rate-{time.time_ns()}", Ends()
    began = time.perf_counter()
    plain_sweep(
        train, name, parallel=parallel, trials=trials, seed=seed, folder=folder, adaptive=adaptive, progress=ends
    )
    whole_s = time.perf_counter() - began
    stored = len(tuner.open(name, results=folder).reports)
    if stored != ends.marks[-1][2]:
        raise RuntimeError(f"{stored:,} reports lie on the disk, {ends.marks[-1][2]:,} were counted")
    trials_per_s, reports_per_s = ends.rates()
    return {
        "trials": trials,
        "trials_per_s": trials_per_s,
        "reports_per_s": reports_per_s,
        "whole_s": whole_s,
        "whole_trials_per_s": trials / whole_s,
        "whole_reports_per_s": stored / whole_s,
    }


def plain_sweep(
    train: Callable[[tuner.Run], None],
    name: str,
    *,
    parallel: int,
    trials: int,
    seed: int,
    folder: str,
    executor: Literal["ray", "local"] = "ray",
    adaptive: bool = False,
    progress: Literal["off"] | Ends = "off",
) -> tuner.Study:
    """A sweep that thinks as little as possible, or `adaptive`: with the default sampler and stopping."""
    return tuner.sweep(
        train,
        space(),
        name=name,
        objective="score",
        goal="maximize",
        trials=trials,
        executor=executor,
        seed=seed,
        sampler="coarse_to_fine" if adaptive else "random",
        stopping="auto" if adaptive else "off",
        parallel=parallel,
        results=folder,
        progress=progress,
    )


def replay_rate(*, steps: int, seed: int, folder: str, adaptive: bool = False) -> dict[str, float]:
    """Steps a second of trials in this process whose records stay in memory, as recorded curves are replayed."""
    began = time.perf_counter()
    study = tuner.sweep(
        fifty_steps,
        space(),
        name=f"replay-{adaptive}",
        objective="score",
        goal="maximize",
        budget_steps=steps,
        sampler="coarse_to_fine" if adaptive else "random",
        stopping="auto" if adaptive else "off",
        seed=seed,
        executor="local",
        clock="virtual",
        store="memory",
        results=folder,
        progress="off",
    )
    seconds, taken = time.perf_counter() - began, len(study.reports)
    if taken != steps:
        raise RuntimeError(f"{taken:,} steps are on record, {steps:,} were to be taken")
    return {"steps": taken, "seconds": seconds, "steps_per_s": taken / seconds}


def unix_seconds(times: pd.Series) -> pd.Series:
    """Seconds since 1970, whether the table holds times or numbers."""
    if isinstance(times.dtype, pd.DatetimeTZDtype) or times.dtype.kind == "M":
        return (times - pd.Timestamp(0, tz=times.dt.tz)) / pd.Timedelta(seconds=1)
    return times.astype(float)


def busy_share(*, parallel: int, trials: int, seed: int, folder: str, adaptive: bool = False) -> dict[str, float]:
    """The share of the workers' time, from the first start to the last end, that one-second trials slept."""
    study = plain_sweep(
        one_second, "busy", parallel=parallel, trials=trials, seed=seed, folder=folder, adaptive=adaptive
    )
    scores = study.reports.pivot_table(index="trial", columns="name", values="value")
    slept = float((scores["ended"] - scores["began"]).sum())
    return {"trials": len(scores), "busy": slept / (parallel * float(scores["ended"].max() - scores["began"].min()))}


def worker_costs(*, folder: str, seed: int) -> dict[str, float]:
    """Microseconds that `run.report` and an idle `run.steps` take from the training thread of a Ray worker."""
    plain_sweep(timed_reports, "reports", parallel=1, trials=1, seed=seed, folder=folder)
    plain_sweep(timed_steps, "steps", parallel=1, trials=1, seed=seed, folder=folder)
    tables = [tuner.open(name, results=folder).reports for name in ("reports", "steps")]
    last = pd.concat(tables).groupby("name")["value"].last()
    return {str(name): float(value) for name, value in last.items() if str(name).endswith("_us")}


def big_study(*, parallel: int, trials: int, seed: int, folder: str) -> dict[str, float]:
    """Bytes that the coordinator grows by for each trial of ten reports; a small sweep before it loads all code."""
    plain_sweep(ten_reports, "small", parallel=parallel, trials=500, seed=seed, folder=folder)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here (proc(5))
    before = memory_bytes("VmRSS")
    began = time.perf_counter()
    study = plain_sweep(ten_reports, "big", parallel=parallel, trials=trials, seed=seed, folder=folder)
    seconds = time.perf_counter() - began
    gc.collect()
    return {
        "trials": trials,
        "seconds": seconds,
        "peak_bytes_per_trial": (memory_bytes("VmHWM") - before) / trials,
        "kept_bytes_per_trial": (memory_bytes("VmRSS") - before) / trials,
        "study": float(study is not None),  # the study is alive while its memory is read
    }


def memory_bytes(field: str) -> int:
    """Resident memory of this process now (VmRSS) or at its peak (VmHWM), from Linux's /proc."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{field} is not in /proc/self/status")
    return int(found[1]) * 1024


def reopen_and_export(*, folder: str) -> dict[str, float]:
    """Seconds to open the big study in a fresh process, up to its best trial, and to write it as parquet and csv."""
    began, began_cpu = time.perf_counter(), time.process_time()
    best = tuner.open("big", results=folder).best
    seconds = {"reopen_s": time.perf_counter() - began, "reopen_cpu_s": time.process_time() - began_cpu}
    if best is None:
        raise RuntimeError("the study has no best trial")
    for kind in ("parquet", "csv"):
        began = time.perf_counter()
        tuner.open("big", results=folder).export(kind, to=Path(folder) / f"export-{kind}")
        seconds[f"{kind}_s"] = time.perf_counter() - began
    return seconds


# ── shell ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TUNER = [sys.executable, "-c", "import sys; sys.argv[0] = 'tuner'; from tuner.cli import main; main()"]


def shell_seconds(*arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of `tuner …` in a fresh process."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([*TUNER, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or ["no word on stderr"]
        raise RuntimeError(f"tuner {arguments[0]} ended with {ended.returncode}: {last[0]}")
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shell_times(times: int, *arguments: str) -> dict[str, float]:
    walls, cpus = zip(*(shell_seconds(*arguments) for _ in range(times)), strict=True)
    return {"median_s": statistics.median(walls), "min_s": min(walls), "cpu_s": statistics.median(cpus)}


def shell_help(*, times: int) -> dict[str, float]:
    return shell_times(times, "--help")


def shell_list(*, studies: int, times: int, seed: int, folder: str) -> dict[str, float]:
    """`tuner ls` of a results folder with many studies."""
    for number in range(studies):
        name = f"study-{number:03}"
        plain_sweep(one_report, name, parallel=1, trials=1, seed=seed, folder=folder, executor="local")
    return shell_times(times, "ls", "--results", folder)


def shell_first_trial(*, parallel: int, seed: int, folder: str, adaptive: bool = False) -> dict[str, float]:
    """Seconds from the start of `tuner sweep` in a shell to the end of its first trial, by the study's own record."""
    identity = ["--space", "sgd_momentum", "--objective", "score", "--goal", "maximize", "--seed", str(seed)]
    how = [] if adaptive else ["--sampler", "random", "--stopping", "off"]
    frugal = [*how, "--trials", "20", "--parallel", str(parallel)]
    began = time.time()
    shell_seconds("sweep", "training:one_report", "--name", "shell", "--results", folder, *identity, *frugal)
    ended = unix_seconds(tuner.open("shell", results=folder).reports["at"])
    return {"first_trial_s": float(ended.min()) - began}
