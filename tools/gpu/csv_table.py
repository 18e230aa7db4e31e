"""Tables of measured times: columns, reading back what is there, writing without ever leaving half a file.

The columns are those of the shared measured tables: system, backend, version, kernel, the shape, latency_us.
"""
import csv
import decimal
import functools
import math
import os
import pathlib
import tempfile

COMMON = ("system", "backend", "version", "kernel")
TIME = "latency_us"
EAGER = "_eager"
WARM = "_warm"


class TableError(Exception):
    """A table that cannot be used; the text says which file and line."""


def columns_of(shape_columns):
    return (*COMMON, *shape_columns, TIME)


def microseconds(value):
    """A time with 5 significant digits and no exponent, as the shared tables write it. Raises ValueError if not above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"a time must be above 0, not {value}")
    return format(decimal.Decimal(f"{value:.5g}"), "f")


def kernel_label(path, warm=False, eager=False):
    """The kernel column: the path, then how it was run when that is not the usual way."""
    return path + (WARM if warm else "") + (EAGER if eager else "")


class Table:
    """The rows of one file. Two rows are the same measurement when all but the time and `_eager` agree."""

    def __init__(self, path, shape_columns):
        self.path = pathlib.Path(path)
        self.shape_columns = tuple(shape_columns)
        self.columns = columns_of(shape_columns)
        self._rows = {}

    def key(self, row):
        kernel = row["kernel"].removesuffix(EAGER)
        return (row["system"], row["backend"], row["version"], kernel, *(str(row[c]) for c in self.shape_columns))

    def add(self, row):
        self._rows[self.key(row)] = {column: str(row[column]) for column in self.columns}

    def has(self, row):
        return self.key(row) in self._rows

    def rows(self):
        """All rows, in an order that does not depend on when they were measured."""
        return sorted(self._rows.values(), key=lambda row: [sort_key(row[c]) for c in self.columns])

    def __len__(self):
        return len(self._rows)

    def read(self, keep_untimed=False):
        """Takes over the rows of the file, if there is one. Rows of a dry run have no time and are dropped."""
        if not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                self._read_lines(csv.reader(file), keep_untimed)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise TableError(f"{self.path}: {error}") from None

    def _read_lines(self, lines, keep_untimed):
        header = next(lines, None)
        if header is None:
            return
        if tuple(header) != self.columns:
            raise TableError(f"{self.path}:1: the columns are not those of this family\n"
                             f"  found:    {','.join(header)}\n  expected: {','.join(self.columns)}")
        for fields in lines:
            if not fields:
                continue
            place = f"{self.path}:{lines.line_num}"
            if len(fields) != len(self.columns):
                raise TableError(f"{place}: {len(fields)} fields, but the header has {len(self.columns)}")
            row = dict(zip(self.columns, fields))
            if row[TIME] or keep_untimed:
                if row[TIME]:
                    check_time(row[TIME], place)
                self.add(row)

    def write_to(self, file):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([row[column] for column in self.columns] for row in self.rows())

    def save(self):
        write_atomically(self.path, self.write_to)


def check_time(text, place):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise TableError(f"{place}: column \"{TIME}\": \"{text}\" is not a time above 0")


@functools.lru_cache(maxsize=4096)
def sort_key(text):
    """Numbers by value and before words."""
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def write_atomically(path, write):
    """Calls write(file) on a temporary neighbour and renames it, so that a reader sees the old file or the new one."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise
