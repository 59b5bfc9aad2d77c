"""Knows how tables become files: one a table, each written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tuner.errors import MissingExtra, SettingsError, StudyError, did_you_mean


def export(tables: Mapping[str, pd.DataFrame], to: Path, format: str = "csv") -> list[Path]:  # noqa: A002 - the shell's word
    """Writes `<table>.<format>` for every table into a folder, made when it is not there; the paths, in order.

    A file that was there is replaced whole or not at all. An object column (settings of mixed types, a request's
    arguments) holds JSON text in csv and parquet, its text as it is where it is one.
    """
    if format not in _WRITE:
        raise SettingsError(f"tables cannot be exported as {format!r}. {did_you_mean(format, [*_WRITE, 'markdown'])}")
    try:
        to.mkdir(parents=True, exist_ok=True)
        return [_write_whole(frame, to / f"{name}.{format}", _WRITE[format]) for name, frame in tables.items()]
    except OSError as error:
        raise StudyError(f"tables cannot be written to {to}: {error}. Choose another folder with --to.") from error


def _write_whole(frame: pd.DataFrame, path: Path, write: Callable[[pd.DataFrame, Path], None]) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(frame, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


# ── formats ─────────────────────────────────────────────────────────────────────────────────────


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Numbers to their last digit, times as ISO 8601, what is missing as an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    columns = {name: _times(column) if _is_time(column) else _unarmed(_texts(column)) for name, column in frame.items()}
    pd.DataFrame(columns, copy=False).to_csv(path, index=False, lineterminator="\n")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("parquet needs pyarrow. Install it: pip install 'tuner[parquet]'") from None
    texts = pd.DataFrame({name: _texts(column) for name, column in frame.items()}, copy=False)
    pq.write_table(pa.Table.from_pandas(texts, preserve_index=False), path)


def _write_jsonl(frame: pd.DataFrame, path: Path) -> None:
    """One object a row. JSON knows neither nan nor infinity: both are null, like what is missing."""
    row = "{" + ", ".join(f"{json.dumps(str(name)).replace('%', '%%')}: %s" for name in frame) + "}\n"
    cells = [_json_cells(column) for _, column in frame.items()]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(row.__mod__, zip(*cells, strict=True)))


_WRITE: Mapping[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}


# ── cells ───────────────────────────────────────────────────────────────────────────────────────


def _is_time(column: pd.Series[Any]) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype)


def _times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times in UTC as ISO 8601; pandas formats them one by one, numpy all at once."""
    texts = np.datetime_as_string(column.dt.tz_localize(None).to_numpy(), unit="us", timezone="UTC")
    return pd.Series(np.where(column.isna(), "", texts), index=column.index)


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """An object column as texts, so that its type does not hang on its contents; others as they are."""
    if column.dtype != object:
        return column
    return pd.Series([_text(value) for value in column], index=column.index, dtype="string")


def _text(value: Any) -> str | None:
    if value is None or value is pd.NA or isinstance(value, str):
        return value if isinstance(value, str) else None
    return json.dumps(value)


def _unarmed(column: pd.Series[Any]) -> pd.Series[Any]:
    if not isinstance(column.dtype, pd.StringDtype):
        return column
    armed = column.str.match(r"[=+\-@\t\r]").fillna(False).astype(bool)
    return column.mask(armed, "'" + column) if armed.any() else column


def _json_cells(column: pd.Series[Any]) -> list[str]:
    if _is_time(column):
        return [f'"{text}"' if text else "null" for text in _times(column)]
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = [*map(json.dumps, column.cat.categories), "null"]
        return [words[code] for code in column.cat.codes]
    if column.dtype == np.float64:
        return [repr(value) if math.isfinite(value) else "null" for value in column.tolist()]
    if column.dtype == np.int64:
        return list(map(str, column.tolist()))
    return [_json_cell(value) for value in column.astype(object).tolist()]


def _json_cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    return json.dumps(value)
