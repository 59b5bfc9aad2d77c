from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tuner.errors import SettingsError, StudyError
from tuner.tables.files import export

FRAME = pd.DataFrame(
    {
        "trial": np.array([0, 1, 2], dtype=np.int64),
        "state": pd.Categorical(["completed", "pruned", "completed"]),
        "why": pd.array(["ran all steps", 'worst, of "14"\ncurves', None], dtype="string"),
        "params.learning_rate": [0.1 + 0.2, 1e-12, np.nan],
        "params.units": pd.array([64, None, 100], dtype="Int64"),
        "value": [1.0, np.inf, np.nan],
        "head": [True, False, True],
        "arguments": [{"step": 40}, "plain", None],
        "at": pd.DatetimeIndex(["2026-01-02T03:04:05.678901", None, "2026-01-02"], tz="UTC").as_unit("us"),
    }
)


def test_csv_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    (path,) = export({"trials": (FRAME,)}, tmp_path / "tables", "csv")
    assert path == tmp_path / "tables" / "trials.csv"
    back = pd.read_csv(path, dtype=str)
    assert [float(text) for text in back["params.learning_rate"][:2]] == [0.1 + 0.2, 1e-12]
    assert float(back["value"][1]) == np.inf
    assert back["params.units"].tolist()[::2] == ["64", "100"]
    assert back["why"][1] == 'worst, of "14"\ncurves'
    assert back["arguments"].tolist()[:2] == ['{"step": 40}', "plain"]
    assert back["at"][0] == "2026-01-02T03:04:05.678901Z"
    assert back.isna().sum().tolist() == FRAME.isna().sum().tolist()


def test_parquet_keeps_the_dtypes(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (path,) = export({"trials": (FRAME,)}, tmp_path, "parquet")
    back = pd.read_parquet(path)
    plain = [name for name in FRAME if name != "arguments"]
    pd.testing.assert_frame_equal(back[plain], FRAME[plain])
    assert back["arguments"].tolist()[:2] == ['{"step": 40}', "plain"]


def test_jsonl_holds_one_object_a_row_with_null_for_what_json_cannot_say(tmp_path: Path) -> None:
    (path,) = export({"trials": (FRAME,)}, tmp_path, "jsonl")
    first, second, third = map(json.loads, path.read_text().splitlines())
    assert list(first) == list(FRAME)
    assert first["params.learning_rate"] == 0.1 + 0.2
    assert first["arguments"] == {"step": 40}
    assert first["at"] == "2026-01-02T03:04:05.678901Z"
    assert (second["value"], second["params.units"], second["at"]) == (None, None, None)
    assert (third["why"], third["state"], third["head"]) == (None, "completed", True)


@pytest.mark.parametrize("format_", ["csv", "parquet", "jsonl"])
def test_an_empty_table_is_a_file_too(tmp_path: Path, format_: str) -> None:
    (path,) = export({"notes": (FRAME.head(0),)}, tmp_path, format_)
    assert path.exists()


@pytest.mark.parametrize("format_", ["csv", "parquet", "jsonl"])
def test_a_long_table_is_written_as_it_is_read(tmp_path: Path, format_: str) -> None:
    held: list[weakref.ref[pd.DataFrame]] = []
    most = 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal most
        for _ in range(8):
            frame = FRAME.copy()
            held.append(weakref.ref(frame))
            yield frame
            del frame
            most = max(most, sum(each() is not None for each in held))

    (path,) = export({"reports": frames()}, tmp_path, format_)
    read: dict[str, Callable[[Path], pd.DataFrame]] = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    assert read[format_](path)["trial"].tolist() == [0, 1, 2] * 8
    assert most <= 2  # the one that is written, and the next


def test_one_file_a_table_and_nothing_half_written_beside_them(tmp_path: Path) -> None:
    paths = export({"trials": (FRAME,), "notes": (FRAME,)}, tmp_path)
    assert [path.name for path in paths] == ["trials.csv", "notes.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_text_that_a_spreadsheet_would_run_is_disarmed_in_csv_alone(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://example.org")'
    frame = pd.DataFrame({"text": pd.array([formula, "day 2", None], dtype="string"), "value": [-1.0, 1.0, 2.0]})
    (csv,), (jsonl,) = export({"notes": (frame,)}, tmp_path, "csv"), export({"notes": (frame,)}, tmp_path, "jsonl")
    assert pd.read_csv(csv)["text"].tolist()[:2] == ["'" + formula, "day 2"]
    assert pd.read_csv(csv)["value"].tolist() == [-1.0, 1.0, 2.0]
    assert json.loads(jsonl.read_text().splitlines()[0])["text"] == formula


def test_an_unknown_format_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Did you mean parquet"):
        export({"trials": (FRAME,)}, tmp_path, "parket")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file in the way")
    with pytest.raises(StudyError, match="tables cannot be written to"):
        export({"trials": (FRAME,)}, tmp_path / "tables")


def test_what_an_extra_brings_is_named_where_it_is_missing(tmp_path: Path) -> None:
    without = f"""
import sys
from pathlib import Path
sys.modules["pyarrow"] = sys.modules["matplotlib"] = None
import pandas as pd
from tuner.errors import MissingExtra
from tuner.tables.files import export
from tuner.views.plots.sweep import plot_all
from tuner.record.state import StudyState
for act in (lambda: export(dict(notes=[pd.DataFrame(dict(trial=[1]))]), Path({str(tmp_path)!r}), "parquet"),
            lambda: plot_all(StudyState(), None, Path({str(tmp_path)!r}))):
    try:
        act()
    except MissingExtra as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'tuner[parquet]'" in said.stdout
    assert "pip install 'tuner[plots]'" in said.stdout
