"""Reads a zipcode file and returns its unchecked rows. A CSV file is never kept in memory as a whole.

This module chooses the format, decodes UTF-8, computes the file's hash, and counts the bytes read.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.zipcode_files.csv_files import read_csv
from storage.zipcode_files.headers import NO_MAPPING
from storage.zipcode_files.json_files import read_json
from storage.zipcode_files.row_rules import ImportFileError, RawRow, Rejection


class FileFormat(StrEnum):
    CSV = "csv"
    JSON = "json"

    @classmethod
    def of(cls, path: Path) -> "FileFormat":
        """Return the format that belongs to the file's suffix: JSON for `.json`, otherwise CSV."""
        return cls.JSON if path.suffix.lower() == ".json" else cls.CSV


class ZipcodeFile:
    """One open file, which can be read once. `name` is its name, without undecodable bytes."""

    def __init__(
        self, path: Path, file_format: FileFormat | None = None, mapping: Mapping[str, str] = NO_MAPPING
    ) -> None:
        """Open a file. `mapping` is the operator's {column: header}. Raises ImportFileError if the file
        cannot be opened."""
        self._mapping = mapping
        self.name = path.name.encode(errors="replace").decode()
        self._format = file_format or FileFormat.of(path)
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(error) from error
        self._counted = _CountedBytes(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counted.close()

    @property
    def bytes_read(self) -> int:
        return self._counted.count

    @property
    def sha256(self) -> str:
        """Return the hash of the bytes read so far, which is that of the whole file when `rows` has ended."""
        return self._counted.digest.hexdigest()

    def rows(self) -> Iterator[RawRow | Rejection]:
        """Yield every row, in the file's order. Raises ImportFileError at any point if the file as a whole is
        unusable."""
        try:
            if self._format is FileFormat.JSON:
                yield from read_json(io.TextIOWrapper(self._counted, "utf-8-sig"), self._mapping)
            else:
                # The module `csv` needs unchanged line endings.
                yield from read_csv(io.TextIOWrapper(self._counted, "utf-8-sig", newline=""), self._mapping)
        except UnicodeDecodeError as error:
            line = self._counted.line_of(error)
            raise ImportFileError(f"line {line}: not UTF-8: {error.reason}") from error
        except OSError as error:
            raise _unreadable(error) from error


class _CountedBytes(io.BufferedIOBase):
    """A file's bytes, which are hashed and counted while they are read."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.name = file.name
        self.count = 0
        self.digest = hashlib.sha256()
        self._line_ends = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = self._file.read(-1 if size is None else size) or b""
        self.count += len(chunk)
        self.digest.update(chunk)
        self._line_ends += chunk.count(b"\n")
        return chunk

    read1 = read

    def close(self) -> None:
        self._file.close()
        super().close()

    def line_of(self, error: UnicodeDecodeError) -> int:
        """Return the line of the first undecodable byte. `error` has the last bytes that were passed on."""
        return self._line_ends - error.object.count(b"\n", error.start) + 1


def _unreadable(error: OSError) -> ImportFileError:
    return ImportFileError(f"cannot be read: {error.strerror}")
