"""What a checkpoint's files hold: arrays and plain values come back as they were, and reading them runs no code."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sweeping import sweep

import tuner
from tuner.errors import CheckpointError
from tuner.worker import contents
from tuner.worker.checkpoints import load, save
from tuner.worker.generators import capture_generators
from tuner.worker.manifest import FileFacts, Manifest, facts_of, plain_files
from tuner.worker.state import ObjectState


class Holder:
    """Its state is whatever it holds."""

    def __init__(self, held: Any = None) -> None:
        self.held = held

    def state_dict(self) -> Any:
        return self.held

    def load_state_dict(self, state: Any) -> None:
        self.held = state


class OfTheUser:
    """A class that only a pickle knows."""

    def __init__(self, runs: str = "") -> None:
        self.runs = runs

    def __reduce__(self) -> Any:
        return (os.system, (self.runs,)) if self.runs else (OfTheUser, ())


def again(value: Any, folder: Path) -> tuple[str, Any]:
    """The file that keeps a value, and what is read from it."""
    ((name, content),) = contents.kept("x", value)[0].items()
    (folder / name).write_bytes(content)
    return name, contents.read(folder / name)


def alike(one: Any, other: Any) -> bool:
    """Equal in class, value and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return all(alike(key, found) and alike(value, twin) for (key, value), (found, twin) in pairs)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(repr(one) == repr(other))


KEYS = st.text(st.characters(), max_size=5) | st.integers() | st.tuples(st.integers(), st.booleans())
PLAIN: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(), max_size=9),
    st.binary(max_size=99),
    st.lists(st.integers(), min_size=32, max_size=34),
    st.tuples(*[st.floats()] * 33),
    arrays.arrays(
        arrays.scalar_dtypes() | arrays.array_dtypes(max_size=2),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    arrays.scalar_dtypes().flatmap(arrays.from_dtype),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


@given(value=VALUES)
def test_arrays_and_plain_values_come_back_as_they_were_from_a_file_that_runs_nothing(value: Any) -> None:
    with TemporaryDirectory() as folder:
        name, found = again(value, Path(folder))
        assert name == "x.npy"
        assert alike(value, found)


def test_what_frameworks_keep_beside_their_numbers_comes_back(tmp_path: Path) -> None:
    layers = OrderedDict(weight=np.asfortranarray(np.eye(3)))
    layers._metadata = {"": {"version": 2}}  # type: ignore[attr-defined] # as torch does
    shared = np.arange(4.0)
    value = {"layers": layers, "milestones": Counter([30, 60, 30]), "seen": {1, 2}, "tied": [shared, shared]}
    name, found = again(value, tmp_path)
    assert name == "x.npy"
    assert found["layers"]._metadata == {"": {"version": 2}}
    assert found["layers"]["weight"].flags.f_contiguous
    assert (found["milestones"], found["seen"]) == (Counter({30: 2, 60: 1}), {1, 2})
    assert found["tied"][0] is found["tied"][1]
    assert found["tied"][0].flags.writeable
    assert contents.kept("generators", capture_generators())[1] is None


def test_numpy_alone_reads_such_a_file(tmp_path: Path) -> None:
    again({"weights": np.arange(3.0), "epoch": 4}, tmp_path)
    with (tmp_path / "x.npy").open("rb") as file:
        told, weights = (np.load(file, allow_pickle=False) for _ in range(2))
    assert json.loads(told.tobytes())["value"] == {"dict": [["weights", {"array": 0}], ["epoch", 4]]}
    assert weights.tolist() == [0.0, 1.0, 2.0]


def in_itself() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [OfTheUser()]}, "['a'][0], of class OfTheUser"),
        ({"d": np.array([OfTheUser()], dtype=object)}, "['d'], of class ndarray and dtype object"),
        (np.ma.masked_array([1.0], [True]), "of class MaskedArray"),
        ([[1]] * 2, "held twice"),
        (in_itself(), "held twice"),
        ({random: 1}, "module"),
    ],
    ids=["object", "array of objects", "masked", "twice", "circle", "key"],
)
def test_what_is_neither_array_nor_plain_is_pickled_and_named(value: Any, words: str, tmp_path: Path) -> None:
    if isinstance(value, dict) and random in value:
        with pytest.raises(contents.NotPlain, match=words):
            contents.encoded(value)
        return
    files, why = contents.kept("x", value)
    assert list(files) == ["x.pickle"]
    assert words in str(why)
    again(value, tmp_path)


