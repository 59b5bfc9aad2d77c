from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import CheckpointError, TrainingError
from tuner.worker.checkpoints import Snapshot, Written, delete, load, save, verify
from tuner.worker.generators import capture_generators, restore_generators
from tuner.worker.leftovers import sweep_leftovers
from tuner.worker.manifest import Manifest
from tuner.worker.state import FolderState, ObjectState


class Network:
    def __init__(self, weights: Any = (0.0,)) -> None:
        self.weights = np.array(weights)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["weights"].shape != self.weights.shape:
            raise ValueError(f"shape {state['weights'].shape}")
        self.weights = state["weights"]


SETTINGS = {"step": 40, "values": {"learning_rate": 0.1 + 0.2}, "schedules": {}, "rules": {"best": None}}


def saved(folder: Path, weights: Any = (1.0, 2.0)) -> Written:
    return save(folder, step=40, state=ObjectState(Network(weights)), settings=SETTINGS)


def everything_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def rewrite_manifest(path: Path, **changes: Any) -> None:
    """Forge a manifest whose own hash is right."""
    fields = json.loads((path / "manifest.json").read_text()) | changes
    fields.pop("sha256")
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(fields | {"sha256": digest}))


# ── what is saved comes back ──────────────────────────────────────────────────────────────────────────────────────


def test_settings_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=1000)
    saved(tmp_path / "17" / "0-40", weights)
    network = Network(np.zeros(1000))
    assert load(tmp_path / "17" / "0-40", ObjectState(network)) == SETTINGS
    assert network.weights.tobytes() == weights.tobytes()
    network.weights += 1  # and training can go on in it


def test_a_checkpoint_holds_its_four_parts_and_nothing_hidden_stays(tmp_path: Path) -> None:
    result = saved(tmp_path / "0-40")
    parts = ["generators.npy", "manifest.json", "settings.json", "state/state.npy"]
    assert everything_under(tmp_path) == [f"0-40/{part}" for part in parts]
    manifest = verify(tmp_path / "0-40", sha256=result.sha256)
    assert (result.path, result.step, result.bytes) == (tmp_path / "0-40", 40, manifest.bytes)
    assert result.bytes == sum((tmp_path / "0-40" / part).stat().st_size for part in parts if part != "manifest.json")


def test_several_objects_come_back_in_their_order(tmp_path: Path) -> None:
    save(tmp_path / "a", step=1, state=ObjectState(Network([1.0]), Network([2.0])), settings={})
    first, second = Network(), Network()
    load(tmp_path / "a", ObjectState(first, second))
    assert (first.weights.tolist(), second.weights.tolist()) == ([1.0], [2.0])
    with pytest.raises(TrainingError, match=r"2 objects .*registers 1"):
        load(tmp_path / "a", ObjectState(first))


def test_a_folder_of_the_users_own_comes_back(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "Gewicht é.bin").write_bytes(b"\x00\xff" * 100)
        (folder / os.fsdecode(b"not-utf8-\xff")).write_text("still a file")

    read: dict[str, bytes] = {}
    state = FolderState(
        write, lambda folder: read.update({n: (folder / n).read_bytes() for n in everything_under(folder)})
    )
    save(tmp_path / "a", step=1, state=state, settings={})
    load(tmp_path / "a", state)
    assert read == {"deep/er/Gewicht é.bin": b"\x00\xff" * 100, os.fsdecode(b"not-utf8-\xff"): b"still a file"}


def test_the_global_generators_go_on_where_they_were(tmp_path: Path) -> None:
    before = capture_generators()
    try:
        random.seed(1)
        np.random.seed(1)
        random.gauss(0, 1), np.random.normal()  # each keeps a spare normal for the next call
        saved(tmp_path / "a")
        first = [random.gauss(0, 1), random.random(), np.random.normal(), np.random.random()]
        load(tmp_path / "a", ObjectState(Network([0.0, 0.0])))
        assert [random.gauss(0, 1), random.random(), np.random.normal(), np.random.random()] == first
    finally:
        restore_generators(before)


def test_a_state_that_draws_while_it_is_saved_or_loaded_changes_nothing(tmp_path: Path) -> None:
    before = capture_generators()
    try:
        state = FolderState(lambda folder: (folder / "x").write_text(str(random.random())), lambda _: random.random())
        save(tmp_path / "a", step=1, state=state, settings={})
        went_on = random.random()
        load(tmp_path / "a", state)
        assert random.random() == went_on
    finally:
        restore_generators(before)


