"""One writer at a time: the second waits, and is told when that takes too long. A writer that was killed holds no lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

WAIT = 60.0  # seconds that a second writer waits for the first


@contextmanager
def only_writer(path: Path, who: str) -> Iterator[None]:
    """Hold the lock of a file that is about to be read, changed and replaced. Leaves nothing behind.

    The operating system holds the lock (on file systems that cannot, filelock's marker with its own check for dead owners does).

    Raises
    ------
    OSError
        Another process is still writing after `WAIT` seconds.
    """
    path = Path(os.path.realpath(path))
    folder = path.parent
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    name = folder / f".{path.name}.lock"
    lock = FileLock(name)
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        raise OSError(
            f"{who}: another process has been writing '{path}' for more than {WAIT:g} s (its lock is '{name}'); nothing was written. "
            "Wait for it to end, or pass another output=."
        ) from None
    try:
        yield
    finally:
        if os.name == "posix":
            name.unlink(missing_ok=True)  # while it is held: who waits for this inode notices, and tries the new one
        lock.release()
