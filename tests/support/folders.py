"""Temporary folders that the user of the embedded servers may enter, which root's tmp_path does not allow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder in the system's temporary one that others may pass through; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="layeron-job-test-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o711)
        yield path
