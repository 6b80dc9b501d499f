"""Worlds for `dandi_server.py`: real manifests, generated assets, and the server's process."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import requests

SERVER = Path(__file__).with_name("dandi_server.py")
TOKEN = "TOKEN-that-nobody-may-see"


def from_file(path: str, file: Path, digest: bool = True, **metadata) -> dict:
    """An asset whose content is a file, with the digests that DANDI would give it."""
    from dandischema.digests.dandietag import DandiETag

    digests = {"dandi:dandi-etag": DandiETag.from_file(file).as_str()} if digest else {}
    digests["dandi:sha2-256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    about = dict(path=path, contentSize=file.stat().st_size, digest=digests, blobDateModified="2024-01-01T00:00:00+00:00",
                 encodingFormat="application/x-nwb", variableMeasured=[{"value": "Units"}], schemaKey="Asset", **metadata)  # fmt: skip
    return dict(asset_id=str(uuid.uuid4()), blob=str(uuid.uuid4()), path=path, size=about["contentSize"], file=str(file), metadata=about)


def from_zarr(path: str, folder: Path) -> dict:
    """An asset whose content is a Zarr store, with the digest that DANDI would give it."""
    from dandi.support.digests import get_zarr_checksum

    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    about = dict(path=path, contentSize=size, digest={"dandi:dandi-zarr-checksum": get_zarr_checksum(folder)},
                 encodingFormat="application/x-zarr", variableMeasured=[{"value": "Units"}], schemaKey="Asset")  # fmt: skip
    return dict(asset_id=str(uuid.uuid4()), blob=None, zarr=str(uuid.uuid4()), path=path, size=size, file=str(folder), metadata=about)


def from_manifest(folder: Path) -> list[dict]:
    """The assets of a real dandiset; their content is not there."""
    return [{name: a[name] for name in ("asset_id", "blob", "path", "size", "metadata")} | {"file": None}
            for a in json.loads((folder / "assets.json").read_text())]  # fmt: skip


class Server:
    """A running stand-in. `with Server(folder, dandisets) as server: ...`"""

    def __init__(self, folder: Path, dandisets: dict, token: str = TOKEN):
        from dandischema.consts import DANDI_SCHEMA_VERSION

        self.token, self.world = token, Path(folder) / "world.json"
        self.world.write_text(json.dumps(dict(token=token, dandisets=dandisets, schema_version=DANDI_SCHEMA_VERSION)))

    def __enter__(self) -> "Server":
        self.process = subprocess.Popen([sys.executable, str(SERVER), str(self.world)], stdout=subprocess.PIPE, text=True)
        self.__dict__ |= json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def control(self, **new) -> None:
        """latency (s a request), bandwidth (bytes/s), page_size, faults, signature; clear=True forgets log and faults first."""
        requests.post(f"{self.api}/control", json=new, timeout=10).raise_for_status()

    def log(self, **wanted) -> list[dict]:
        """Requests so far that have these properties."""
        entries = requests.get(f"{self.api}/control", timeout=10).json()
        return [entry for entry in entries if all(entry[name] == value for name, value in wanted.items())]

    def environment(self, folder: Path) -> dict:
        """What a process needs to talk to this server and to nobody else, leaving nothing in the user's home."""
        return dict(
            DANDI_INSTANCE=f"{self.api}/api", DANDI_NO_ET="1", HOME=str(folder), NWB_LOWRANK_CACHE=str(Path(folder) / "cache"),
            PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring", OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),
        )  # fmt: skip


def recording(path: Path, *, seed: int = 0, neurons: int = 6, count: int = 10, subject: str = "1", session: str | None = None) -> Path:
    """A small session with trials, a cue and a behaviour series, complete enough for DANDI."""
    import numpy as np
    import pandas as pd

    from nwb_lowrank.sinks.recording import write_recording

    rng = np.random.default_rng(seed)
    starts = 1 + 0.6 * np.arange(count)
    times = np.arange(0.5, starts[-1] + 1, 0.01)
    return write_recording(
        path,
        spike_times=[np.sort(rng.uniform(0.6, starts[-1] + 0.9, 150 + 10 * neuron)) for neuron in range(neurons)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=starts + 0.4, cue=starts + 0.1)),
        behavior={"hand": (times, np.stack([np.sin(times), np.cos(times)], 1), "m")},
        subject=dict(subject_id=subject, species="Macaca mulatta", sex="F", age="P5Y", description="simulated"),
    )
