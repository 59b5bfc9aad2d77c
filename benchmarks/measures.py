"""What tuner itself reaches: each function here runs one measurement to its end, in a process of its own.

Rates come from the study's own tables, read back from the disk after the sweep, so only what is stored is counted.
"""

from __future__ import annotations

import gc
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from peers import trivial_score

import tuner

# ── training functions ───────────────────────────────────────────────────────────────────────────────────────────────

CALLS = 10_000
PACED_CALLS = 1_000


def one_report(run: tuner.Run) -> None:
    report_each_step(run, 1)


def ten_reports(run: tuner.Run) -> None:
    report_each_step(run, 10)


def hundred_reports(run: tuner.Run) -> None:
    report_each_step(run, 100)


def report_each_step(run: tuner.Run, steps: int) -> None:
    for _ in run.steps(steps):
        run.report(score=trivial_score(run.params["learning_rate"]))


def one_second(run: tuner.Run) -> None:
    """Train for one second, by the clock of the worker."""
    for _ in run.steps(1):
        began = time.time()
        time.sleep(1.0)
        run.report(score=trivial_score(run.params["learning_rate"]), began=began, ended=time.time())


def timed_reports(run: tuner.Run) -> None:
    """Time `run.report` back to back, then with a millisecond of training between two, and report what it cost."""
    costs: list[int] = []
    for number, _ in enumerate(run.steps(CALLS + PACED_CALLS)):
        if number >= CALLS:
            time.sleep(0.001)
        began = time.perf_counter_ns()
        run.report(score=0.5)
        costs.append(time.perf_counter_ns() - began)
        if len(costs) == CALLS + PACED_CALLS:  # inside the last step, where a report counts
            back_to_back, paced = np.array(costs[:CALLS]) / 1e3, np.array(costs[CALLS:]) / 1e3
            run.report(
                median_us=float(np.median(back_to_back)),
                p99_us=float(np.percentile(back_to_back, 99)),
                paced_median_us=float(np.median(paced)),
                paced_p99_us=float(np.percentile(paced, 99)),
            )


def timed_steps(run: tuner.Run) -> None:
    """Time an empty loop over `run.steps`, less the same loop over `range`, and report the cost of one step."""
    steps = 100_000
    began = time.perf_counter_ns()
    for taken, _ in enumerate(range(steps), start=1):
        if taken == steps:
            break
    empty = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    for taken, _ in enumerate(run.steps(steps), start=1):
        if taken == steps:
            step_us = (time.perf_counter_ns() - began - empty) / steps / 1e3
            run.report(score=0.5, step_us=step_us)


# ── measurements ─────────────────────────────────────────────────────────────────────────────────────────────────────


def space() -> tuner.Space:
    return tuner.Space(learning_rate=tuner.log(1e-4, 1.0), beta=tuner.log_one_minus(0.9, 0.999))


def sweep_rate(
    *, parallel: int, trials: int, reports: int, seed: int, folder: str, adaptive: bool = False
) -> dict[str, float]:
    """Trials and reports per second that ended up on the disk; `adaptive` takes the default sampler and stopping."""
    name = f"rate-{trials}-{reports}-{'adaptive' if adaptive else 'random'}"
    train = {1: one_report, 10: ten_reports, 100: hundred_reports}[reports]
    began = time.perf_counter()
    if adaptive:
        tuner.sweep(
            train,
            space(),
            name=name,
            objective="score",
            goal="maximize",
            trials=trials,
            seed=seed,
            parallel=parallel,
            results=folder,
            progress="off",
        )
    else:
        random_sweep(train, name, parallel=parallel, trials=trials, seed=seed, folder=folder)
    whole_s = time.perf_counter() - began
    table = tuner.open(name, results=folder).reports
    ended = table.groupby("trial")["at"].max().pipe(unix_seconds)
    steady_s = float(ended.max() - ended.min())
    return {
        "trials": len(ended),
        "trials_per_s": (len(ended) - 1) / steady_s,
        "reports_per_s": (len(table) - reports) / steady_s,
        "whole_s": whole_s,
        "whole_trials_per_s": len(ended) / whole_s,
        "whole_reports_per_s": len(table) / whole_s,
    }


def random_sweep(
    train: object, name: str, *, parallel: int, trials: int, seed: int, folder: str, executor: str = "ray"
) -> object:
    """A sweep that thinks as little as possible: the cost of everything but the search."""
    return tuner.sweep(
        train,
        space(),
        name=name,
        objective="score",
        goal="maximize",
        trials=trials,
        sampler="random",
        stopping="off",
        executor=executor,
        seed=seed,
        parallel=parallel,
        results=folder,
        progress="off",
    )


