"""Delimited text files read whole, with errors that name file, line and column."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv

from raypipe.errors import DataError


def need_folder(folder: Path | None, dataset: str, *files: str) -> Path:
    """The dataset's folder with all `files` in it, or a DataError that says what is missing."""
    if folder is None:
        raise DataError(
            f"the dataset {dataset} is read from a folder, and none is given",
            "--data-dir",
            "give its folder",
        )
    absent = [f for f in files if not (folder / f).is_file()]
    if absent:
        raise DataError(
            f"the dataset {dataset} needs {', '.join(absent)}",
            str(folder),
            "check --data-dir, or put the files there",
        )
    return folder


def read_delimited(
    path: Path,
    columns: list[str] | None,
    delimiter: str,
    encoding: str = "utf-8",
    numeric: tuple[str, ...] = (),
    filled: tuple[str, ...] = (),
    escape: str | None = None,
) -> pd.DataFrame:
    """Read a delimited file as text columns, `numeric` ones as float64.

    Args:
        delimiter: one character or more, e.g. "::".
        escape: a character that makes the next one plain, where the file has such.
        columns: names of the columns of a file without header; None where the first line names them.
        filled: columns in which an empty value is an error.

    Raises:
        DataError: with file, line and column.
    """
    first = 1 if columns is not None else 2
    raw = path.read_bytes()
    try:
        raw.decode(encoding)
    except LookupError as error:
        raise DataError(
            f"{encoding!r} is not a known encoding",
            str(path),
            "name one such as utf-8 or iso-8859-1",
        ) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"the file is not {encoding} (byte 0x{raw[error.start]:02x})",
            f"{path}, line {line}",
            "convert the file, or name its encoding in the dataset's options",
        ) from error
    if not raw.strip():
        raise DataError("the file is empty", str(path))
    head = raw.split(b"\n", 1)[0].decode(encoding).rstrip("\r")
    if columns is not None and len(head.split(delimiter)) != len(columns):
        raise DataError(
            f"line 1 has {len(head.split(delimiter))} column(s) when split at {delimiter!r}, expected {len(columns)}"
            f" ({', '.join(columns)})",
            f"{path}, line 1",
            "check the delimiter",
        )
    if columns is None and delimiter not in head:
        raise DataError(
            f"the first line holds no {delimiter!r}, so the delimiter is wrong or there is one column only: {head[:80]!r}",
            f"{path}, line 1",
            "set the delimiter in the dataset's options",
        )
    single = delimiter
    if len(delimiter) > 1:  # the reader takes one character; a control character stands in for it
        single = "\x1f"
        raw = raw.replace(delimiter.encode(encoding), single.encode(encoding))
    try:
        table = csv.read_csv(
            pa.py_buffer(raw),
            read_options=csv.ReadOptions(
                column_names=columns, encoding=encoding, use_threads=False
            ),
            # MovieLens' files hold bare quotes inside fields; a file with a header follows the usual CSV quoting
            parse_options=csv.ParseOptions(
                delimiter=single,
                quote_char=False if columns else '"',
                escape_char=escape or False,
                ignore_empty_lines=False,
            ),
            convert_options=csv.ConvertOptions(
                column_types={
                    c: pa.string() for c in (columns or head.replace('"', "").split(delimiter))
                },
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"a line does not have the expected columns: {error}", str(path), "mend that line"
        ) from error
    frame = table.to_pandas()
    for column in filled:
        if column in frame:
            _refuse(frame[column].str.strip() == "", frame[column], path, column, first, "is empty")
    for column in numeric:
        if column in frame:
            values = pd.to_numeric(frame[column], errors="coerce")
            _refuse(values.isna(), frame[column], path, column, first, "is not a number")
            frame[column] = values
    return frame


def need_columns(frame: pd.DataFrame, path: Path, *columns: str) -> None:
    """Raise DataError where the file's header lacks a column."""
    absent = [c for c in columns if c not in frame]
    if absent:
        raise DataError(
            f"the file lacks the column(s) {', '.join(absent)}; it has {', '.join(frame.columns)}",
            f"{path}, line 1",
            "rename or add them",
        )


def _refuse(
    bad: pd.Series, values: pd.Series, path: Path, column: str, first: int, fault: str
) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DataError(
            f"{values.iloc[row]!r} in column {column} {fault} ({int(bad.sum())} such row(s))",
            f"{path}, line {row + first}, column {column}",
            "mend or remove the row(s)",
        )
