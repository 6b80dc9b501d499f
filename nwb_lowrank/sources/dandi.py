"""Recordings on DANDI, through the real client: find, download into a verified cache, or stream.

Only this file talks to the `dandi` package (and sinks/dandi.py, for uploads). The version is always resolved and recorded; the
token comes from the environment and goes nowhere else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from . import _dandi_cache as cache
from ._dandi_address import Address, is_dandi, parse, spelled
from ._dandi_errors import sentences, token_variable
from ._dandi_zarr import Entry, fetch_zarr
from ._patient import PatientSession, log, stopping
from ._ranges import RemoteFile
from ._secrets import redact_logs

__all__ = ["Asset", "find_asset", "find_assets", "is_dandi", "download_all"]
WHAT = ("variableMeasured", "measurementTechnique", "approach")  # metadata that tell what a file holds
CHUNK = 1 << 16  # bytes; a dropped connection loses at most so many
FEW = 5


@dataclass(frozen=True, eq=False)
class Asset:
    """One file on DANDI.

    Parameters
    ----------
    instance, dandiset, version, path, asset_id : str
        Where it is; dandiset and version are None for a bare asset URL.
    size : int
        Bytes.
    digests : dict
        "dandi:sha2-256" and "dandi:dandi-etag" (of Zarr "dandi:dandi-zarr-checksum") as the archive states them.
    holds : tuple of str
        What the archive's metadata tell of the content.
    zarr : bool
        A Zarr store instead of one file.
    """

    instance: str
    dandiset: str | None
    version: str | None
    path: str
    asset_id: str
    size: int
    digests: dict[str, str]
    holds: tuple[str, ...] = ()
    zarr: bool = False
    remote: object = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The spelling that names the version: `dandi://dandi/000140@0.220113.0408/sub-…/….nwb`."""
        return spelled(self.instance, self.dandiset, self.version, self.path)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def origin(self) -> dict:
        """What `Trials.origin` records; no token, no signed URL."""
        about = dict(instance=self.instance, dandiset=self.dandiset, version=self.version, path=self.path, asset_id=self.asset_id,
                     digest={name.removeprefix("dandi:"): value for name, value in self.digests.items()})  # fmt: skip
        return dict(path=self.url, dandi=about)

    def cached(self) -> Path | None:
        """The verified copy in the cache, if there is one."""
        return cache.cached(self.digests, self.size)

    def download(self, *, progress: bool = True) -> Path:
        """The file, or the Zarr folder, in the cache, downloaded and verified first if need be (see `_dandi_cache.fetch`)."""
        if self.zarr:
            with sentences(self.instance, f"asset '{self.path}'"):
                return fetch_zarr(self.path, self.digests, self._entries, progress)
        with sentences(self.instance, f"asset '{self.path}'"):
            return cache.fetch(self.path, self.size, self.digests, self.remote.get_download_file_iter(CHUNK), progress)

    def stream(self) -> RemoteFile:
        """A file-like object that fetches what is read, for `read_nwb` and `inventory`."""
        if self.zarr:
            raise ValueError(f"dandi: '{self.path}' is a Zarr store of many files, which is read from the cache only. Leave --stream out.")
        return RemoteFile(self._content_url, self.size, self.url, self.origin())

    def _content_url(self, fresh: bool) -> str:
        """The blob's own URL, signed where the archive signs it: never shown or kept."""
        with sentences(self.instance, f"asset '{self.path}'"):
            answer = self.remote.client.session.get(self.remote.base_download_url, allow_redirects=False)
            answer.raise_for_status()
            return answer.headers.get("Location", self.remote.base_download_url)

    def _entries(self) -> Iterator[Entry]:
        """The files of a Zarr store."""
        for file in self.remote.iterfiles():
            yield Entry(str(file), file.size, file.digest.value, file.get_download_file_iter(CHUNK))


def find_assets(address: str, glob: str | None = None) -> list[Asset]:
    """Assets of a dandiset, a folder, a glob or one asset, by path.

    Parameters
    ----------
    address : str
        `DANDI:000140/0.220113.0408`, `dandi://dandi/000140@draft/sub-1/`, an id, or a URL of the archive. Without a version
        it is the latest published one (else the draft), which is logged.
    glob : str
        Only paths that match, such as "sub-*/*_ecephys.nwb".

    Raises
    ------
    FileNotFoundError, PermissionError, ConnectionError, TimeoutError, ValueError
        One sentence without secrets.
    """
    where = parse(address).with_glob(glob)
    client, parsed = _connect(where)
    instance = client.dandi_instance.name
    subject = address if where.dandiset is None else f"dandiset {where.dandiset}" + (f", version {where.version}" if where.version else "")
    with sentences(instance, subject):
        dandiset = _versioned(client, where) if parsed is None else parsed.get_dandiset(client, lazy=False)
        found = [_asset(instance, dandiset, remote) for remote in _listed(client, dandiset, where, parsed)]
    wanted = where.path
    if wanted and not where.is_glob and not wanted.endswith("/"):
        found = [a for a in found if a.path == wanted] or [a for a in found if a.path.startswith(wanted + "/")]
    if not found:
        what = f"matches '{wanted}'" if wanted else "is there"
        raise FileNotFoundError(f"dandi: {subject}: no asset {what}. See what there is: nwb-lowrank dandi ls {where.dandiset or address}")
    return sorted(found, key=lambda asset: asset.path)


