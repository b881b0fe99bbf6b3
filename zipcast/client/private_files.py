"""Writes files that only their owner may read, either completely or not at all."""

from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write the file atomically: readers see the old file, the new one, or none. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_bytes(content)
    partial.replace(path)
