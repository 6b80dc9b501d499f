"""SIGKILL at any moment of an in-place write: the file is the old one to the last bit, or the new one, complete and valid."""

import dataclasses
import hashlib
import mmap
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pynwb
import pytest

from nwb_lowrank.sinks import _safely, nwb
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


STAGES = ["begin", "export", "verify", "rename", "renamed"]


def writer(folder, results, way, stage) -> int:
    """A child process that writes the run and tells how far it is. It is a fork: whatever takes long to import is here already."""
    child = os.fork()
    if not child:
        try:
            for number, (module, name) in enumerate(((nwb, "_export"), (nwb, "_verify"), (_safely, "_sync")), start=1):
                setattr(module, name, telling(getattr(module, name), stage, number))
            os.replace = telling(os.replace, stage, 3, 4)
            write(folder, results, way)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def telling(function, stage, before, after=0):
    """The function, with the number of its stage set when it is called, and another when it has ended."""

    def told(*arguments, **named):
        stage[0] = max(stage[0], before)
        result = function(*arguments, **named)
        stage[0] = max(stage[0], after)
        return result

    return told


def kill_after(child: int, seconds: float, stage, until: int) -> bool:
    """SIGKILL once the child has come to this stage and has used so much CPU time since; True if it was still alive."""
    limit, since = time.monotonic() + 120, None if until else 0.0
    while (used := cpu_seconds(child)) is not None:
        since = used if since is None and stage[0] >= until else since
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "a writer failed that nobody had killed"
            return False
        assert time.monotonic() < limit, "a writer hangs"
        if since is not None and used - since >= seconds:
            break
        if not until:
            time.sleep(0.0005)  # the last stages are over before a sleep would be
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
    contents, stage = [results, other], mmap.mmap(-1, 1)  # the byte is the child's to write and ours to read
    full = os.wait4(writer(folder, other, way, stage), 0)[2]
    full = full.ru_utime + full.ru_stime
    before, seen, stages = digest(path), dict(killed=0, old=0, new=0), dict.fromkeys(STAGES, 0)
    for moment in range(moments):
        wanted, stage[0] = contents[moment % 2], 0
        # Any moment of the work; every fourth about the rename, which is over in no time.
        late = moment % 4 == 3
        seconds = random.uniform(0, 0.002 if late else full)
        if kill_after(writer(folder, wanted, way, stage), seconds, stage, until=3 if late else 0):
            seen["killed"] += 1
            stages[STAGES[stage[0]]] += 1
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
    return dict(seen, stages=stages)


MOMENTS = dict(in_place=100, beside=50, sidecar=50)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux to know how far a process has come")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.04, pytest.param(1, marks=pytest.mark.slow)], ids=["few", "200"])
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path, source, results, way, share, record_property):
    moments = round(share * MOMENTS[way])
    seen = survive(tmp_path, source, results, way, moments, seed=moments)
    record_property("seen", seen)
    print(way, seen)
    # Where they die depends on the machine; but unless they die all over the write the test says nothing.
    assert seen["old"] + seen["new"] == moments and seen["killed"] >= 0.5 * moments
    assert moments < 50 or all(seen["stages"][stage] for stage in STAGES[1:4]) and seen["new"]
