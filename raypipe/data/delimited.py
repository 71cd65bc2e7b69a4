"""Delimited text files read whole, with errors that name file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv

from raypipe.errors import DataError


class Format(NamedTuple):
    """How a delimited file is written.

    Attributes:
        delimiter: one character or more, e.g. "::".
        encoding: e.g. "utf-8" or "iso-8859-1".
        escape: a character that makes the next one literal, where the file uses one.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    escape: str | None = None


def need_folder(folder: Path | None, dataset: str, *files: str) -> Path:
    """The dataset's folder, after a check that all `files` are in it.

    Raises:
        DataError: no folder is given, or files are missing.
    """
    if folder is None:
        raise DataError(
            f"the dataset {dataset} is read from a folder, and no folder is given",
            "--data-dir",
            "pass --data-dir FOLDER",
        )
    absent = [f for f in files if not (folder / f).is_file()]
    if absent:
        raise DataError(
            f"the dataset {dataset} needs {', '.join(absent)}",
            str(folder),
            "check the path of --data-dir, or put the files into the folder",
        )
    return folder


def read_delimited(
    path: Path,
    columns: list[str] | None,
    format: Format,
    numeric: tuple[str, ...] = (),
    filled: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Read a delimited file as text columns, `numeric` ones as float64.

    Args:
        columns: column names of a file without header; None: the first line names them.
        filled: columns in which an empty value is an error.

    Raises:
        DataError: the file does not match; the error names file, line and column.
    """
    first_line = 1 if columns is not None else 2
    raw = path.read_bytes()
    _check_encoding(raw, path, format.encoding)
    head = raw.split(b"\n", 1)[0].decode(format.encoding).rstrip("\r")
    _check_first_line(head, columns, path, format.delimiter)
    frame = _parse(raw, head, columns, path, format)
    for column in filled:
        if column in frame:
            empty = frame[column].str.strip() == ""
            _refuse(empty, frame[column], path, first_line, "is empty")
    for column in numeric:
        if column in frame:
            values = pd.to_numeric(frame[column], errors="coerce")
            _refuse(values.isna(), frame[column], path, first_line, "is not a number")
            frame[column] = values
    return frame


def _check_encoding(raw: bytes, path: Path, encoding: str) -> None:
    """Raise DataError where the bytes are empty or not text in this encoding."""
    try:
        raw.decode(encoding)
    except LookupError as error:
        raise DataError(
            f"{encoding!r} is not a known encoding",
            str(path),
            "set the encoding in the dataset's options, e.g. utf-8 or iso-8859-1",
        ) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"the file is not {encoding} (byte 0x{raw[error.start]:02x})",
            f"{path}, line {line}",
            "convert the file, or set its encoding in the dataset's options",
        ) from error
    if not raw.strip():
        raise DataError("the file is empty", str(path), "check the path, or fill the file")


def _check_first_line(head: str, columns: list[str] | None, path: Path, delimiter: str) -> None:
    """Raise DataError where the first line does not split into the expected columns."""
    if columns is not None and len(head.split(delimiter)) != len(columns):
        raise DataError(
            f"line 1 has {len(head.split(delimiter))} column(s) when split at {delimiter!r}, "
            f"expected {len(columns)} ({', '.join(columns)})",
            f"{path}, line 1",
            "check the delimiter",
        )
    if columns is None and delimiter not in head:
        raise DataError(
            f"the first line has no delimiter {delimiter!r}; the delimiter is wrong, or the file "
            f"has one column only: {head[:80]!r}",
            f"{path}, line 1",
            "set the delimiter in the dataset's options",
        )


def _parse(
    raw: bytes, head: str, columns: list[str] | None, path: Path, format: Format
) -> pd.DataFrame:
    """All columns of the file as text."""
    single = format.delimiter
    if len(single) > 1:  # the reader takes one character; a control character replaces them
        single = "\x1f"
        raw = raw.replace(format.delimiter.encode(format.encoding), single.encode(format.encoding))
    names = columns or head.replace('"', "").split(format.delimiter)
    try:
        table = csv.read_csv(
            pa.py_buffer(raw),
            read_options=csv.ReadOptions(
                column_names=columns, encoding=format.encoding, use_threads=False
            ),
            # MovieLens' files have bare quotes in fields; files with a header use CSV quoting
            parse_options=csv.ParseOptions(
                delimiter=single,
                quote_char=False if columns else '"',
                escape_char=format.escape or False,
                ignore_empty_lines=False,
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"a line does not have the expected columns: {error}",
            str(path),
            "correct that line: quote a field that holds the delimiter, or add the missing fields",
        ) from error
    return table.to_pandas()


def need_columns(frame: pd.DataFrame, path: Path, *columns: str) -> None:
    """Raise DataError where the file's header lacks a column."""
    absent = [c for c in columns if c not in frame]
    if absent:
        raise DataError(
            f"the file lacks the column(s) {', '.join(absent)}; it has {', '.join(frame.columns)}",
            f"{path}, line 1",
            "rename or add the column(s)",
        )


def _refuse(bad: pd.Series, values: pd.Series, path: Path, first_line: int, fault: str) -> None:
    """Raise DataError for the first bad value of a column."""
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DataError(
            f"{values.iloc[row]!r} in column {values.name} {fault} ({int(bad.sum())} such row(s))",
            f"{path}, line {row + first_line}, column {values.name}",
            "correct or remove the row(s)",
        )
