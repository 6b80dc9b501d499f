"""RemoteFile: a file on a server that accepts ranges, read as HDF5 reads, with few requests and few bytes that nobody asked for.

Measured (benchmarks/streaming.py) against fsspec's block cache, CachingFileSystem and remfile. Two more reasons for ~80 lines of our own:
requests are made in the thread that reads, so that h5py's lock cannot wait for a thread that waits for it (as with fsspec), and signed
URLs that expire are renewed.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable

import requests

from ._patient import WAITS, PatientSession, wait
from ._secrets import shown

BLOCK = 128 << 10  # bytes; the metadata of a 1 GB session lie in 7 to 9 such blocks
LARGE = 2 * BLOCK  # reads of this size are data: exactly what is asked for is fetched
AHEAD = 4  # small reads that go on from block to block fetch this share (1/4) of their run ahead
MOST_AHEAD = 32  # blocks
WHOLE = 4 << 20  # bytes; a smaller file is fetched at once
KEPT = 2048  # blocks in memory: 256 MB


class RemoteFile(io.RawIOBase):
    """A read-only, seekable file behind a URL.

    Parameters
    ----------
    url_of : function
        `url_of(fresh)` gives the URL; `fresh=True` when the last one was refused (a signature that expired).
    size : int
        Bytes.
    name : str
        What it is called in messages and records; never the URL, which may be signed.
    origin : dict
        What reading it records besides (see `Trials.origin`).
    who : str
        With which its sentences begin.
    """

    def __init__(self, url_of: Callable[[bool], str], size: int, name: str, origin: dict | None = None, who: str = "dandi"):
        super().__init__()
        self.name, self.origin, self.size = name, origin or {}, size
        self.moved, self.requests = 0, 0  # bytes and requests so far
        self._url_of, self._url, self._session, self._who = url_of, None, PatientSession(who), who
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        self._run, self._next = 0, -1  # blocks that small reads took one after the other, and the one that would go on

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence])
        return self._at

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self.size)
        number = max(0, stop - self._at)
        if number and self.size <= WHOLE and not self._blocks:
            self._keep(0, self._get(0, self.size))
        if number >= LARGE:
            self._large(view[:number], self._at, stop)
        elif number:
            self._small(view[:number], self._at, stop)
        self._at += number
        return number

    def close(self) -> None:
        self._blocks.clear()
        self._session.close()
        super().close()

    def _small(self, view, start: int, stop: int) -> None:
        """Metadata and small chunks: whole blocks, and more of them the longer the reads go on from one to the next."""
        for index in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            if index not in self._blocks:
                self._keep(index, self._get(index * BLOCK, min((index + self._fetched(index)) * BLOCK, self.size)))
            self._blocks.move_to_end(index)
            left, block = index * BLOCK, self._blocks[index]
            first, end = max(start, left), min(stop, left + len(block))
            view[first - start : end - start] = block[first - left : end - left]

    def _fetched(self, index: int) -> int:
        """How many blocks to fetch from `index` on, and note where the run of small reads stands."""
        run = self._run if index == self._next else 0
        number = 1
        while number <= min(run // AHEAD, MOST_AHEAD) and index + number not in self._blocks and (index + number) * BLOCK < self.size:
            number += 1
        self._run, self._next = run + number, index + number
        return number

    def _large(self, view, start: int, stop: int) -> None:
        """Data: what is asked for but for the blocks that are here, in one request."""
        inside = range(-(-start // BLOCK), stop // BLOCK)
        if all(index in self._blocks for index in inside):
            for first in range(start, stop, BLOCK):
                self._small(view[first - start : min(first + BLOCK, stop) - start], first, min(first + BLOCK, stop))
            return
        data = self._get(start, stop)
        view[:] = data
        skipped = inside.start * BLOCK - start
        self._keep(inside.start, data[skipped : skipped + len(inside) * BLOCK])

    def _keep(self, index: int, data: bytes) -> None:
        for offset in range(0, len(data), BLOCK):
            self._blocks[index + offset // BLOCK] = data[offset : offset + BLOCK]
        while len(self._blocks) > KEPT:
            self._blocks.popitem(last=False)

    def _get(self, start: int, stop: int) -> bytes:
        for delay in (*WAITS, None):
            try:
                data = self._answer(start, stop)
                if len(data) == stop - start:
                    return data
                why = f"the connection ended after {len(data)} of {stop - start} bytes"
            except requests.RequestException as error:
                why = f"the connection was lost ({type(error).__name__})"
            if delay is None:
                raise ConnectionError(f"{self._who}: '{self.name}': {why}, {len(WAITS) + 1} times. Try again later, or download it.")
            wait(delay, f"{self._who}: '{self.name}': {why}")

    def _answer(self, start: int, stop: int) -> bytes:
        for fresh in (False, True):
            if fresh or self._url is None:
                self._url = self._url_of(fresh)
            wanted = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
            with self._session.get(self._url, headers=wanted, stream=True) as answer:
                if answer.status_code == 206:
                    data = answer.content
                    self.requests, self.moved = self.requests + 1, self.moved + len(data)
                    return data
        if answer.status_code == 200:
            raise ValueError(f"{self._who}: {shown(self._url)} sends whole files only. Download '{self.name}' instead of streaming it.")
        raise PermissionError(
            f"{self._who}: {shown(self._url)} refuses '{self.name}' ({answer.status_code}). Set the token, or download it."
        )
