"""Faults of disks: full, torn in the midst of a write, or with a bit that is another."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from injuries import NotTried, Try, Unwell, kind


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[None]:
    """A disk of its own for a folder, in memory."""
    place.mkdir(parents=True, exist_ok=True)
    made = _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tuner-faults", str(place))
    if made.returncode:
        raise NotTried(f"no disk can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


def grow(place: Path, mebibytes: int) -> None:
    """Makes room."""
    _mount("-o", f"remount,size={mebibytes}m", str(place))


def _mount(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
    except OSError as error:
        raise NotTried(f"mount: {error}") from error


@kind("disk_full_store", "a disk that is full under the record")
def disk_full_store(one: Try) -> None:
    with small_disk(one.results, 2):
        child = one.sweep("tuner.workloads.bowl:train", trials=6000, checkpoint_every_s=1e6)
        one.follow()
        one.struck()
        one.said = child.ends_with(1)
        if "disk" not in one.said:
            raise Unwell(f"it is not said that the disk is full: {one.said}")
        one.well()
        grow(one.results, 64)
        with one.study() as study:
            more = len(study.state.trials) + 20
        one.completes(one.sweep("tuner.workloads.bowl:train", trials=more, checkpoint_every_s=1e6), more, 20)
        one.look()


@kind("disk_full_checkpoints", "a disk that is full under the checkpoints, the record elsewhere")
def disk_full_checkpoints(one: Try) -> None:
    with small_disk(one.results, 12):
        one.store = f"sqlite:///{one.folder}/elsewhere.db"
        child = one.sweep("heavy")
        one.follow()
        one.struck()
        one.completes(child)
        with one.study() as study:
            told = [text for text in study.notes["text"] if "disk" in text]
        if not told:
            raise Unwell("nobody was told that the disk is full")
        one.said = told[0]
        one.look()


@kind("disk_full_both", "a disk that checkpoints fill, under the record too")
def disk_full_both(one: Try) -> None:
    with small_disk(one.results, 12):
        child = one.sweep("heavy")
        one.follow()
        one.struck()
        code = child.ended()
        one.well()
        if code:
            one.said = child.ends_with(1)
            if "disk" not in one.said:
                raise Unwell(f"it is not said that the disk is full: {one.said}")
            grow(one.results, 256)
            child = one.sweep("heavy")
        one.completes(child)
        one.look()


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def torn(path: Path, moments: random.Random) -> None:
    """Cuts a file off somewhere."""
    os.truncate(path, moments.randrange(path.stat().st_size))


def flipped(path: Path, moments: random.Random) -> None:
    """Another bit somewhere."""
    place = moments.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << moments.randrange(8))]))


def _killed(one: Try, train: str = "slow") -> None:
    """A sweep that is killed in the midst of its training, and whoever followed it."""
    child = one.sweep(train)
    one.follow()
    one.once(lambda study: len(study.checkpoints) > 3, "nothing was saved")
    one.a_moment(0.5)
    child.send(signal.SIGKILL)
    child.ended()


@kind("checkpoint_torn", "a sweep's newest checkpoints, one of their files torn")
def checkpoint_torn(one: Try) -> None:
    _checkpoints(one, torn)


@kind("checkpoint_flipped", "a sweep's newest checkpoints, one bit of a file another")
def checkpoint_flipped(one: Try) -> None:
    _checkpoints(one, flipped)


def _checkpoints(one: Try, damage: Callable[[Path, random.Random], None]) -> None:
    _killed(one)
    for trial in (one.study_folder / "checkpoints").iterdir():
        saved = sorted(each for each in trial.iterdir() if each.is_dir() and not each.name.startswith("."))
        files = [each for each in saved[-1].rglob("*") if each.is_file() and each.stat().st_size] if saved else []
        if files:
            damage(one.moments.choice(sorted(files)), one.moments)
    one.struck()
    one.completes(one.sweep("slow"))


@kind("record_torn", "the tail of the record's log torn off, as by a disk that lied before a power cut")
def record_torn(one: Try) -> None:
    _killed(one)
    log = one.study_folder / "study.db-wal"
    if log.exists() and log.stat().st_size:
        torn(log, one.moments)
    one.forget()  # what was torn off is gone; what is left must be a study that goes on
    one.follow()
    one.struck()
    one.completes(one.sweep("slow"))


@kind("record_cut", "the record's file cut off somewhere", times=20)
def record_cut(one: Try) -> None:
    _damaged(one, torn)


@kind("record_flipped", "a bit of the record's file another", times=20)
def record_flipped(one: Try) -> None:
    _damaged(one, flipped)


def _damaged(one: Try, damage: Callable[[Path, random.Random], None]) -> None:
    """What is damaged is refused with a sentence, or every table is as it was."""
    import tuner

    child = one.sweep("steady")
    one.follow()
    child.ends_with(0)
    one.forget()
    before = _tables(one)
    damage(one.study_folder / "study.db", one.moments)
    one.struck()
    try:
        after = _tables(one)
    except tuner.TunerError as error:
        one.said = str(error)
    else:
        differing = [name for name, text in before.items() if after.get(name) != text]
        one.found["lost"] += [f"the table {name} says something else, and nobody was told" for name in differing]
    one.well()


def _tables(one: Try) -> dict[str, str]:
    with one.study() as study:
        return {each.name: each.read_text() for each in study.export("csv", one.folder / "tables")}
