"""Runs listed, exported and removed; backups; and two writers at once."""

import json
import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pynwb
import pytest
from pynwb import NWBHDF5IO

from nwb_lowrank.cli import main
from nwb_lowrank.results import Fit
from nwb_lowrank.sinks import _lock
from nwb_lowrank.sinks.nwb import list_runs, read_results, write_nwb
from nwb_lowrank.sinks.runs import describe_runs, remove_run
from nwb_lowrank.sinks.tables import export_csv, export_npz, export_xarray, tidy_tables

from .conftest import assert_same, digests


@pytest.fixture
def two(folder, results):
    """A file with the runs fit0 and fit1."""
    write_nwb(folder / "session.nwb", results, run="fit1")
    return folder / "session_lowrank.nwb"


def test_runs_are_described_without_cutting_trials(folder, results, monkeypatch):
    import nwb_lowrank.sources.nwb as source

    monkeypatch.setattr(source, "cut_trials", None)
    row = describe_runs(folder / "session_lowrank.nwb").loc["fit0"]
    assert (row["rank"], row["hidden"], row["neurons"], row["held_out"]) == (2, 8, results.trials.neurons, 1)
    assert row["windows"] == len(results.trials) and row["test"] == (results.split == "test").sum()
    assert row["observation"] == "Poisson" and not row["sidecar"] and row["bin_width"] == 0.02
    for score in results.scores:
        assert row[score.metric] == score.value
    assert len(describe_runs(folder / "session.nwb")) == 0


def test_a_run_is_taken_out_and_the_other_stays(two, results):
    with_both = two.stat().st_size
    remove_run(two, "fit0", backup=True)
    assert list_runs(two) == ["fit1"]
    assert_same(read_results(two), results)
    assert pynwb.validate(path=str(two)) == [] and two.stat().st_size < with_both  # no space is lost
    assert list_runs(two.with_name(two.name + ".bak")) == ["fit0", "fit1"]
    with pytest.raises(KeyError, match="no run 'fit0' in .* it has fit1"):
        remove_run(two, "fit0")


def test_without_its_last_run_the_module_goes_too(folder, source):
    path = folder / "session_lowrank.nwb"
    remove_run(path, "fit0")
    assert list_runs(path) == []
    with NWBHDF5IO(path, "r") as one, NWBHDF5IO(source, "r") as two:
        new, old = one.read(), two.read()
        assert set(new.processing) == set(old.processing) and new.identifier == old.identifier
        assert np.array_equal(new.units["spike_times"].target.data[:], old.units["spike_times"].target.data[:])