def test_torch_generators_come_back_where_torch_is_installed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    saved(tmp_path / "a")
    first = torch.rand(5)
    load(tmp_path / "a", ObjectState(Network([0.0, 0.0])))
    assert torch.equal(torch.rand(5), first)


def test_training_may_go_on_while_a_snapshot_is_written(tmp_path: Path) -> None:
    network, values = Network([1.0, 2.0]), {"learning_rate": 0.1}
    snapshot = Snapshot.take(tmp_path / "a", step=3, state=ObjectState(network), settings=values)
    network.weights *= 100
    values["learning_rate"] = 0.2
    writer = threading.Thread(target=snapshot.write)
    writer.start()
    writer.join()
    assert load(tmp_path / "a", ObjectState(network)) == {"learning_rate": 0.1}
    assert network.weights.tolist() == [1.0, 2.0]


def test_a_discarded_snapshot_leaves_nothing(tmp_path: Path) -> None:
    Snapshot.take(tmp_path / "a", step=3, state=ObjectState(Network()), settings={}).discard()
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces_a_torn_and_a_whole_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path / "a", [1.0])
    (tmp_path / "a" / "manifest.json").unlink()
    saved(tmp_path / "a", [2.0])
    saved(tmp_path / "a", [3.0])
    network = Network()
    load(tmp_path / "a", ObjectState(network))
    assert network.weights == [3.0]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# ── what cannot be saved is said ──────────────────────────────────────────────────────────────────────────────────


def test_objects_without_a_state_are_refused_at_once() -> None:
    with pytest.raises(TrainingError, match=r"dict has no state_dict\(\).*run.state\(save=..., load=...\)"):
        ObjectState(Network(), {})
    with pytest.raises(TrainingError, match="nothing to save"):
        ObjectState()
    with pytest.raises(TrainingError, match=r"load= .*got NoneType"):
        FolderState(print, None)  # type: ignore[arg-type]


def fails(_: Path) -> None:
    raise RuntimeError("of its own")


