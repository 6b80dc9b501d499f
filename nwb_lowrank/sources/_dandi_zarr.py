"""A Zarr asset of DANDI: many small files, downloaded side by side into the cache and verified one by one and as a whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from . import _dandi_cache as cache
from ._patient import log, stopping

JOBS = 8  # files at a time; they are small


@dataclass(frozen=True)
class Entry:
    """One file of the store: its path in it, bytes, MD5 sum, and its content from an offset on."""

    path: str
    size: int
    md5: str
    chunks: Callable[[int], Iterator[bytes]]


def fetch_zarr(name: str, digests: dict[str, str], entries: Callable[[], Iterable[Entry]], progress: bool = True) -> Path:
    """The cached folder, downloaded first if need be; what an earlier try received is used.

    Parameters
    ----------
    entries : function
        Lists the files; called only when they are not here.

    Raises
    ------
    ValueError
        No digest to verify it by, a path that leads out of the store, or a content of another digest.
    OSError
        The disk is full, or the connection was lost again and again; what had arrived is kept.
    """
    target = cache.place(digests)
    if target is None or cache.ZARR not in digests:
        raise ValueError(
            f"dandi: expected a digest of '{name}' to verify it by; the archive has none. Run: dandi download, and pass the folder."
        )
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with cache.alone(target, name):
        if target.is_dir():  # the process we waited for got it
            return target
        part = target.with_suffix(".part")
        part.mkdir(exist_ok=True)
        listed = [_inside(entry, name) for entry in entries()]
        cache.check_room(part, sum(entry.size for entry in listed), name)
        _receive_all(part, name, listed, progress)
        _check_whole(part, name, listed, digests[cache.ZARR])
        os.replace(part, target)
    return target


def _inside(entry: Entry, name: str) -> Entry:
    """A server must not be able to write anywhere else."""
    parts = PurePosixPath(entry.path).parts
    if not parts or entry.path.startswith("/") or ".." in parts or "\\" in entry.path or ":" in parts[0]:
        raise ValueError(
            f"dandi: '{name}' lists a file '{entry.path}' that lies outside of it; nothing was kept. Report it to the archive."
        )
    return entry


def _receive_all(part: Path, name: str, entries: list[Entry], progress: bool) -> None:
    total = sum(entry.size for entry in entries)
    with (
        tqdm(total=total, desc=Path(name).name, unit="B", unit_scale=True, disable=not progress, leave=False) as bar,
        ThreadPoolExecutor(JOBS) as pool,
    ):
        try:
            for size in pool.map(lambda entry: _receive(part, entry), entries):
                bar.update(size)
        except KeyboardInterrupt:
            stopping.set()  # every thread ends at its next piece; what has arrived is kept
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stopping.clear()


def _receive(folder: Path, entry: Entry) -> int:
    """One file, verified; one that is here already only has to be right."""
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2, 3):
        cache.receive(path, entry.path, entry.size, entry.chunks, progress=False)
        path.touch()  # an empty file is one too
        if hashlib.md5(path.read_bytes()).hexdigest() == entry.md5:
            return entry.size
        path.unlink()
        if attempt > 1:  # what was here already may be of an older version: no news
            log.warning("dandi: what arrived of '%s' does not match its digest; once more", entry.path)
    raise ValueError(f"dandi: '{entry.path}' arrived twice with a content that does not match its digest; the rest is kept. "
                     "Try again later, or report it to the archive.")  # fmt: skip


def _check_whole(part: Path, name: str, entries: list[Entry], digest: str) -> None:
    """The digest of the tree, and no file too many (left by an older version)."""
    from zarr_checksum.tree import ZarrChecksumTree

    tree, wanted = ZarrChecksumTree(), {part / entry.path for entry in entries}
    for entry in entries:
        tree.add_leaf(Path(entry.path), entry.size, entry.md5)
    if tree.process().digest != digest:
        raise ValueError(
            f"dandi: the files of '{name}' are not those of its digest: the asset changed meanwhile, or is damaged. Run it again."
        )
    for path in part.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
