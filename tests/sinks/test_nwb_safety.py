"""write_nwb: where it writes, what it refuses, and that no accident damages a file."""

import dataclasses
import gc
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pynwb
import pytest
from pynwb import NWBHDF5IO

from nwb_lowrank.sinks import nwb as sink
from nwb_lowrank.sinks._safely import check_place
from nwb_lowrank.sinks.nwb import check_output, default_output, list_runs, read_results, write_nwb
from nwb_lowrank.trials import Trials

from .conftest import assert_same, complete, digests, record, untrained

# Where it is written.


def test_default_names():
    assert default_output(Path("/x/rec.nwb")) == Path("/x/rec_lowrank.nwb")
    assert default_output(Path("/x/sub-1_ses-2_ecephys.nwb")) == Path("/x/sub-1_ses-2_desc-lowrank_ecephys.nwb")
    assert default_output(Path("/x/sub-1_ses-2.nwb")) == Path("/x/sub-1_ses-2_lowrank.nwb")


def test_the_source_is_not_touched_and_nothing_else_is_left(tmp_path, results):
    source = record(tmp_path / "session.nwb")
    before = digests(tmp_path)
    assert write_nwb(source, results) == tmp_path / "session_lowrank.nwb"
    after = digests(tmp_path)
    assert after.pop("session_lowrank.nwb") and after == before


def test_in_place_adds_the_results_to_the_source_and_keeps_its_permissions(tmp_path, results):
    source = record(tmp_path / "session.nwb")
    source.chmod(0o600)
    (tmp_path / "link.nwb").symlink_to(source)
    write_nwb(tmp_path / "link.nwb", results, in_place=True)
    assert (tmp_path / "link.nwb").is_symlink() and sorted(digests(tmp_path)) == ["link.nwb", "session.nwb"]
    assert_same(read_results(source), results)
    assert source.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="already has a run 'fit0'"):
        write_nwb(source, results, in_place=True)
    with pytest.raises(ValueError, match="in_place"):
        write_nwb(source, results, in_place=True, output=tmp_path / "other.nwb")


def test_an_open_source_is_written_from_its_file(folder, results):
    with NWBHDF5IO(folder / "session.nwb", "r") as io:
        path = write_nwb(io.read(), results, output=folder / "new.nwb")
    assert_same(read_results(path), results)


def test_a_run_is_replaced_only_when_asked(folder, source, results):
    path, before = folder / "session_lowrank.nwb", digests(folder)
    with pytest.raises(ValueError, match="already has a run 'fit0'.*overwrite=True"):
        write_nwb(folder / "session.nwb", results)
    assert digests(folder) == before
    other = dataclasses.replace(results, split=np.full(len(results.trials), "test"))
    write_nwb(folder / "session.nwb", other, overwrite=True)
    assert list_runs(path) == ["fit0"]
    assert_same(read_results(path), other)


def test_runs_stand_side_by_side(folder, results):
    """Names that begin alike, or like an object of another run, are not mixed up."""
    source, path = folder / "session.nwb", folder / "session_lowrank.nwb"
    other = dataclasses.replace(results, scores=(), fixed_points=None)
    for run in ("fit0_latents", "fit0_b"):
        assert write_nwb(source, other, run=run) == path
    write_nwb(source, other, overwrite=True)  # fit0 again
    assert list_runs(path) == ["fit0", "fit0_b", "fit0_latents"]
    for run in list_runs(path):
        assert_same(read_results(path, run), other)
    with NWBHDF5IO(path, "r") as io:
        generated = [tuple(row) for row in io.read().was_generated_by]
    assert len(generated) == len(set(generated)) == 2 and all(isinstance(word, str) for row in generated for word in row)
    with pytest.raises(KeyError, match="fit0, fit0_b, fit0_latents"):
        read_results(path)
    with pytest.raises(KeyError, match="no run 'fit7'"):
        read_results(path, "fit7")


def test_runs_of_the_source_are_not_replaced_in_the_copy(folder, results):
    fitted, new = folder / "session_lowrank.nwb", folder / "new.nwb"
    with pytest.raises(ValueError, match="already has a run 'fit0'"):
        write_nwb(fitted, results, output=new)
    write_nwb(fitted, results, output=new, run="fit1")
    assert list_runs(new) == ["fit0", "fit1"]