def test_an_accident_while_removing_changes_nothing(two, monkeypatch):
    before = digests(two.parent)
    monkeypatch.setattr(NWBHDF5IO, "export", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remove_run(two, "fit0")
    assert digests(two.parent) == before


def test_backups_are_never_overwritten(folder, results):
    path, before = folder / "session.nwb", digests(folder)
    write_nwb(path, results, in_place=True, backup=True)
    write_nwb(path, results, in_place=True, backup=True, overwrite=True)
    after = digests(folder)
    assert after["session.nwb.bak"] == before["session.nwb"]
    assert list_runs(folder / "session.nwb.bak1") == ["fit0"] and after["session.nwb.bak1"] != after["session.nwb"]


# Two writers.


def add_run(source, results, run, start):
    start.wait()
    write_nwb(source, results, in_place=True, run=run)


def test_two_writers_at_once_both_succeed(folder, results):
    """Each reads the file, adds its run and replaces the file: without the lock one run would be lost."""
    fork = multiprocessing.get_context("fork")
    start = fork.Event()
    writers = [fork.Process(target=add_run, args=(folder / "session.nwb", results, run, start)) for run in ("left", "right")]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list_runs(folder / "session.nwb") == ["left", "right"]
    assert not [name for name in digests(folder) if name.startswith(".")]


HOLD = """
import sys, time, pathlib
from nwb_lowrank.sinks._lock import only_writer
with only_writer(pathlib.Path(sys.argv[1]), "x"):
    print(1, flush=True)
    time.sleep(600)
"""


def test_a_second_writer_is_told_and_a_killed_one_holds_nothing(folder, results, monkeypatch):
    path, before = folder / "session.nwb", digests(folder)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    holder.stdout.readline()
    monkeypatch.setattr(_lock, "WAIT", 0.2)
    with pytest.raises(OSError, match="write_nwb: another process has been writing '.*session.nwb' for more than 0.2 s"):
        write_nwb(path, results, in_place=True)
    assert {name: digest for name, digest in digests(folder).items() if not name.endswith(".lock")} == before
    holder.kill()
    holder.wait()
    monkeypatch.setattr(_lock, "WAIT", 60)
    begun = time.monotonic()
    write_nwb(path, results, in_place=True)
    assert list_runs(path) == ["fit0"] and time.monotonic() - begun < 60
    assert not [name for name in digests(folder) if name.startswith(".")]


# Tables.


def test_tidy_tables_hold_every_number_once(results):
    tables, trials = tidy_tables(results), results.trials
    bins = trials.lengths.sum()
    assert len(tables["latents"]) == bins * 2 and len(tables["rates"]) == bins * trials.neurons and len(tables["windows"]) == len(trials)
    rates = tables["rates"].set_index(["window", "bin", "unit_id"])
    for window, step, unit in ((0, 0, 0), (3, 5, 2), (len(trials) - 1, 4, trials.neurons - 1)):
        row = rates.loc[(window, step, trials.unit_ids[unit])]
        assert row["rate"] == pytest.approx(results.posterior.rates[window, step, unit] / trials.bin_width)
        assert row["observed"] == trials.counts[window, step, unit] and row["time"] == trials.times[window, step]
    assert tables["rates"]["observed"].sum() == trials.counts.sum()
    assert set(tables["windows"]) >= {"window", "split", "log_evidence", "trial_id", "start_time", "cue", "condition"}
    assert tables["neurons"]["held_out"].tolist() == trials.held_out.tolist()
    assert len(tables["fixed_points"]) == len(results.fixed_points.points)


def test_csv_npz_and_xarray_say_the_same(results, tmp_path):
    folder = export_csv(results, tmp_path / "tables")
    again = pd.read_csv(folder / "latents.csv")
    inside = np.arange(results.trials.bins) < results.trials.lengths[:, None]
    assert np.allclose(again["mean"], results.posterior.latents[inside].ravel(), rtol=1e-6)
    assert json.loads(pd.read_csv(folder / "settings.csv").set_index("key").loc["fit.seed", "value"]) == 3
    with np.load(export_npz(results, tmp_path / "run.npz")) as file:  # no pickle
        assert np.array_equal(file["latents"], results.posterior.latents) and file["split"].tolist() == results.split.tolist()
        state = {name.removeprefix("state/"): file[name] for name in file if name.startswith("state/")}
        rebuilt = Fit.from_state(json.loads(str(file["settings"])), state, pd.DataFrame())
        assert rebuilt.recipe() == results.fit.recipe()
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(export_xarray(results, tmp_path / "run.nc"), engine="h5netcdf") as made:
        assert made["rates"].dims == ("window", "bin", "unit") and made["rates"].attrs["units"] == "Hz"
        assert np.array_equal(made["latents"], results.posterior.latents) and made.attrs["bin_width"] == 0.02
        assert np.array_equal(made["unit"], results.trials.unit_ids)


def test_the_command(two, capsys):
    assert main(["results", str(two)]) == 0
    assert "fit0" in (text := capsys.readouterr().out) and "rank" in text
    assert main(["results", str(two), "--json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["fit0", "fit1"]
    assert main(["results", str(two), "--export", "npz", "--run", "fit1"]) == 0
    assert two.with_name("session_lowrank_fit1.npz").exists()
    assert main(["results", str(two), "drop", "fit1"]) == 2 and "comes 'rm RUN'" in capsys.readouterr().err
    assert main(["results", str(two), "rm", "fit1"]) == 0 and list_runs(two) == ["fit0"]
    assert main(["results", str(two), "--export", "csv"]) == 0 and (two.with_name("session_lowrank_fit0") / "rates.csv").exists()
    assert main(["results", str(two.with_name("none.nwb"))]) == 2