def links(folder: Path) -> None:
    (folder / "latest").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (ObjectState(Network([lambda: 0])), "Network cannot be pickled"),
        (FolderState(fails, print), "failed: RuntimeError: of its own"),
        (FolderState(lambda _: None, print), "wrote nothing into its folder"),
        (FolderState(links, print), "latest is a link"),
        (FolderState(lambda folder: os.mkfifo(folder / "pipe"), print), "pipe is a link"),
        (FolderState(lambda folder: (folder / "absent" / "x").write_text(""), print), "FileNotFoundError"),
    ],
)
def test_a_state_that_cannot_be_saved_leaves_nothing(tmp_path: Path, state: Any, sentence: str) -> None:
    with pytest.raises((TrainingError, CheckpointError), match=sentence):
        save(tmp_path / "a", step=1, state=state, settings={})
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_not_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="settings cannot be written as JSON"):
        save(tmp_path / "a", step=1, state=ObjectState(Network()), settings={"array": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        saved(tmp_path / "file" / "a")


FULL_DISK = """
import resource, sys
from pathlib import Path
from tuner.worker.checkpoints import save, verify
from tuner.worker.state import FolderState, ObjectState
from tuner.errors import CheckpointError

class Network:
    def state_dict(self): return {"weights": bytes(100_000)}
    def load_state_dict(self, state): pass

root = Path(sys.argv[1])
writes = FolderState(lambda folder: (folder / "weights").write_bytes(bytes(100_000)), print)
before = save(root / "before", step=1, state=ObjectState(Network()), settings={})
for state in (ObjectState(Network()), writes):
    for limit in (0, 1, 300, 5_000, 50_000, 99_999):  # each refuses another file of the checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(root / "refused", step=2, state=state, settings={"text": "x" * 400})
        except CheckpointError as error:
            told = str(error)
        else:
            raise SystemExit(f"a save of 100,000 bytes was reported as a success under a limit of {limit}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert "the disk refuses the write" in told and "bytes free" in told and str(root / "refused") in told, told
        assert [path.name for path in root.iterdir()] == ["before"], list(root.iterdir())
verify(root / "before", sha256=before.sha256)
save(root / "refused", step=2, state=writes, settings={})
"""


def test_a_disk_that_refuses_the_write_is_never_reported_as_a_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ── torn, changed and hostile checkpoints ─────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_torn_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a").path
    for name in everything_under(path):
        whole = (path / name).read_bytes()
        stride = 1 if len(whole) < 1000 else 37
        for length in range(len(whole) - 1, -1, -stride):
            os.truncate(path / name, length)
            with pytest.raises(CheckpointError, match=Path(name).name):
                verify(path)
        (path / name).write_bytes(whole)
    verify(path)


def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a").path
    whole = verify(path)
    for name in everything_under(path):
        content = (path / name).read_bytes()
        for position in range(0, len(content), 1 if len(content) < 1000 else 37):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            (path / name).write_bytes(flipped)
            if name == "manifest.json" and json_means_the_same(bytes(flipped), content):
                assert verify(path) == whole
            else:
                with pytest.raises(CheckpointError, match=Path(name).name):
                    verify(path)
        (path / name).write_bytes(content)


def json_means_the_same(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_a_manifest_with_another_step_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a").path
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"step": 40', '"step": 41'))
    with pytest.raises(CheckpointError, match=r"manifest\.json is torn or changed"):
        verify(path)


def test_a_missing_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    for name in everything_under(saved(tmp_path / "a").path):
        path = saved(tmp_path / name.replace("/", "-")).path
        (path / name).unlink()
        with pytest.raises(CheckpointError, match=f"{Path(name).name}.* is missing"):
            verify(path)
    (tmp_path / "a" / "state" / "more").write_text("")
    with pytest.raises(CheckpointError, match="'state/more', unknown to its manifest"):
        verify(tmp_path / "a")


def test_a_changed_file_is_named_with_both_hashes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a").path
    claimed = verify(path).files["settings.json"].sha256
    (path / "settings.json").write_text("{}")
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(CheckpointError, match=rf"settings\.json has 2 bytes with sha256 {empty}.*{claimed}"):
        load(path, ObjectState(Network()))


def test_a_whole_checkpoint_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    recorded = saved(tmp_path / "a", [1.0]).sha256
    saved(tmp_path / "a", [2.0])
    with pytest.raises(CheckpointError, match=f"not the one recorded.*{recorded}"):
        load(tmp_path / "a", ObjectState(Network()), sha256=recorded)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("whole") / "a").path


@given(data=st.data())
def test_damage_anywhere_either_loads_right_or_is_refused(whole: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(whole, Path(folder, "a")))
        file = path / data.draw(st.sampled_from(everything_under(path)))
        content = bytearray(file.read_bytes())
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        file.write_bytes(content)
        network, before = Network([0.0, 0.0]), capture_generators()
        try:
            assert load(path, ObjectState(network)) == SETTINGS
            assert network.weights.tolist() == [1.0, 2.0]
        except CheckpointError:
            assert network.weights.tolist() == [0.0, 0.0]
        finally:
            restore_generators(before)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    manifest=anything
    | st.fixed_dictionaries(
        {"format": st.just(1), "step": anything, "sha256": anything},
        optional={
            "files": anything
            | st.dictionaries(st.text(), st.fixed_dictionaries({"bytes": anything, "sha256": anything}))
        },
    )
)
def test_no_manifest_whatever_it_says_does_more_than_be_refused(whole: Path, manifest: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(whole, Path(folder, "a")))
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            verify(path)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "state/../../outside", "", ".", "state", "a\0b", "x" * 5000]
)
def test_a_manifest_that_reaches_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "a").path
    (tmp_path / "outside").write_text("")
    files = json.loads((path / "manifest.json").read_text())["files"]
    rewrite_manifest(path, files=files)
    verify(path)
    empty = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    rewrite_manifest(path, files=files | {name: empty})
    with pytest.raises(CheckpointError, match="is missing"):
        verify(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 200_000, b"null", b"{}", b"9" * 10_000, b" " * (16 * 2**20 + 1)]
)
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path / "a").path
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        verify(path)


@pytest.mark.parametrize("changes", [{"format": 2}, {"step": True}, {"step": -1}, {"step": "40"}, {"files": {}}])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = saved(tmp_path / "a").path
    rewrite_manifest(path, **changes)
    with pytest.raises(CheckpointError):
        verify(path)


@pytest.mark.parametrize("name", ["manifest.json", "settings.json", "state/state.npy", "state", "."])
def test_links_are_refused_even_to_the_right_content(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "a").path
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="link"):
        verify(path)


def test_whole_pickles_that_cannot_be_read_here_are_told(tmp_path: Path) -> None:
    def not_a_pickle(folder: Path) -> None:
        (folder / "state.pickle").write_bytes(b"not a pickle")

    save(tmp_path / "a", step=1, state=FolderState(not_a_pickle, print), settings={})
    with pytest.raises(CheckpointError, match="cannot be unpickled here"):
        load(tmp_path / "a", ObjectState(Network()))


