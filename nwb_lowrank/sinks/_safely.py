"""Writing a file so that nothing is ever left damaged: write beside, verify, rename."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pynwb import NWBHDF5IO

MARGIN = 2_000_000  # bytes; HDF5's own book-keeping


@contextmanager
def replacing(path: Path, who: str, *, needed: int = 0, backup: bool = False) -> Iterator[Path]:
    """Yield a path beside `path`; what the caller wrote and verified there becomes `path` in one step.

    On any error the new file is removed and `path` is what it was before. With `backup` the old file stays as `<path>.bak`
    (`.bak1`, … where there is one). The caller is the only writer (`only_writer`), so parts that killed writers left go too.

    Raises
    ------
    OSError
        The folder cannot be made or written to, or the disk is (about to be) full.
    """
    check_place(path, who, needed=needed)
    path = Path(os.path.realpath(path))  # a link stays a link, to the new file
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    made = _missing_parents(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if path.exists():
            shutil.copymode(path, beside)  # a private file stays private
        _sync(beside)
        if backup and path.exists():
            _keep(path)
        os.replace(beside, path)
        _sync(path.parent)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if _disk_is_full(error):
            raise OSError(
                f"{who}: the disk of '{path.parent}' is full; nothing was written. Free some space or write elsewhere."
            ) from error
        raise


def _keep(path: Path) -> Path:
    """A second name for the file as it is now, where the disk knows such, else a copy; no older backup is lost."""
    number, kept = 0, path.with_name(f"{path.name}.bak")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.bak{number}")
    try:
        os.link(path, kept)
    except OSError:
        shutil.copy2(path, kept)
        _sync(kept)
    return kept


@contextmanager
def new_nwb(path: Path) -> Iterator[NWBHDF5IO]:
    """An NWBHDF5IO that writes a new file, and survives a disk that fills up meanwhile.

    HDF5 can neither flush nor close a file without space, and the process crashes when the handle is collected at
    last. So after an error the file's own space is given back first; what is then flushed into it is of no use to anyone.
    """
    with NWBHDF5IO(path, "w") as io:
        try:
            yield io
            io._file.flush()
        except BaseException:
            os.truncate(path, 0)
            raise


def check_place(path: Path, who: str, *, needed: int = 0) -> None:
    """Raise OSError unless `path` can be written with `needed` bytes; leaves nothing behind."""
    if path.is_dir():
        raise OSError(f"{who}: expected the name of a file to write; '{path}' is a folder. Name a file inside it.")
    folder = Path(os.path.realpath(path)).parent
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"{who}: cannot write in '{path.parent}' ({why}). Pass output= in a folder that you may write to.") from None
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise OSError(
            f"{who}: expected about {(needed + MARGIN) / 1e6:.0f} MB of free space for '{path}'; got {free / 1e6:.1f} MB. "
            "Free some space or write elsewhere."
        )


def _missing_parents(folder: Path) -> list[Path]:
    """Folders that do not exist yet, innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing


def _sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_is_full(error: BaseException | None) -> bool:
    """HDF5 hides the operating system's error in a chain of its own."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
