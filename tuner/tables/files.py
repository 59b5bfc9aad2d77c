"""Tables as files: one a table, each written whole or not at all."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from tuner.errors import MissingExtra, SettingsError, StudyError, did_you_mean
from tuner.record.atomic import write_whole

_ROWS = 20_000  # of a piece that is sent
_ROWS_OF_A_FILE = 200_000  # … that is written: a row group of parquet


def export(tables: Mapping[str, Iterable[pd.DataFrame]], to: Path, format: str = "csv") -> list[Path]:  # noqa: A002 - the shell's word
    """Writes `<table>.<format>` for every table into a folder, made when it is not there; the paths, in order.

    Each table is its rows in frames, as `in_pieces` takes them. A file that was there is replaced whole or not at all.
    An object column (settings of mixed types, a request's arguments) holds JSON text in csv and parquet, its text as it
    is where it is one.
    """
    if format not in _PIECES:
        raise SettingsError(f"tables cannot be exported as {format!r}. {did_you_mean(format, [*_PIECES, 'markdown'])}")
    try:
        to.mkdir(parents=True, exist_ok=True)
        return [write_whole(to / f"{name}.{format}", _writer(frames, format)) for name, frames in tables.items()]
    except OSError as error:
        raise StudyError(f"tables cannot be written to {to}: {error}. Choose another folder with --to.") from error


def _writer(frames: Iterable[pd.DataFrame], format: str) -> Callable[[BinaryIO], None]:  # noqa: A002 - the shell's word
    def write(file: BinaryIO) -> None:
        file.writelines(in_pieces(frames, format, rows=_ROWS_OF_A_FILE))

    return write


def in_pieces(frames: Iterable[pd.DataFrame], format: str, rows: int = _ROWS) -> Iterator[bytes]:  # noqa: A002 - the shell's word
    """A table as the file of it would be, in pieces of so many rows, so that it never has to be held whole.

    `frames` are its rows in their order, at least one frame, maybe empty. What the format needs is looked for at once.
    """
    if format == "parquet":
        _parquet()
    return _PIECES[format](slice_ for frame in frames for slice_ in _slices(frame, rows))


def _slices(frame: pd.DataFrame, rows: int) -> Iterator[pd.DataFrame]:
    """The rows of a frame in their order, some at a time; a frame without rows once."""
    for start in range(0, max(1, len(frame)), rows):
        yield frame.iloc[start : start + rows]


def _csv_pieces(frames: Iterable[pd.DataFrame]) -> Iterator[bytes]:
    for place, frame in enumerate(frames):
        file = io.BytesIO()
        _write_csv(frame, file, header=place == 0)
        yield file.getvalue()


def _jsonl_pieces(frames: Iterable[pd.DataFrame]) -> Iterator[bytes]:
    for frame in frames:
        file = io.BytesIO()
        _write_jsonl(frame, file)
        yield file.getvalue()


def _parquet_pieces(frames: Iterable[pd.DataFrame]) -> Iterator[bytes]:
    """A row group a frame; a column has one type in all of them, however many words a frame has."""
    pa, pq = _parquet()
    out, writer = _Pieces(), None
    for frame in frames:
        table = _arrow(pa, frame)
        types = [
            each.with_type(pa.dictionary(pa.int32(), each.type.value_type))
            if pa.types.is_dictionary(each.type)
            else each
            for each in table.schema
        ]
        table = table.cast(pa.schema(types, table.schema.metadata))
        writer = writer or pq.ParquetWriter(pa.PythonFile(out, "w"), table.schema)
        writer.write(table)
        yield out.taken()
    if writer is not None:
        writer.close()
    yield out.taken()


class _Pieces(io.RawIOBase):
    """A file that is written from its beginning to its end, and forgets what was taken of it."""

    def __init__(self) -> None:
        self._unread: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, piece: Any) -> int:
        self._unread.append(bytes(piece))
        self._written += len(self._unread[-1])
        return len(self._unread[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken, self._unread = b"".join(self._unread), []
        return taken


# ── formats ─────────────────────────────────────────────────────────────────────────────────────


def _write_csv(frame: pd.DataFrame, file: BinaryIO, *, header: bool = True) -> None:
    """Numbers to their last digit, times as ISO 8601, what is missing as an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    columns = {name: _times(column) if _is_time(column) else _unarmed(_texts(column)) for name, column in frame.items()}
    pd.DataFrame(columns, copy=False).to_csv(file, index=False, lineterminator="\n", header=header)


def _arrow(pa: Any, frame: pd.DataFrame) -> Any:
    texts = pd.DataFrame({name: _texts(column) for name, column in frame.items()}, copy=False)
    return pa.Table.from_pandas(texts, preserve_index=False)


def _parquet() -> tuple[Any, Any]:
    """The packages that know the format, or how to get them."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("parquet needs pyarrow. Install it: pip install 'tuner[parquet]'") from None
    return pa, pq


def _write_jsonl(frame: pd.DataFrame, file: BinaryIO) -> None:
    """One object a row. JSON knows neither nan nor infinity: both are null, like what is missing."""
    row = "{" + ", ".join(f"{json.dumps(str(name)).replace('%', '%%')}: %s" for name in frame) + "}\n"
    cells = [_json_cells(column) for _, column in frame.items()]
    text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
    text.writelines(map(row.__mod__, zip(*cells, strict=True)))
    text.detach()


_PIECES: Mapping[str, Callable[[Iterable[pd.DataFrame]], Iterator[bytes]]] = {
    "csv": _csv_pieces,
    "parquet": _parquet_pieces,
    "jsonl": _jsonl_pieces,
}
FORMATS = tuple(_PIECES)
"""What a table can be written as."""


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
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = _unarmed(column.cat.categories.to_series().astype("string"))
        return column.cat.rename_categories(dict(zip(column.cat.categories, words, strict=True)))
    if not isinstance(column.dtype, pd.StringDtype):
        return column
    # pandas puts no quotes around a lone CR (Python 3.11's csv neither), which ends a row for whoever reads it
    column = column.str.replace(r"\r(?!\n)", "\n", regex=True)
    armed = column.str.match(r"[=+\-@\t\r\n]").fillna(False).astype(bool)
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
