"""Which reader streams a large NWB file best? python benchmarks/streaming.py FOLDER [--gb 1] [--latency 0.02] [--bandwidth BYTES/S]

Makes (once, in FOLDER) two recordings of the same content: raw voltage, 200 units with 2 M spikes, 500 trials, two behaviour
series; one with contiguous datasets as pynwb writes plain arrays, one chunked and compressed as neuroconv does. A stand-in DANDI
server in its own process serves them with a latency for every request. Each reader then does the same `read_nwb` (aligned
windows, one behaviour series).

needed = every byte that HDF5 itself asks for in that reading (each byte once): metadata, spike times, index, trial table, the series used.

Measured (1 GB, 20 ms, 2 busy cores, wall time of the better of 2; bytes do not vary):

                             contiguous, 26.6 MB needed              chunked and compressed, 20.2 MB needed
    own ranges               12 requests  27.3 MB = 1.03 x  1.1 s    16 requests  21.2 MB = 1.05 x  1.4 s     (RemoteFile)
    remfile                  12 requests  30.3 MB = 1.14 x  1.1 s    16 requests  21.2 to 22.2 MB   1.3 s
    fsspec blockcache 4 MB   10 requests  38.0 MB = 1.43 x  1.1 s     9 requests  37.2 MB = 1.84 x  1.0 s
    fsspec blockcache 256 kB 110 requests 28.8 MB = 1.08 x  3.3 s    86 requests  22.5 MB = 1.11 x  2.8 s
    CachingFileSystem         9 requests  43.2 MB = 1.63 x  1.1 s     8 requests  37.2 MB = 1.84 x  1.1 s
    download, verify, read    1 request   1045 MB           9.0 s     1 request   1044 MB           8.3 s
"""

import argparse
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import nwb_lowrank as nl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from dandi_world import Server, from_file  # noqa: E402

CUT = dict(bin_width=0.02, align="go_cue_time", window=(-0.2, 0.6), behavior="hand_vel")


