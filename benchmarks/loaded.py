"""What a heavy load asks of tuner: each function here takes one measurement, in a process of its own."""

from __future__ import annotations

import gc
import heapq
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bulk
import database_server
import measures
import numpy as np
import serviced
from apart import NotInstalled
from crowd import Crowd, Member
from peers import trivial_score

import tuner
from tuner.api.session import Session
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import SweepRequests
from tuner.caviar.rules import rule_by_name
from tuner.coordinator.watchdog import Timing
from tuner.record.location import Place
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.samplers import by_name
from tuner.worker.messages import Job, Started

# ── one study that grows ─────────────────────────────────────────────────────────────────────────────────────────────


class Instant(Crowd):
    """Workers that train a whole trial the moment they are given it."""

    def __init__(self, points: int, seed: int) -> None:
        super().__init__(seed)
        self._course = 1.0 - np.exp(-np.arange(1, points + 1) / points * 4.0)

    def _start(self, member: Member, now: float) -> None:
        member.started = now
        heapq.heappush(self._due, (now, member.name))

    def _step(self, member: Member, at: float) -> None:
        order = member.orders[0]
        member.step = len(self._course)
        level = trivial_score(float(order.recipe.values["learning_rate"]))
        scores = level * self._course + self._noise.normal(0.0, 0.01, len(self._course))
        rows = [(step, "score", score, at) for step, score in enumerate(scores.tolist(), 1)]
        self._said.append((member.name, Started(trial=order.trial, segment=order.segment, at=at)))
        self._said.append((member.name, pack_reports(order.trial, order.segment, rows)))
        self._end(member, "completed", "the function returned", at)


def grown(*, trials: int, points: int, folder: str) -> dict[str, float]:
    """The coordinator's memory while a sweep grows to its size, and what that takes on the disk."""
    _grown(Place.of("small", folder, None), 500, points)  # loads all code
    place = Place.of("grown", folder, None)
    gc.collect()
    before, began = measures.memory_bytes("VmRSS"), time.perf_counter()
    state = _grown(place, trials, points)
    seconds = time.perf_counter() - began
    gc.collect()
    kept = measures.memory_bytes("VmRSS") - before
    if len(state.ended_order) != trials:
        raise RuntimeError(f"{len(state.ended_order):,} of {trials:,} trials ended")
    return {
        "kept_bytes_per_trial": kept / trials,
        "peak_bytes_per_trial": (measures.memory_bytes("VmHWM") - before) / trials,
        "disk_bytes_per_report": sum(each.stat().st_size for each in place.folder.glob("study.db*"))
        / (trials * points),
        "seconds": seconds,
    }


def _grown(place: Place, trials: int, points: int) -> StudyState:
    """A sweep of so many trials as the real coordinator writes it; what is true of it in the end."""
    executor, space = Instant(points, 0), measures.space()
    identity = {"space": space.to_dict(), "objective": "score", "goal": "maximize", "seed": 0, "sampler": "random"}
    with Session(place, place.existing_or_new()) as session:
        session.begin("sweep", "training:hundred_reports", "", identity, {"trials": trials})
        parallel = executor.open(Job(study=place.name, function="", search_path=(), objective="score"), 16)
        policy = Caviar(
            space=space,
            seed=0,
            proposer=by_name("random"),
            stopping=rule_by_name("off"),
            limits=Limits(trials=trials),
            parallel=parallel,
            overlapping=True,
        )
        session.coordinator(executor, policy, SweepRequests(policy), Timing()).run()
        return session.state


def run_written(*, reports: int, folder: str) -> dict[str, float]:
    """A babysat run that has reported so often."""
    bulk.run(Path(folder), "long", reports)
    return {"reports": float(reports)}


# ── who reads it ─────────────────────────────────────────────────────────────────────────────────────────────────────


