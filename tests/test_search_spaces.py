"""The spaces that tuner brings: each loads, says why, and travels in the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tuner.errors import SpaceError
from tuner.space.constructors import log, log_one_minus
from tuner.space.files import available_spaces
from tuner.space.space import Space

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(available_spaces())


def test_the_presets_of_the_method_are_there() -> None:
    assert {"sgd_momentum", "adam", "rmsprop", "mlp"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_and_starts_with_the_learning_rate(name: str) -> None:
    space = Space.load(name)
    assert space.names[0] == "learning_rate"
    assert space["learning_rate"].priority == "first"
    assert all(parameter.priority and parameter.why for parameter in space.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_why_beside_every_range(name: str) -> None:
    text = available_spaces()[name].read_text(encoding="utf-8")
    for parameter, table in tomllib.loads(text).items():
        body = re.split(r"^\[", text.split(f"[{parameter}]\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
        if "choice" in table:
            assert "# " in body, f"{name}: {parameter} has no comment"
        else:
            assert re.search(r"^low = .*# \w", body, re.MULTILINE), f"{name}: {parameter}: low has no comment"
            assert re.search(r"^high = .*# \w", body, re.MULTILINE), f"{name}: {parameter}: high has no comment"


def test_sgd_momentum_searches_the_ranges_of_the_method() -> None:
    assert Space.load("sgd_momentum") == Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))


def test_adam_leaves_its_own_three_alone_and_says_so() -> None:
    assert not {"beta", "beta2", "epsilon"} & set(Space.load("adam"))
    assert "stay as they are at first" in available_spaces()["adam"].read_text(encoding="utf-8")


def test_mlp_asks_for_a_decay_rate_only_where_the_decay_has_one() -> None:
    space = Space.load("mlp")
    start = space.from_unit([0.0] * len(space))
    assert start["decay"] == "none"
    assert not {"decay_rate", "decay_every"} & set(start)
    assert "decay_every" in space.active({**start, "decay": "staircase"})


def test_a_space_is_loaded_by_path_or_text_and_a_wrong_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[x]\nscale = "linear"\nlow = 0\nhigh = 1\n')
    assert Space.load(path) == Space.load(str(path))
    with pytest.raises(SpaceError, match=r"'sgd_momentun'. Did you mean sgd_momentum\?"):
        Space.load("sgd_momentun")
    with pytest.raises(SpaceError, match=r"no file .*adam.toml .*'adam'"):
        Space.load(tmp_path / "adam.toml")
    with pytest.raises(SpaceError, match=r"no file .*mien.toml .*mine.toml\?"):
        Space.load(tmp_path / "mien.toml")


def test_an_installed_wheel_finds_the_presets_in_itself(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert (tmp_path / "site/tuner/agents/SKILL.md").is_file()  # what agents read first travels along
    ask = "import tuner.space as s; print(s.__file__); print(*[n for n in s.available_spaces() if s.Space.load(n)])"
    answer = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert Path(answer[0]).is_relative_to(tmp_path)
    assert answer[1].split() == NAMES