def make(path: Path, gigabytes: float, chunked: bool) -> Path:
    """One recording; noise as voltage, so that nothing compresses away."""
    from pynwb import NWBHDF5IO, H5DataIO, NWBFile, TimeSeries
    from pynwb.ecephys import ElectricalSeries

    if path.exists():
        return path
    rng, seconds, channels = np.random.default_rng(0), 600.0, 64

    def wrap(data, chunks=True):
        return H5DataIO(data, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True) if chunked else data

    nwb = NWBFile("a large session", "streaming-1", datetime(2020, 1, 1, tzinfo=timezone.utc), session_id="s1")
    group = nwb.create_electrode_group("shank", "s", "M1", nwb.create_device("probe"))
    for _ in range(channels):
        nwb.add_electrode(group=group, location="M1")
    rows = int(gigabytes * 1e9 / 2 / channels)
    voltage = rng.integers(-500, 500, (rows, channels), np.int16)
    region = nwb.create_electrode_table_region(list(range(channels)), "all")
    data = H5DataIO(voltage, chunks=(65536, channels)) if chunked else voltage
    nwb.add_acquisition(ElectricalSeries(name="ElectricalSeries", data=data, electrodes=region, rate=rows / seconds, starting_time=0.0))
    for name in ("quality", "depth"):
        nwb.add_unit_column(name, name)
    for unit in range(200):
        times = np.sort(rng.uniform(0, seconds, 10_000))
        waveform = rng.normal(size=(60, channels))
        nwb.add_unit(spike_times=times, electrodes=[unit % channels], quality="good", depth=float(unit), waveform_mean=waveform)
    if chunked:
        for name in ("spike_times",):
            nwb.units[name].target.set_data_io(H5DataIO, dict(chunks=True, compression="gzip", compression_opts=1, shuffle=True))
    nwb.add_trial_column("go_cue_time", "go cue")
    nwb.add_trial_column("target", "direction")
    for trial in range(500):
        nwb.add_trial(start_time=trial * 1.2, stop_time=trial * 1.2 + 1.1, go_cue_time=trial * 1.2 + 0.3, target=trial % 8)
    module = nwb.create_processing_module("behavior", "behaviour")
    for name in ("hand_vel", "eye_pos"):
        module.add(TimeSeries(name=name, data=wrap(rng.normal(size=(600_000, 2))), rate=1000.0, unit="m/s"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


class Touched:
    """A local file that remembers which bytes were asked for."""

    def __init__(self, path: Path):
        self.file, self.spans, self.name = open(path, "rb"), [], "local"

    def __getattr__(self, name):
        return getattr(self.file, name)

    def readinto(self, buffer):
        start = self.file.tell()
        number = self.file.readinto(buffer)
        self.spans.append((start, start + number))
        return number

    def read(self, size=-1):
        start = self.file.tell()
        data = self.file.read(size)
        self.spans.append((start, start + len(data)))
        return data

    def total(self) -> int:
        covered, reach = 0, 0
        for start, stop in sorted(self.spans):
            covered += max(0, stop - max(start, reach))
            reach = max(reach, stop)
        return covered


def readers(store: str, asset: dict) -> dict:
    """Functions that open the asset's blob for reading, by name."""
    url = f"{store}/blobs/{asset['blob']}"

    def through_fsspec(kind, **options):
        import fsspec

        return fsspec.open(url, "rb", cache_type=kind, **options).open()

    def through_caching_fs():
        import tempfile

        import fsspec
        from fsspec.implementations.cached import CachingFileSystem

        return CachingFileSystem(fs=fsspec.filesystem("http"), cache_storage=tempfile.mkdtemp()).open(url, "rb")

    def through_remfile():
        import remfile

        return remfile.File(url)

    def own():
        from nwb_lowrank.sources._ranges import RemoteFile

        return RemoteFile(lambda fresh: url, asset["size"], "streamed")

    return {
        "own ranges": own,
        "fsspec blockcache 4 MB": lambda: through_fsspec("blockcache", block_size=4 << 20),
        "fsspec blockcache 256 kB": lambda: through_fsspec("blockcache", block_size=256 << 10),
        "fsspec CachingFileSystem": through_caching_fs,
        "remfile": through_remfile,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--bandwidth", type=float, default=0.0, help="bytes/s of one connection; 0: as fast as the machine")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", nargs="+")
    options = parser.parse_args()
    for chunked in (False, True):
        path = make(options.folder / f"large_{options.gb:g}_{'chunked' if chunked else 'contiguous'}.nwb", options.gb, chunked)
        asset = from_file("sub-1/sub-1_ecephys.nwb", path)
        touched = Touched(path)
        local = nl.read_nwb(touched, **CUT)
        print(f"\n{path.name}: {asset['size'] / 1e6:.0f} MB; needed {touched.total() / 1e6:.2f} MB in {len(touched.spans)} reads")
        with Server(options.folder, {"000001": {"versions": {"draft": [asset]}}}) as server:
            for name, opened in readers(server.store, asset).items():
                if not options.readers or name in options.readers:
                    try:
                        measure(name, opened, server, touched.total(), local, options)
                    except ModuleNotFoundError as error:
                        print(f"  {name:<26} not run: {error}", flush=True)
            measure("download, verify, read", lambda: downloaded(server, asset, options.folder), server, touched.total(), local, options)


def downloaded(server, asset, folder):
    import shutil

    import requests

    from nwb_lowrank.sources import _dandi_cache as cache

    cache.os.environ["NWB_LOWRANK_CACHE"] = str(folder / "cache")
    shutil.rmtree(folder / "cache", ignore_errors=True)

    def chunks(start):
        url = f"{server.store}/blobs/{asset['blob']}"
        return requests.get(url, stream=True, headers={"Range": f"bytes={start}-"}).iter_content(1 << 20)

    return cache.fetch(asset["path"], asset["size"], asset["metadata"]["digest"], chunks, progress=False)


def measure(name, opened, server, needed, local, options) -> None:
    best = None
    for _ in range(options.repeats):
        server.control(clear=True, latency=options.latency, bandwidth=options.bandwidth)
        wall, cpu = time.perf_counter(), time.process_time()
        trials = nl.read_nwb(opened(), **CUT)
        took = (time.perf_counter() - wall, time.process_time() - cpu)
        assert np.array_equal(trials.counts, local.counts) and np.array_equal(trials.behavior, local.behavior)
        best = min(best or took, took)
    log = [entry for entry in server.log(role="store") if entry["method"] == "GET"]
    moved = sum(entry["sent"] for entry in log)
    cost = f"{best[0]:6.2f} s (cpu {best[1]:5.2f})  {len(log):>4} requests"
    print(f"  {name:<26} {cost}  {moved / 1e6:8.2f} MB = {moved / needed:5.2f} x needed", flush=True)


if __name__ == "__main__":
    main()