def verb(*, words: list[str], folder: str, times: int = 3) -> dict[str, float]:
    """Wall and CPU seconds and the memory of a verb in a shell: the first look, and the median of those after it."""
    looks = [_look([*words, "--results", folder]) for _ in range(times + 1)]
    walls, cpus, memories = zip(*looks, strict=True)
    return {
        "first_s": walls[0],
        "wall_s": statistics.median(walls[1:]),
        "cpu_s": statistics.median(cpus[1:]),
        "memory_mb": max(memories),
    }


_LOOK = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
said = process.stderr.read()
_, status, used = os.wait4(process.pid, 0)
taken = [time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
print(json.dumps([os.waitstatus_to_exitcode(status), said.decode(errors="replace")[-200:], taken]))
"""
"""Run by a small interpreter: the system counts as a process's memory what its parent held as it was forked."""


def _look(words: list[str]) -> tuple[float, float, float]:
    looked = subprocess.run([sys.executable, "-I", "-S", "-c", _LOOK, *measures.TUNER, *words], stdout=subprocess.PIPE)
    code, said, (wall_s, cpu_s, memory_mb) = json.loads(looked.stdout)
    if code:
        raise RuntimeError(f"tuner {words[0]} ended with {code}: {said.strip()}")
    return wall_s, cpu_s, memory_mb


def reopened(*, name: str, folder: str) -> dict[str, float]:
    """Seconds to open a study up to its best trial."""
    began, began_cpu = time.perf_counter(), time.process_time()
    with tuner.open(name, results=folder) as study:
        if study.best is None:
            raise RuntimeError("the study has no best trial")
        return {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}


def exported(*, name: str, folder: str, kind: str) -> dict[str, float]:
    """Seconds to write every table, and the memory at its peak beyond what Python and pandas take."""
    import pandas as pd
    import pyarrow.parquet as parquet

    if pd is None or parquet is None:
        raise RuntimeError("pandas is not there")
    before, began = measures.memory_bytes("VmRSS"), time.perf_counter()
    with tuner.open(name, results=folder) as study:
        study.export(kind, Path(folder) / f"export-{kind}")
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mb": (measures.memory_bytes("VmHWM") - before) / 2**20}


# ── many studies ─────────────────────────────────────────────────────────────────────────────────────────────────────


def many_written(*, studies: int, folder: str, store: str | None = None) -> dict[str, float]:
    """So many small sweeps in one folder, or in one database."""
    began = time.perf_counter()
    for number in range(studies):
        bulk.sweep(Path(folder), f"study-{number:04}", 20, 10, seed=number, store=store)
    return {"studies": float(studies), "seconds": time.perf_counter() - began}


def team(*, studies: int, folder: str) -> dict[str, float]:
    """The same in one PostgreSQL database of a server of its own: `tuner ls`, the page, and what holds what."""
    bin_ = database_server.programs()
    if bin_ is None:
        raise NotInstalled("apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="load-postgres-") as home:
        server = database_server.Server(Path(home), bin_)
        server.start()
        try:
            url = server.database()
            made = many_written(studies=studies, folder=folder, store=url)
            looked = verb(words=["ls", "--store", url], folder=folder)
            page = list_page(folder=folder, store=url)
            (size,) = server.ask(url, "SELECT pg_database_size(current_database())")[0]
        finally:
            server.stop("fast")
    return {
        **looked,
        "made_s": made["seconds"],
        "disk_mb": size / 2**20,
        **{f"page_{name}": value for name, value in page.items()},
    }


def list_page(*, folder: str, store: str | None = None) -> dict[str, float]:
    """The list of studies as `tuner serve` gives it: the first time, later, and the server's memory."""
    with serviced.served(Path(folder), *([] if store is None else ["--store", store])) as service:
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            status, said = service.asked("GET", "/")
            if status != 200 or b"study-0000" not in said:
                raise RuntimeError(f"the list answers {status}: {said[:200]!r}")
            seconds.append(time.perf_counter() - began)
        return {
            "start_s": service.started_s,
            "first_s": seconds[0],
            "wall_s": statistics.median(seconds[1:]),
            "memory_mb": service.rss_mb(),
        }