def test_a_state_of_another_kind_or_shape_is_told(tmp_path: Path) -> None:
    files = FolderState(lambda folder: (folder / "x").write_text(""), fails)
    save(tmp_path / "files", step=1, state=files, settings={})
    with pytest.raises(CheckpointError, match="Register the state"):
        load(tmp_path / "files", ObjectState(Network()))
    with pytest.raises(TrainingError, match="failed: RuntimeError: of its own"):
        load(tmp_path / "files", files)
    saved(tmp_path / "objects")
    with pytest.raises(TrainingError, match=r"load_state_dict\(\) failed.*shape \(2,\)"):
        load(tmp_path / "objects", ObjectState(Network([0.0])))


# ── deleting, sweeping ──────────────────────────────────────────────────────────────────────────────


def test_a_deleted_checkpoint_is_gone_and_deleting_it_again_is_fine(tmp_path: Path) -> None:
    path = saved(tmp_path / "17" / "0-40").path
    saved(tmp_path / "17" / "0-80")
    delete(path, root=tmp_path)
    delete(path, root=tmp_path)
    assert [each.name for each in (tmp_path / "17").iterdir()] == ["0-80"]


def test_nothing_but_a_checkpoint_below_the_root_is_deleted(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    inside, outside = saved(root / "17" / "0-40").path, saved(tmp_path / "other" / "0-40").path
    (root / "link").symlink_to(tmp_path / "other")
    for path in (
        outside,
        root,
        root / ".." / "other" / "0-40",
        root / "link" / "0-40",
        root / "link",
        root / "17",
        root / "..",
    ):
        with pytest.raises(CheckpointError, match="is not deleted"):
            delete(path, root=root)
    verify(inside)
    verify(outside)


def test_sweeping_removes_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = Snapshot.take(tmp_path / "17" / "alive", step=1, state=ObjectState(Network()), settings={})
    _, host, pid, _ = alive.workplace.name.removeprefix(".").split(".")
    left, elsewhere, old = (
        tmp_path / "17" / f".{name}" for name in (f"a.{host}.{dead.pid}.tmp", "b.far-away.7.tmp", "d.far-away.7.tmp")
    )
    for folder in (left, elsewhere, old):
        (folder / "state").mkdir(parents=True)
    long_ago = time.time() - 7200
    for folder in (old / "state", old):
        os.utime(folder, (long_ago, long_ago))
    assert sorted(sweep_leftovers(tmp_path)) == [left, old]
    assert pid == str(os.getpid())
    assert elsewhere.exists()
    assert alive.write().path == tmp_path / "17" / "alive"


def test_a_checkpoint_whose_replacement_died_returns_to_its_name(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    aside = saved(tmp_path / "a").path
    host = Snapshot.take(tmp_path / "b", step=1, state=ObjectState(Network()), settings={}).workplace.name.split(".")[2]
    aside.rename(tmp_path / f".a.{host}.{dead.pid}.old")
    sweep_leftovers(tmp_path)
    assert verify(tmp_path / "a").step == 40


SAVES_FOREVER = """
import itertools, sys
from pathlib import Path
from tuner.worker.checkpoints import delete, save
from tuner.worker.state import ObjectState

class Network:
    def state_dict(self): return {"weights": bytes(200_000)}
    def load_state_dict(self, state): pass

root = Path(sys.argv[1])
for step in itertools.count():
    save(root / "again", step=step, state=ObjectState(Network()), settings={"step": step})
    save(root / str(step), step=step, state=ObjectState(Network()), settings={"step": step})
    print(step, flush=True)
    if step >= 3:
        delete(root / str(step - 3), root=root)
"""


@pytest.mark.long
def test_a_save_killed_at_any_moment_leaves_whole_checkpoints_only(tmp_path: Path) -> None:
    moments = random.Random(0)
    for attempt in range(10):
        root = tmp_path / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-c", SAVES_FOREVER, str(root)], stdout=subprocess.PIPE, text=True
        ) as saver:
            assert saver.stdout is not None
            saver.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.05))
            saver.send_signal(signal.SIGKILL)
            promised = int((["0", *saver.stdout.read().split()])[-1])
        sweep_leftovers(root)
        visible = sorted(root.iterdir())
        assert {"again", str(promised)} <= {path.name for path in visible}
        torn = [path for path in visible if not (path / "manifest.json").exists()]
        assert [path.name for path in torn] in ([], [str(promised - 3)])  # its deletion had begun
        for path in visible:
            if path not in torn:
                assert verify(path).bytes > 200_000


def test_a_manifest_is_the_same_whatever_the_order_of_its_files(whole: Path) -> None:
    manifest = verify(whole)
    turned = Manifest(step=manifest.step, files=dict(reversed(list(manifest.files.items()))))
    assert (turned.sha256, turned.text()) == (manifest.sha256, manifest.text())
