"""Downloads kept by their digest: verified, resumable, and safe for several processes at once."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from ._patient import WAITS, log, stopping, wait

MARGIN = 2_000_000  # bytes left free
SHA256, ETAG, ZARR = "dandi:sha2-256", "dandi:dandi-etag", "dandi:dandi-zarr-checksum"
HEX = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}-\d{1,5}|[0-9a-f]{32}-\d+--\d+")


def cache_folder() -> Path:
    """NWB_LOWRANK_CACHE, else the user's cache folder as the system has it."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("NWB_LOWRANK_CACHE") or user_cache_path("nwb_lowrank")) / "dandi"


def cached(digests: dict[str, str], size: int) -> Path | None:
    """The verified file (or Zarr folder) of these digests, if it is here in full."""
    path = any_cached(digests)
    return path if path is not None and (path.is_dir() or path.stat().st_size == size) else None


def any_cached(digests: dict[str, str]) -> Path | None:
    """The same when the size is not known."""
    path = place(digests)
    return path if path is not None and path.exists() else None


def fetch(name: str, size: int, digests: dict[str, str], chunks: Callable[[int], Iterator[bytes]], progress: bool = True) -> Path:
    """The cached file, downloaded first if need be.

    Parameters
    ----------
    name : str
        What to call it on screen.
    size : int
        Bytes.
    digests : dict
        "dandi:sha2-256" or "dandi:dandi-etag", hex.
    chunks : function
        Bytes of the file from an offset on.

    Raises
    ------
    ValueError
        No digest to verify it by, or twice a content of another digest.
    OSError
        The disk is full, or the connection was lost again and again; what had arrived is kept.
    """
    target = place(digests)
    if target is None:
        raise ValueError(f"dandi: expected a digest of '{name}' to verify it by; the archive has none. Stream it (--stream) instead.")
    return kept(target, name, size, chunks, lambda part: _matches(part, digests), progress)


def kept(target: Path, name: str, size: int, chunks, right: Callable[[Path], bool], progress: bool = True, who: str = "dandi") -> Path:
    """The file `target`, received first if need be, once `right` says that its content is; arguments and errors as of `fetch`."""
    if _whole(target, size):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone(target, name, who):
        if _whole(target, size):  # the process we waited for got it
            return target
        part = target.with_suffix(".part")
        check_room(part, size, name, who)
        for attempt in (1, 2):
            receive(part, name, size, chunks, progress, who)
            if right(part):
                os.chmod(part, 0o444)
                os.replace(part, target)
                return target
            part.unlink()
            log.warning("%s: what arrived of '%s' does not match its digest%s", who, name, "; once more from the start" * (attempt == 1))
    raise ValueError(f"{who}: '{name}' arrived twice with a content that does not match its digest; nothing was kept. "
                     "Try again later, or report it to the archive.")  # fmt: skip


def _whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def place(digests: dict[str, str]) -> Path | None:
    """Where the file, or the Zarr folder, of these digests is kept."""
    for kind, suffix in ((SHA256, ".nwb"), (ETAG, ".nwb"), (ZARR, ".nwb.zarr")):
        if HEX.fullmatch(digests.get(kind) or ""):  # it becomes a file name
            return cache_folder() / digests[kind][:2] / f"{digests[kind]}{suffix}"
    return None


class alone:
    """Only one process downloads a file; the others say that they wait for it."""

    def __init__(self, target: Path, name: str, who: str = "dandi"):
        self.lock, self.name, self.who = FileLock(target.with_suffix(".lock")), name, who

    def __enter__(self):
        try:
            return self.lock.acquire(timeout=0)
        except Timeout:
            log.warning("%s: another process is downloading '%s'; waiting for it (Ctrl-C stops)", self.who, self.name)
            return self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()


def check_room(part: Path, size: int, name: str, who: str = "dandi") -> None:
    """Raise OSError unless the disk of the cache has room for what is missing."""
    needed = size - (part.stat().st_size if part.is_file() else 0)
    free = shutil.disk_usage(part.parent).free
    if free < needed + MARGIN:
        raise OSError(f"{who}: expected {needed / 1e6:.0f} MB of free space in '{part.parent}' for '{name}'; got {free / 1e6:.0f} MB. "
                      "Free some, set NWB_LOWRANK_CACHE to another disk, or use --stream.")  # fmt: skip


def receive(part: Path, name: str, size: int, chunks, progress: bool, who: str = "dandi") -> None:
    """Append to the part file until it is whole; a dropped connection goes on where it stopped."""
    start = part.stat().st_size if part.exists() else 0
    if start > size:
        part.unlink()
        start = 0
    with tqdm(total=size, initial=start, desc=Path(name).name, unit="B", unit_scale=True, disable=not progress, leave=False) as bar:
        tries = 0
        while start < size:
            try:
                with open(part, "ab") as file:
                    for chunk in chunks(start):
                        file.write(chunk)
                        start, tries = start + len(chunk), 0
                        bar.update(len(chunk))
                        if stopping.is_set():
                            raise KeyboardInterrupt
                        if start > size:
                            return  # a server that ignored where we were: the digest will tell
                why = "the connection ended early"
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                why = f"the connection was lost ({type(error).__name__})"
            if start < size:
                if tries == len(WAITS):
                    raise ConnectionError(f"{who}: '{name}': {why} {tries + 1} times in a row at {start / 1e6:.0f} of {size / 1e6:.0f} MB. "
                                          "What arrived is kept: run the same command again to go on.")  # fmt: skip
                wait(WAITS[tries], f"{who}: '{name}': {why} at {start / 1e6:.1f} of {size / 1e6:.1f} MB")
                tries += 1


def _matches(part: Path, digests: dict[str, str]) -> bool:
    if HEX.fullmatch(digests.get(SHA256) or ""):
        with open(part, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digests[SHA256]
    return etag(part) == digests[ETAG]


def etag(path: Path) -> str:
    """DANDI's digest of a file: the MD5 sum of the MD5 sums of its parts, as S3 forms it for multipart uploads."""
    from dandischema.digests.dandietag import DandiETag

    return DandiETag.from_file(path).as_str()
