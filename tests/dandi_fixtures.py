"""Fixtures of the DANDI tests (a pytest plugin of tests/conftest.py): one stand-in server, and no waiting."""

import json
import os
import shutil
from pathlib import Path

import pytest


def shared_folder() -> Path:
    """The shared recordings and manifests, here or not."""
    return Path(os.environ.get("NWB_LOWRANK_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """A running server with an open, an embargoed and a forbidden dandiset of generated sessions, and the real manifests if here."""
    from dandi_world import Server, from_file, from_manifest, from_zarr, recording
    from hdmf_zarr import NWBZarrIO
    from pynwb import NWBHDF5IO

    folder = tmp_path_factory.mktemp("archive")
    files = [recording(folder / f"{n}.nwb", seed=n, subject=str(n)) for n in range(4)]
    assets = [from_file(f"sub-{n}/sub-{n}_ses-a_behavior+ecephys.nwb", file) for n, file in enumerate(files)]
    notes = folder / "notes.txt"
    notes.write_text("not NWB")
    other = from_file("notes.txt", notes)
    secret = shutil.copy(files[3], folder / "secret.nwb")
    dandisets = {
        "000001": {"versions": {"draft": [*assets, other], "0.240101.0001": assets[:1], "0.240202.0002": assets[:3]}},
        "000002": {"versions": {"draft": [from_file("sub-s/sub-s_ecephys.nwb", Path(secret))]}, "embargo": True},
        "000003": {"versions": {"draft": assets[3:]}, "forbidden": True},
        "000004": {"versions": {"draft": []}},
    }
    zarr = folder / "session.nwb.zarr"
    with NWBHDF5IO(files[0], "r") as source, NWBZarrIO(str(zarr), "w") as out:
        out.export(src_io=source, write_args=dict(link_data=False))
    dandisets["000005"] = {"versions": {"draft": [from_zarr("sub-0/sub-0_ecephys.nwb.zarr", zarr)]}}
    hidden = shutil.copytree(zarr, folder / "hidden.nwb.zarr")
    dandisets["000006"] = {"versions": {"draft": [from_zarr("sub-h/sub-h_ecephys.nwb.zarr", hidden)]}, "embargo": True}
    (folder / "www").mkdir()
    shutil.copy(files[1], folder / "www" / "session.nwb")
    (folder / "www" / "page.html").write_text("<html>a page</html>")
    for manifest in sorted((shared_folder() / "dandi_manifests").glob("0*")):
        dandisets[manifest.name] = {"versions": {"draft": from_manifest(manifest), "0.220113.0408": from_manifest(manifest)}}
    with Server(folder, dandisets) as server:
        server.files, server.zarr = files, zarr
        server.contents = dandisets
        yield server


@pytest.fixture
def dandi(archive, monkeypatch, tmp_path):
    """The server with its log and faults cleared, the environment pointed at it, an empty cache, and hardly any waiting."""
    from nwb_lowrank.sources import _dandi_cache, _patient, _ranges
    from nwb_lowrank.sources import dandi as door

    for name, value in archive.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    for module in (_patient, _dandi_cache, _ranges):
        monkeypatch.setattr(module, "WAITS", (0.01, 0.01, 0.01))
    archive.control(clear=True, latency=0, bandwidth=0, page_size=100, signature="SIGNED-1")
    door._client_with.cache_clear()
    yield archive
    door._client_with.cache_clear()


def starting(log: list[dict]) -> list[int]:
    """Where each request for a part of a file begins."""
    return [int((entry["range"] or "bytes=0-").removeprefix("bytes=").split("-")[0]) for entry in log]


def dump(value) -> str:
    """Everything in it as text, to look for secrets."""
    return json.dumps(value, default=repr)
