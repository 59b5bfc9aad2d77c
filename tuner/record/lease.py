"""The lease of a study: who may write, by an epoch that grows with every holder."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HEARTBEAT_S = 2.0
FOREIGN_LEASE_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who holds a study, or did: pid 0 has given it back, with the heartbeat negative where trials were left behind."""

    epoch: int
    host: str
    pid: int
    born: str
    heartbeat: float

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Lease:
        """The lease as its row says."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @classmethod
    def taken(cls, before: Lease | None, now: float, *, one_machine: bool = True) -> Lease:
        """This process's, one epoch after the one before; machines that share a database may have one name."""
        epoch, pid = (0 if before is None else before.epoch) + 1, os.getpid()
        origin = born(pid) if one_machine else f"{born(pid)}@{machine()}"
        return cls(epoch=epoch, host=socket.gethostname(), pid=pid, born=origin, heartbeat=now)

    def is_held(self, now: float) -> bool:
        """Whether its holder lives: a process of this host is asked for, another host must have been heard of."""
        if not self.pid:
            return False
        origin, _, where = self.born.partition("@")
        if self.host == socket.gethostname() and where in ("", machine()):
            return born(self.pid) == origin != ""
        return now - self.heartbeat < FOREIGN_LEASE_S

    @property
    def left_clean(self) -> bool:
        """Whether it was given back by a holder that left nothing behind."""
        return self.pid == 0 and self.heartbeat >= 0

    @property
    def last_heard(self) -> float:
        """When its holder was last heard of, in Unix seconds."""
        return abs(self.heartbeat)


def given_back(now: float, *, clean: bool) -> dict[str, Any]:
    """What becomes of the row of a lease that is given back."""
    return {"pid": 0, "heartbeat": now if clean else -now}


def alive(pid: int) -> bool:
    """Whether a process of this host lives."""
    return bool(born(pid))


def began_at(host: str, pid: int) -> float | None:
    """When a process began, in Unix seconds; None where it is gone, or lives on another host."""
    ticks = born(pid) if host == socket.gethostname() else ""
    if not ticks.isdecimal():
        return None
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return float(booted.split()[1]) + int(ticks) / os.sysconf("SC_CLK_TCK")


@cache
def machine() -> str:
    """This machine since it was started, and of it what this process sees: two containers see different processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink().name}"
    except OSError:
        return f"{uuid.getnode():x}"


def born(pid: int) -> str:
    """When the process began, so that a reused pid is not mistaken for it; empty where no such process lives."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if words[0] == "Z" else words[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive" if not Path("/proc/self").exists() else ""