@given(content=st.binary(max_size=300), at=st.integers(0, 400), cut=st.integers(0, 400))
def test_any_bytes_in_such_a_file_are_refused_with_a_sentence_or_read_as_plain(
    content: bytes, at: int, cut: int
) -> None:
    whole = contents.encoded({"weights": np.arange(5), "step": 3, "many": list(range(40))})
    with TemporaryDirectory() as folder:
        for torn in (content, whole[:cut], whole[:at] + content + whole[at + len(content) :]):
            path = Path(folder) / "x.npy"
            path.write_bytes(torn)
            with suppress(CheckpointError):
                contents.read(path)


@pytest.mark.parametrize(
    "told",
    [
        {"tuner": 99, "value": 1},
        {"value": 1},
        [],
        {"tuner": 1, "value": {"array": 7}},
        {"tuner": 1, "value": {"os.system": "true"}},
        {"tuner": 1, "value": {"dict": [[[], 1]]}},
        {"tuner": 1, "value": {"tensor": [0, "load", [1], "cpu"]}},
        {"tuner": 1, "value": {}},
    ],
    ids=str,
)
def test_a_file_that_says_something_else_is_refused_with_a_sentence(told: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.save(file, np.frombuffer(json.dumps(told).encode(), np.uint8))
        np.save(file, np.arange(3))
    with pytest.raises(CheckpointError, match="cannot be read here"):
        contents.read(path)


def test_a_pickle_in_the_place_of_an_array_is_not_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([OfTheUser(f"touch {tmp_path / 'ran'}")], dtype=object), allow_pickle=True)
    for name, content in (
        ("x.npy", buffer.getvalue()),
        ("x.npy", pickle.dumps(OfTheUser(f"touch {tmp_path / 'ran'}"))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read here"):
            contents.read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def as_it_was_written_before(path: Path, value: Any) -> None:
    """A checkpoint of a version that pickled whatever it kept."""
    save(path, step=3, state=ObjectState(Holder(value)), settings={"step": 3})
    for name in ("generators", "state/state"):
        kept = contents.read(path / f"{name}.npy")
        (path / f"{name}.npy").unlink()
        (path / f"{name}.pickle").write_bytes(pickle.dumps(kept, protocol=5))
    files: dict[str, FileFacts] = {name: facts_of(file) for name, file in plain_files(path).items()}
    (path / "manifest.json").write_text(Manifest(step=3, files=files).text())


def test_checkpoints_of_earlier_versions_still_open(tmp_path: Path) -> None:
    path = tmp_path / "0" / "0-3"
    as_it_was_written_before(path, {"weights": np.arange(3.0)})
    assert sorted(plain_files(path)) == ["generators.pickle", "settings.json", "state/state.pickle"]
    holder = Holder()
    random.seed(5)
    assert load(path, ObjectState(holder)) == {"step": 3}
    assert holder.held["weights"].tolist() == [0.0, 1.0, 2.0]


def test_a_study_says_once_that_its_checkpoints_are_pickles_and_why(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        run.state(Holder({"mine": OfTheUser()}))
        for _ in run.steps(3):
            run.report(score=1.0)

    def trains_plainly(run: tuner.Run) -> None:
        run.state(Holder({"weights": np.arange(3.0)}))
        for _ in run.steps(3):
            run.report(score=1.0)

    given: dict[str, Any] = {"trials": 3, "sampler": "random", "stopping": "off", "checkpoint_every_s": 0}
    with sweep(tmp_path, train, **given) as study:
        (told,) = [text for text in study.notes["text"] if "pickles" in text]
        assert "['mine'], of class OfTheUser" in told
    with sweep(tmp_path, trains_plainly, name="plain", **given) as study:
        assert study.notes["text"].tolist() == []
        assert {path.name for path in (tmp_path / "plain").rglob("*.pickle")} == {"function.pickle"}
