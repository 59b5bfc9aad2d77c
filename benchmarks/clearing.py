"""Clearing up after a run of faults that died: its processes, disks, hosts and files go, whatever it was killed by.

    python benchmarks/clearing.py FOLDER

It waits until nobody holds the other end of its input; after a run that has ended by itself there is nothing to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

RUN = "TUNER_FAULTS_RUN"
"""The folder of the run: whatever it starts inherits this."""

_ROUNDS = 5  # what starts others may start one while it is looked for


@contextmanager
def cleared() -> Iterator[Path]:
    """A folder for all that a run writes; another process sees to it that nothing is left of either."""
    with tempfile.TemporaryDirectory(prefix="f-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # a database is served by another user
        clearer = subprocess.Popen([sys.executable, __file__, name], stdin=subprocess.PIPE, start_new_session=True)
        before, tempfile.tempdir, os.environ[RUN] = tempfile.tempdir, name, name
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            del os.environ[RUN]
            assert clearer.stdin is not None
            clearer.stdin.close()
            clearer.wait()


def clear(folder: Path) -> None:
    """Ends what a run has started, and takes away what it has made."""
    for _ in range(_ROUNDS):
        for each in _started(folder):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        time.sleep(0.2)
    for line in Path("/proc/mounts").read_text().splitlines():
        if (place := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False)
    for host in Path("/run/netns").glob(f"{hosts_of(folder)}*"):
        subprocess.run(["ip", "netns", "delete", host.name], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def hosts_of(folder: Path) -> str:
    """What the names of a run's hosts begin with: no longer than a network device's may be."""
    return folder.name.removeprefix("f-")


def _started(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and _is_of(each, folder)]


def _is_of(process: psutil.Process, folder: Path) -> bool:
    """By what it inherited, or, where it has written over that as a database does, by where it stands."""
    with suppress(psutil.Error, OSError):
        if process.environ().get(RUN) == str(folder):
            return True
    with suppress(psutil.Error, OSError):
        return Path(process.cwd()).is_relative_to(folder)
    return False


def main() -> None:
    """Waits for the end of a run, and clears up after it."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    clear(folder)


if __name__ == "__main__":
    main()
