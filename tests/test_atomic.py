from __future__ import annotations

import ast
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tuner
from tuner import Space, linear
from tuner.api.study import Study
from tuner.api.wiring import shared_file
from tuner.errors import TunerError
from tuner.record.atomic import write_whole
from tuner.record.location import Place
from tuner.worker.function import KEPT, keep_function, portable
from tuner.worker.sources import syntax_of

PACKAGE = Path(tuner.__file__).parent

# Files that a checkpoint's hidden folder holds until the folder as a whole is flushed and renamed.
IN_A_HIDDEN_FOLDER = {
    "worker/disk.py",
    "worker/object_storage.py",
    "callbacks/keras.py",
    "callbacks/stepping.py",
    "callbacks/transformers.py",
}
WRITERS = {"write_text", "write_bytes", "touch"}
INTO_A_FILE = {"savefig", "to_csv", "to_parquet", "to_json", "to_html", "write_table", "savez"}


@contextmanager
def a_disk_that_takes(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ── the one way ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a", b"first, and longer")
    assert write_whole(path, b"second").read_bytes() == b"second"
    assert write_whole(path, lambda file: file.write(b"third")).read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"x" * 50_000, lambda file: file.write(b"x" * 50_000)], ids=["bytes", "writer"])
def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, content: bytes | Callable[[object], object]
) -> None:
    path = write_whole(tmp_path / "a", b"old")
    with a_disk_that_takes(4096), pytest.raises(OSError, match="too large"):
        write_whole(path, content)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_raises_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError):
        write_whole(path, lambda file: file.write(b"new") // 0)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    seen: list[int] = []

    def write(file: object) -> None:
        seen.extend(each.stat().st_mode & 0o777 for each in tmp_path.iterdir())

    path = write_whole(tmp_path / "a", write, mode=0o600)
    assert [*seen, path.stat().st_mode & 0o777] == [0o600, 0o600]


def test_a_file_with_the_longest_name_there_is_can_be_written(tmp_path: Path) -> None:
    assert write_whole(tmp_path / ("a" * 255), b"new").read_bytes() == b"new"


WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from tuner.record.atomic import write_whole

for number in itertools.count():
    write_whole(Path(sys.argv[1]), bytes([number % 256]) * 3_000_000)
    print(number, flush=True)
"""


def test_whoever_is_killed_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for delay in (0.0, 0.003):
        writing = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        try:
            assert writing.stdout is not None
            writing.stdout.readline()
            time.sleep(delay)  # somewhere within the next write
        finally:
            writing.kill()
            writing.communicate()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1


# ── everybody goes that way ─────────────────────────────────────────────────────────────────────


def modes(call: ast.Call, place: int) -> str:
    given = [*call.args[place : place + 1], *(each.value for each in call.keywords if each.arg == "mode")]
    return "".join(each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str))


def in_place(call: ast.Call) -> bool:
    """Whether a call writes a file under its own name; logs that grow at their end may."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        return bool(set(modes(call, 0 if isinstance(call.func, ast.Attribute) else 1)) & set("wx+"))
    if name in INTO_A_FILE:  # to a file that is open, which `write_whole` or memory gave
        given = {each.id for each in call.args if isinstance(each, ast.Name)}
        return bool(call.args) and "file" not in given
    return name in WRITERS


def test_no_file_is_written_under_its_own_name() -> None:
    found = []
    for module in PACKAGE.rglob("*.py"):
        name = str(module.relative_to(PACKAGE))
        if name in IN_A_HIDDEN_FOLDER | {"record/atomic.py"}:
            continue
        calls = [node for node in ast.walk(syntax_of(module.read_text())) if isinstance(node, ast.Call)]
        found += [f"{name}:{call.lineno}" for call in calls if in_place(call)]
    assert not found


def train(run: tuner.Run) -> None:
    for _ in run.steps(2):
        run.report(score=run.params["x"])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    results = tmp_path_factory.mktemp("results")
    found = tuner.sweep(
        train,
        Space(x=linear(0.0, 1.0)),
        name="s",
        objective="score",
        trials=12,
        executor="local",
        stopping="off",
        results=results,
        progress="off",
    )
    yield found
    found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    results = tmp_path_factory.mktemp("results")
    handle = tuner.babysit(train, {"x": 0.5}, name="run", objective="score", executor="local", results=results)
    found = handle.wait(60)
    handle.close()
    yield found
    found.close()


def write_the_assignment(run: Study) -> None:
    from tuner.api.assignment import Assignment

    Assignment.read(run.place.folder).write(run.place.folder, b"function" * 1000)


SWEEP: dict[str, Callable[[Study, Path], object]] = {
    "csv": lambda study, to: study.export("csv", to),
    "jsonl": lambda study, to: study.export("jsonl", to),
    "pictures": lambda study, to: study.plot(to),
    "explanation": lambda study, to: study.explain().save(to / "explanation.md"),
    "page": lambda study, to: study.explain().save(to / "explanation.html"),
    "portraits": lambda study, to: study.explain().plot(to),
    "function": lambda study, to: keep_function(portable(lambda run: train(run)), to),
    "token": lambda study, to: shared_file(Place.of(to.name, to.parent, None), "a-cluster"),
}


@pytest.mark.parametrize("what", SWEEP)
def test_what_a_sweep_writes_survives_a_full_disk(study: Study, tmp_path: Path, what: str) -> None:
    SWEEP[what](study, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with a_disk_that_takes(8), pytest.raises(TunerError, match=r"written|kept"):
        SWEEP[what](study, tmp_path)
    assert before
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_babysat_run_writes_survives_a_full_disk(run: Study, tmp_path: Path) -> None:
    writers: dict[Path, Callable[[], object]] = {
        run.place.folder / "run.json": lambda: write_the_assignment(run),
        run.place.folder / KEPT: lambda: write_the_assignment(run),
        tmp_path / "logbook.md": lambda: run.export("markdown", tmp_path),
        tmp_path / "lineage.png": lambda: run.plot(tmp_path),
    }
    run.export("markdown", tmp_path)
    run.plot(tmp_path)
    for path, write in writers.items():
        before = path.read_bytes() if path.exists() else None
        with a_disk_that_takes(8), pytest.raises(TunerError, match=r"written|kept"):
            write()
        assert (path.read_bytes() if path.exists() else None) == before
        assert not list(path.parent.glob(".*"))
