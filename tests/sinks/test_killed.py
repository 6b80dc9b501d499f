"""SIGKILL at any moment of an in-place write: the file is the old one to the last bit, or the new one, complete and valid."""

import dataclasses
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pynwb
import pytest

from nwb_lowrank.sinks.nwb import read_results, write_nwb

from .conftest import assert_same


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process; None when it has ended (or the system does not say)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) * 1e-9
    except (OSError, IndexError, ValueError):
        return None


# How a run gets into `session.nwb`: into the recording itself, into a copy that has one already, into a sidecar that has one already.
WAYS = dict(
    in_place=dict(in_place=True), beside=dict(output="session_lowrank.nwb"), sidecar=dict(output="session_lowrank.nwb", sidecar=True)
)


def write(folder, results, way) -> Path:
    """Write the run, replacing it where it is; the written file."""
    how = {name: folder / value if name == "output" else value for name, value in WAYS[way].items()}
    return write_nwb(folder / "session.nwb", results, overwrite=True, **how)


def writer(folder, results, way) -> int:
    """A child process that writes the run. It is a fork: whatever takes long to import is here already."""
    child = os.fork()
    if not child:
        try:
            write(folder, results, way)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def kill_after(child: int, seconds: float) -> bool:
    """SIGKILL once the child has used so much CPU time; True if it was still alive."""
    while (used := cpu_seconds(child)) is not None and used < seconds:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def survive(folder, source, results, way: str, moments: int, seed: int) -> dict:
    """Kill that many writers, each at a random moment of its work, and look at all files after each."""
    random, recording = np.random.default_rng(seed), folder / "session.nwb"
    shutil.copy(source, recording)
    untouched = digest(recording)
    path = write(folder, results, way)
    names = sorted(name.name for name in folder.iterdir())
    other = dataclasses.replace(results, split=np.full(len(results.trials), "test"))
    full = os.times()
    write(folder, other, way)
    full = sum(os.times()[:2]) - sum(full[:2])
    contents, before, seen = [results, other], digest(path), dict(killed=0, old=0, new=0)
    for moment in range(moments):
        wanted = contents[moment % 2]
        seen["killed"] += kill_after(writer(folder, wanted, way), random.uniform(0, full))
        after = digest(path)
        assert path == recording or digest(recording) == untouched
        if after == before:
            seen["old"] += 1
            continue
        seen["new"] += 1
        assert pynwb.validate(path=str(path)) == []
        assert_same(read_results(path), wanted)
        before = after
    assert_same(read_results(path), contents[0] if np.array_equal(read_results(path).split, contents[0].split) else contents[1])
    write(folder, results, way)  # what the dead left behind does not stop the next
    assert_same(read_results(path), results)
    assert sorted(name.name for name in folder.iterdir()) == names
    return seen


MOMENTS = dict(in_place=100, beside=50, sidecar=50)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux to know how far a process has come")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.04, pytest.param(1, marks=pytest.mark.slow)], ids=["few", "200"])
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path, source, results, way, share, record_property):
    moments = round(share * MOMENTS[way])
    seen = survive(tmp_path, source, results, way, moments, seed=moments)
    record_property("seen", seen)
    print(way, seen)
    # How many die while they are at it depends on the machine; without any the test would say nothing.
    assert seen["old"] + seen["new"] == moments and (moments < 5 or seen["killed"] >= 0.2 * moments)