def unix_seconds(times: pd.Series) -> pd.Series:
    """Seconds since 1970, whether the table holds times or numbers."""
    if isinstance(times.dtype, pd.DatetimeTZDtype) or times.dtype.kind == "M":
        return (times - pd.Timestamp(0, tz=times.dt.tz)) / pd.Timedelta(seconds=1)
    return times.astype(float)


def busy_share(*, parallel: int, trials: int, seed: int, folder: str) -> dict[str, float]:
    """The share of the workers' time, from the first start to the last end, that one-second trials slept."""
    random_sweep(one_second, "busy", parallel=parallel, trials=trials, seed=seed, folder=folder)
    scores = tuner.open("busy", results=folder).reports.pivot_table(index="trial", columns="name", values="value")
    slept = float((scores["ended"] - scores["began"]).sum())
    return {"trials": len(scores), "busy": slept / (parallel * float(scores["ended"].max() - scores["began"].min()))}


def worker_costs(*, folder: str, seed: int) -> dict[str, float]:
    """Microseconds that `run.report` and an idle `run.steps` take from the training thread of a Ray worker."""
    random_sweep(timed_reports, "reports", parallel=1, trials=1, seed=seed, folder=folder)
    random_sweep(timed_steps, "steps", parallel=1, trials=1, seed=seed, folder=folder)
    tables = [tuner.open(name, results=folder).reports for name in ("reports", "steps")]
    last = pd.concat(tables).groupby("name")["value"].last()
    return {str(name): float(value) for name, value in last.items() if str(name).endswith("_us")}


def big_study(*, parallel: int, trials: int, seed: int, folder: str) -> dict[str, float]:
    """Bytes that the coordinator grows by for each trial of ten reports; a small sweep before it loads all code."""
    random_sweep(ten_reports, "small", parallel=parallel, trials=500, seed=seed, folder=folder)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here (proc(5))
    before = memory_bytes("VmRSS")
    began = time.perf_counter()
    study = random_sweep(ten_reports, "big", parallel=parallel, trials=trials, seed=seed, folder=folder)
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
    began = time.perf_counter()
    study = tuner.open("big", results=folder)
    best = study.best
    reopen_s = time.perf_counter() - began
    seconds = {"reopen_s": reopen_s, "found_best": float(best is not None)}
    for kind in ("parquet", "csv"):
        began = time.perf_counter()
        tuner.open("big", results=folder).export(kind, to=Path(folder) / f"export-{kind}")
        seconds[f"{kind}_s"] = time.perf_counter() - began
    return seconds


# ── shell ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TUNER = [sys.executable, "-c", "import sys; sys.argv[0] = 'tuner'; from tuner.cli import main; main()"]


def shell_seconds(*arguments: str) -> float:
    """Wall seconds of `tuner …` in a fresh process."""
    began = time.perf_counter()
    ended = subprocess.run([*TUNER, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or ["no word on stderr"]
        raise RuntimeError(f"tuner {arguments[0]} ended with {ended.returncode}: {last[0]}")
    return time.perf_counter() - began


def shell_help(*, times: int) -> dict[str, float]:
    walls = [shell_seconds("--help") for _ in range(times)]
    return {"min_s": min(walls), "median_s": statistics.median(walls)}


def shell_list(*, studies: int, seed: int, folder: str) -> dict[str, float]:
    """`tuner ls` of a results folder with many studies."""
    for number in range(studies):
        name = f"study-{number:03}"
        random_sweep(one_report, name, parallel=1, trials=1, seed=seed, folder=folder, executor="local")
    walls = [shell_seconds("ls", "--results", folder) for _ in range(5)]
    return {"studies": studies, "min_s": min(walls), "median_s": statistics.median(walls)}


def shell_first_trial(*, parallel: int, seed: int, folder: str) -> dict[str, float]:
    """Seconds from the start of `tuner sweep` in a shell to the end of its first trial, by the study's own record."""
    identity = ["--space", "sgd_momentum", "--objective", "score", "--goal", "maximize", "--seed", str(seed)]
    frugal = ["--sampler", "random", "--stopping", "off", "--trials", "20", "--parallel", str(parallel)]
    began = time.time()
    shell_seconds("sweep", "measures:one_report", "--name", "shell", "--results", folder, *identity, *frugal)
    ended = unix_seconds(tuner.open("shell", results=folder).reports["at"])
    return {"first_trial_s": float(ended.min()) - began}