def find_asset(address: str, glob: str | None = None) -> Asset:
    """The only asset at an address; errors as in `find_assets`."""
    found = [asset for asset in find_assets(address, glob) if ".nwb" in asset.name]
    if len(found) != 1:
        names = "; ".join(asset.url for asset in found[:FEW]) + ("; …" if len(found) > FEW else "")
        raise ValueError(f"dandi: expected one NWB asset at '{address}'; got {len(found)}{': ' * bool(found)}{names}. "
                         "Name one of them, or fit all of them: nwb-lowrank dandi fit")  # fmt: skip
    return found[0]


def download_all(assets: list[Asset], jobs: int = 4, progress: bool = True) -> list[Path | Exception]:
    """Download several assets at once; what went wrong with one stands in its place."""

    def one(asset: Asset):
        try:
            return asset.download(progress=progress)
        except (OSError, ValueError) as error:
            return error

    try:
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(one, asset) for asset in assets]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                stopping.set()  # every thread ends at its next piece; what has arrived is kept
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        stopping.clear()


def _connect(where: Address):
    """The client for an address, and what the client itself makes of it when it is a URL that only it reads."""
    os.environ.setdefault("DANDI_NO_ET", "1")  # the client would tell a server about every use
    quiet()
    if where.url is None:
        return _client(*instance_of(where.instance)), None
    from dandi.dandiarchive import parse_dandi_url

    with sentences("dandi", where.url):
        parsed = parse_dandi_url(where.url)
    return _client(parsed.instance.name, parsed.instance.api), parsed


def instance_of(name: str | None) -> tuple[str, str]:
    """Name and API URL of an instance that the client knows, of a URL, or of DANDI_INSTANCE."""
    from dandi.consts import known_instances

    name = name or os.environ.get("DANDI_INSTANCE") or "dandi"
    here = os.environ.get("DANDI_INSTANCE", "")
    if not name.startswith("http") and urlsplit(here).netloc == name:
        name = here
    if name.startswith("http"):
        return urlsplit(name).netloc, name.rstrip("/")
    if name not in known_instances:
        raise ValueError(f"dandi: expected an instance such as {', '.join(sorted(known_instances))}; got '{name}'. Use one of these, "
                         "or set DANDI_INSTANCE to the API's URL.")  # fmt: skip
    return name, known_instances[name].api


def _client(name: str, api: str):
    """The client with the token that is in the environment now: it may have been set after the first refusal."""
    return _client_with(name, api, os.environ.get(token_variable(name)))


@lru_cache
def _client_with(name: str, api: str, token: str | None):
    try:
        from dandi.consts import DandiInstance
        from dandi.dandiapi import DandiAPIClient
    except ImportError as error:
        raise ImportError(f"dandi: expected the DANDI client; got '{error}'. Install it: pip install 'nwb_lowrank[dandi]'") from None
    client = DandiAPIClient(dandi_instance=DandiInstance(name, None, api))
    headers, client.session = client.session.headers, PatientSession()
    client.session.headers.update(headers)
    if token:
        client.session.headers["Authorization"] = f"token {token}"  # requests drops it on the way to another host
    return client


def quiet() -> None:
    """The client logs what is said better in one sentence; whoever sets DANDI_LOG_LEVEL sees it, redacted."""
    if "DANDI_LOG_LEVEL" not in os.environ:
        import dandi  # noqa: F401, which sets its own level

        logging.getLogger("dandi").setLevel(logging.CRITICAL)
    redact_logs("dandi", "urllib3.connectionpool")


def _versioned(client, where: Address):
    dandiset = client.get_dandiset(where.dandiset, lazy=False)
    if where.version is None:
        latest = "the latest published; name it to get the same again"
        why = "nothing is published yet: it may change" if dandiset.most_recent_published_version is None else latest
        log.warning("dandi: %s: version %s (%s)", where.dandiset, dandiset.version_id, why)
        return dandiset
    known = [version.identifier for version in dandiset.get_versions()]
    if where.version not in known:
        raise FileNotFoundError(f"dandi: dandiset {where.dandiset} has no version {where.version}; it has {', '.join(known)}. Use one.")
    return dandiset.for_version(where.version)


def _listed(client, dandiset, where: Address, parsed) -> Iterator:
    """Remote assets with their metadata, which the client would ask for one by one."""
    from dandi.dandiapi import RemoteAsset

    path = where.path if parsed is None else getattr(parsed, "path", "")
    if dandiset is None or hasattr(parsed, "asset_id"):
        yield from parsed.get_assets(client, strict=True)
        return
    glob = where.is_glob or type(parsed).__name__ == "AssetGlobURL"
    chosen = {"glob": path} if glob else {"path": path} if path else {}
    for item in client.paginate(f"{dandiset.version_api_path}assets/", params=dict(order="path", metadata="true", **chosen)):
        metadata = item.pop("metadata", None)
        yield RemoteAsset.from_data(dandiset, item, metadata)


def _asset(instance: str, dandiset, remote) -> Asset:
    about = remote.get_raw_metadata()
    holds = [entry.get("value") or entry.get("name") for key in WHAT for entry in about.get(key) or []]
    return Asset(
        instance, getattr(dandiset, "identifier", None), getattr(dandiset, "version_id", None), remote.path, remote.identifier, remote.size,
        about.get("digest", {}), tuple(dict.fromkeys(filter(None, holds))), hasattr(remote, "zarr"), remote,
    )  # fmt: skip
