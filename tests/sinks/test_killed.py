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


def writer(path, results) -> int:
    """A child process that writes the run in place."""
    child = os.fork()
    if not child:
        try:
            write_nwb(path, results, in_place=True, overwrite=True)
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


def survive(folder, source, results, moments: int, seed: int) -> dict:
    """Kill that many writers, each at a random moment, and look at the file after each."""
    path, random = folder / "session.nwb", np.random.default_rng(seed)
    shutil.copy(source, path)
    write_nwb(path, results, in_place=True)
    other = dataclasses.replace(results, split=np.full(len(results.trials), "test"))
    full = os.times()
    write_nwb(path, other, in_place=True, overwrite=True)
    full = sum(os.times()[:2]) - sum(full[:2])
    contents, before, seen = [results, other], digest(path), dict(killed=0, old=0, new=0)
    for moment in range(moments):
        wanted = contents[moment % 2]
        seen["killed"] += kill_after(writer(path, wanted), random.uniform(0, full))
        after = digest(path)
        if after == before:
            seen["old"] += 1
            continue
        seen["new"] += 1
        assert pynwb.validate(path=str(path)) == []
        assert_same(read_results(path), wanted)
        before = after
    assert_same(read_results(path), contents[0] if np.array_equal(read_results(path).split, contents[0].split) else contents[1])
    write_nwb(path, results, in_place=True, overwrite=True)  # what the dead left behind does not stop the next
    assert_same(read_results(path), results)
    assert sorted(name.name for name in folder.iterdir()) == ["session.nwb"]
    return seen


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux to know how far a process has come")
@pytest.mark.parametrize("moments", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path, source, results, moments, record_property):
    seen = survive(tmp_path, source, results, moments, seed=moments)
    record_property("seen", seen)
    print(seen)
    # How many die while they are at it depends on the machine; without any the test would say nothing.
    assert seen["old"] + seen["new"] == moments and seen["killed"] >= 0.2 * moments