def test_a_strange_output_is_replaced_only_when_asked(folder, results):
    source, stranger = folder / "session.nwb", folder / "notes.nwb"
    stranger.write_text("not NWB")
    another = record(folder / "another.nwb", seed=1)
    for path in (stranger, another):
        with pytest.raises(ValueError, match="does not hold a fit of.*overwrite=True"):
            write_nwb(source, results, output=path)
    assert stranger.read_text() == "not NWB"
    write_nwb(source, results, output=stranger, overwrite=True)
    assert_same(read_results(stranger), results)
    with pytest.raises(ValueError, match="is the source itself"):
        write_nwb(source, results, output=folder / "." / "session.nwb")


@pytest.mark.parametrize("run", ["", "a__b", "a/b", "_a", "a b", "."])
def test_names_of_runs(source, run):
    with pytest.raises(ValueError, match="run must be"):
        check_output(source, run=run)


# Refusals; nothing is written.


def test_trials_from_arrays_need_a_recording_first(source, tmp_path):
    trials = Trials.from_arrays(np.ones((4, 5, 3)), bin_width=0.1)
    with pytest.raises(ValueError, match="write_recording"):
        write_nwb(source, complete(untrained(trials), trials), output=tmp_path / "out.nwb")
    assert digests(tmp_path) == {}


def test_another_recording_is_refused(tmp_path, results):
    another = record(tmp_path / "another.nwb", seed=1)
    before = digests(tmp_path)
    with pytest.raises(ValueError, match="were cut from"):
        write_nwb(another, results)
    assert digests(tmp_path) == before


def test_trials_that_the_file_does_not_give_again_are_refused(source, tmp_path, results):
    changed = dataclasses.replace(results, trials=dataclasses.replace(results.trials, counts=results.trials.counts + 1))
    with pytest.raises(ValueError, match="as read_nwb cut them"):
        write_nwb(source, changed, output=tmp_path / "out.nwb")
    assert digests(tmp_path) == {}


def test_sources_that_are_none(tmp_path, results):
    text = tmp_path / "text.nwb"
    text.write_text("not NWB")
    with pytest.raises(ValueError, match="write_nwb: expected an NWB file"):
        write_nwb(text, results)
    with pytest.raises(FileNotFoundError, match="no file"):
        write_nwb(tmp_path / "missing.nwb", results)
    with pytest.raises(TypeError, match="path or an open NWBFile"):
        write_nwb(3, results)
    assert sorted(digests(tmp_path)) == ["text.nwb"]


def test_a_recording_changed_after_the_fit_is_refused(folder, written):
    path = folder / written.name
    with h5py.File(path, "r+") as file:
        file["intervals/trials/cue"][:] = file["intervals/trials/cue"][:] + 0.003
    with pytest.raises(ValueError, match="changed after the fit"):
        read_results(path)
    shutil.copy(written, path)
    with h5py.File(path, "r+") as file:
        file["units/id"][:] = file["units/id"][:] + 10
    with pytest.raises(ValueError, match="changed after the fit"):
        read_results(path)


def test_no_run_and_another_layout(folder, source, written):
    with pytest.raises(KeyError, match="no fit of this package"):
        read_results(source)
    path = folder / written.name
    with h5py.File(path, "r+") as file:
        table = file["processing/lowrank_rnn/fit0_settings"]
        row = list(table["key"].asstr()[:]).index("layout_version")
        table["value"][row] = '"99"'
    with pytest.raises(ValueError, match="layout version"):
        read_results(path)


def test_a_file_cannot_name_code_to_run(folder, written):
    path = folder / written.name
    with h5py.File(path, "r+") as file:
        table = file["processing/lowrank_rnn/fit0_settings"]
        row = list(table["key"].asstr()[:]).index("fit.model.class")
        table["value"][row] = '"subprocess:Popen"'
    with pytest.raises(ValueError, match="expected a class from nwb_lowrank"):
        read_results(path)


# Accidents; the old file stays as it was.


def fail(*args, **kwargs):
    raise RuntimeError("accident")


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


