"""A plain http(s) URL of an NWB file: downloaded once into the cache and resumed, or read by ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from . import _dandi_cache as cache
from ._patient import PatientSession
from ._ranges import RemoteFile
from ._secrets import shown

WHO = "url"
CHUNK = 1 << 16  # bytes; a dropped connection loses at most so many
PLAIN = {"Accept-Encoding": "identity"}  # bytes of the file itself, so that they can be counted


@dataclass(frozen=True, eq=False)
class WebFile:
    """One file on a web server.

    url : as it was given, with what may be secret in it;  size : bytes;  mark : what the server says that changes with the content;
    ranges : does it send parts?
    """

    url: str
    size: int
    mark: str
    ranges: bool

    @property
    def path(self) -> str:
        """The file's name."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name or "recording.nwb"

    def origin(self) -> dict:
        """What `Trials.origin` records: the address without its query, where signatures and keys are."""
        return dict(path=shown(self.url))

    def cached(self) -> Path | None:
        """The copy in the cache of what the server has now, if it is there."""
        place = self._place()
        return place if place.is_file() and place.stat().st_size == self.size else None

    def download(self, *, progress: bool = True) -> Path:
        """The file in the cache, downloaded first if need be. Errors as of `_dandi_cache.kept`."""
        return cache.kept(self._place(), self.path, self.size, self._chunks, _anything, progress, WHO)

    def stream(self) -> RemoteFile:
        """A file-like object that fetches what is read."""
        if not self.ranges:
            raise ValueError(f"{WHO}: {shown(self.url)} sends whole files only. Leave --stream out: it is downloaded then.")
        return RemoteFile(lambda fresh: self.url, self.size, shown(self.url), self.origin(), WHO)

    def _place(self) -> Path:
        """No digest is known beforehand: what the server says of the file stands for it."""
        key = hashlib.sha256("\n".join([shown(self.url), self.mark, str(self.size)]).encode()).hexdigest()
        return cache.cache_folder().with_name("web") / key[:2] / f"{key}.nwb"

    def _chunks(self, start: int) -> Iterator[bytes]:
        """Bytes from an offset on; a server without ranges sends all, of which the first are skipped."""
        wanted = PLAIN | ({"Range": f"bytes={start}-"} if start and self.ranges else {})
        with PatientSession(WHO) as session, session.get(self.url, headers=wanted, stream=True) as answer:
            _check(answer, self.url)
            skip = start if answer.status_code == 200 else 0
            for chunk in answer.iter_content(CHUNK):
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))


def find_file(url: str) -> WebFile:
    """Ask the server about the file behind a URL.

    Raises
    ------
    FileNotFoundError, PermissionError, ConnectionError, TimeoutError, ValueError
        One sentence without secrets.
    """
    url = url.strip()
    with PatientSession(WHO) as session, session.get(url, headers=PLAIN | {"Range": "bytes=0-0"}, stream=True) as answer:
        _check(answer, url)
        told = answer.headers
        if "text/html" in told.get("Content-Type", ""):
            raise ValueError(
                f"{WHO}: expected an NWB file; {shown(url)} is a web page. Pass the address of the file itself (its download link)."
            )
        whole = told.get("Content-Range", "").rpartition("/")[2] if answer.status_code == 206 else told.get("Content-Length", "")
    if not whole.isdigit():
        raise ValueError(f"{WHO}: {shown(url)} does not say how large the file is. Download it with a browser, and pass the file.")
    return WebFile(url, int(whole), told.get("ETag") or told.get("Last-Modified") or "", answer.status_code == 206)


def _check(answer, url: str) -> None:
    status = answer.status_code
    if status == 404 or status == 410:
        raise FileNotFoundError(f"{WHO}: there is nothing at {shown(url)} ({status}). Check the address.")
    if status in (401, 403):
        raise PermissionError(
            f"{WHO}: {shown(url)} may not be read ({status}). Pass a link that you are allowed to use; it may have expired."
        )
    if status not in (200, 206):
        raise ConnectionError(f"{WHO}: {shown(url)} answered {status}. Check the address, or try again later.")


def _anything(part: Path) -> bool:
    """Nothing is known of the content but its size; HDF5 tells when it is damaged."""
    return True