ACCIDENTS = {
    "while building": (sink, "run_objects", fail),
    "while exporting": (NWBHDF5IO, "export", fail),
    "while validating": (pynwb, "validate", fail),
    "not valid": (pynwb, "validate", lambda path: ["wrong type"] if ".part" in str(path) else []),
    "while reading back": (sink, "read_results", fail),
    "interrupted": (os, "fsync", interrupt),
    "while renaming": (os, "replace", fail),
}


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_an_accident_changes_nothing(folder, results, monkeypatch, accident):
    before = digests(folder)
    monkeypatch.setattr(*ACCIDENTS[accident])
    for options in (dict(overwrite=True), dict(output=folder / "new" / "deep" / "out.nwb"), dict(in_place=True)):
        with pytest.raises((RuntimeError, ValueError, KeyboardInterrupt)):
            write_nwb(folder / "session.nwb", results, **options)
    assert digests(folder) == before
    assert not (folder / "new").exists()


def test_values_that_do_not_come_back_are_not_written(folder, results, monkeypatch):
    before = digests(folder)
    real = sink.read_results

    def another_value(*args, **options):
        again = real(*args, **options)
        again.posterior.latents[0, 0, 0] += 1e-6
        return again

    monkeypatch.setattr(sink, "read_results", another_value)
    with pytest.raises(ValueError, match="gave other values"):
        write_nwb(folder / "session.nwb", results, overwrite=True)
    assert digests(folder) == before


@pytest.mark.parametrize("moment", ["export", "replace"])
def test_a_killed_process_leaves_the_old_file_and_the_next_one_succeeds(folder, results, moment):
    before = digests(folder)
    child = os.fork()
    if not child:  # the child dies at that moment as by `kill -9`
        try:
            if moment == "replace":
                os.replace = _die
            else:
                real = NWBHDF5IO.export
                NWBHDF5IO.export = lambda self, **options: (real(self, **options), _die())
            write_nwb(folder / "session.nwb", results, overwrite=True)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert {name: digest for name, digest in digests(folder).items() if ".part" not in name and ".lock" not in name} == before
    assert_same(read_results(write_nwb(folder / "session.nwb", results, overwrite=True)), results)
    assert sorted(digests(folder)) == sorted(before)  # the next writer has swept up


def _die(*args):
    os.kill(os.getpid(), signal.SIGKILL)


# The place.


def test_the_door_is_checked_without_leaving_a_trace(source, tmp_path):
    before = digests(source.parent)
    assert check_output(source, run="fit9") == default_output(source)
    assert check_output(source, tmp_path / "a" / "b" / "out.nwb") == tmp_path / "a" / "b" / "out.nwb"
    assert check_output(source, in_place=True) == source
    assert digests(source.parent) == before and digests(tmp_path) == {} and not (tmp_path / "a").exists()


def test_folders_that_cannot_be(source, tmp_path, results):
    (tmp_path / "file").write_text("a file")
    for folder in (Path("/proc/nowhere"), tmp_path / "file", tmp_path / "file" / "deeper"):
        for attempt in (lambda out: check_output(source, out), lambda out: write_nwb(source, results, output=out)):
            with pytest.raises(OSError, match="cannot write in"):
                attempt(folder / "out.nwb")
    with pytest.raises(OSError, match="is a folder"):
        check_output(source, tmp_path)
    assert digests(tmp_path) == {"file": hashlib.sha256(b"a file").hexdigest()}


def test_a_folder_without_permission():
    """As nobody where the tests run as root, who may write anywhere; below /tmp itself, where nobody may look."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(OSError, match="cannot write in"):
                check_place(Path(folder) / "out.nwb", "write_nwb")
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB, or skip."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_noticed_before_and_while_writing(source, results, small_disk, monkeypatch):
    (small_disk / "out.nwb").write_text("precious")
    for attempt in (check_output, lambda *args, **options: write_nwb(args[0], results, output=args[1], **options)):
        with pytest.raises(OSError, match="free space"):
            attempt(source, small_disk / "out.nwb", overwrite=True)
    plenty = shutil.disk_usage("/")._replace(free=10**12)  # as if the space had gone since
    monkeypatch.setattr(shutil, "disk_usage", lambda path: plenty)
    with pytest.raises(OSError, match="is full; nothing was written"):
        write_nwb(source, results, output=small_disk / "out.nwb", overwrite=True)
    assert sorted(path.name for path in small_disk.iterdir()) == ["out.nwb"]
    assert (small_disk / "out.nwb").read_text() == "precious"
    gc.collect()  # a handle that HDF5 could not flush would crash the process here
