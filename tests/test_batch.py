"""Many fits: isolated, resumable, nothing fitted twice. The cluster is a real one of Dask, the archive the stand-in server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dandi_world import Server, from_file, recording

import nwb_lowrank as nl
from nwb_lowrank import tasks as tasks_module
from nwb_lowrank.batch import MANIFEST, Manifest, fit_all, fit_many, table
from nwb_lowrank.cli import build_parser, main
from nwb_lowrank.tasks import Task, run_task, tasks_of

QUICK = ["--bin", "0.05", "--warm-rounds", "1", "--steps", "1", "--particles", "2", "--hidden", "2"]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Two good recordings and one that is cut short."""
    folder = tmp_path_factory.mktemp("sessions")
    good = [recording(folder / f"sub-{n}_ses-a_behavior+ecephys.nwb", seed=n, subject=str(n), count=8) for n in range(2)]
    broken = folder / "sub-9_ecephys.nwb"
    broken.write_bytes(good[0].read_bytes()[:20_000])
    return [*good, broken]


def tasks(sources, folder, *more):
    words = ["fit", *map(str, sources), "--rank", "1", *QUICK, "--folder", str(folder), *more]
    options = build_parser().parse_args(words)
    return tasks_of(options, options.file)


def test_tasks_are_every_source_rank_and_seed(sessions, tmp_path):
    made = tasks(sessions[:2], tmp_path, "--rank", "1", "2", "--seed", "0", "1")
    assert len(made) == 8 and len({task.key for task in made}) == 8 and len({task.fingerprint for task in made}) == 8
    assert made[0].output == str(tmp_path / "sub-0" / "sub-0_ses-a_desc-lowrank_behavior+ecephys.nwb")
    assert [task.run for task in made[:4]] == ["fit0-rank1-seed0", "fit0-rank1-seed1", "fit0-rank2-seed0", "fit0-rank2-seed1"]
    moved = Task(made[0].source, "elsewhere.nwb", "fit0", made[0].options | dict(workers=9, threads=2, folder="x"))
    assert moved.fingerprint == made[0].fingerprint  # where it runs is not what it is
    assert Task(made[0].source, "o", "fit0", made[0].options | dict(bin=0.1)).fingerprint != made[0].fingerprint


def test_what_cannot_be_read_is_a_task_too(sessions, tmp_path):
    """It fails alone, later, in the table: not the whole batch before it began."""
    notes = tmp_path / "notes.nwb"
    notes.write_text("not NWB")
    good, bad = tasks([sessions[0], notes], tmp_path / "out")
    assert good.output.endswith("sub-0_ses-a_desc-lowrank_behavior+ecephys.nwb") and bad.output == str(
        tmp_path / "out" / "notes_lowrank.nwb"
    )
    assert "expected an NWB file (HDF5)" in run_task(vars(bad))["error"] and not results_in(tmp_path / "out")


def test_two_recordings_must_not_write_the_same_run(sessions, tmp_path):
    with pytest.raises(ValueError, match="would both write run 'fit0'"):
        fit_all(tasks([sessions[0], sessions[0]], tmp_path), tmp_path)
    with pytest.raises(ValueError, match="expected at least one recording"):
        fit_all([], tmp_path)


def test_the_manifest_is_whole_or_old_and_knows_other_settings(sessions, tmp_path):
    first, second = tasks(sessions[:2], tmp_path)
    manifest = Manifest(tmp_path / MANIFEST)
    row = dict(key=first.key, fingerprint=first.fingerprint, error=None, output=str(sessions[0]))
    manifest.add(row)
    manifest.add(dict(row, key=second.key, fingerprint=second.fingerprint, error="no"))
    again = Manifest(tmp_path / MANIFEST)
    assert again.rows == manifest.rows and set(again.done([first, second])) == {first.key}
    assert not again.done([Task(first.source, first.output, first.run, first.options | dict(rank=2))])
    with again.alone(), pytest.raises(ValueError, match="another batch is at work"), Manifest(tmp_path / MANIFEST).alone():
        pass
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="is not a manifest of this package"):
        Manifest(tmp_path / MANIFEST)


def test_a_failure_is_a_row_with_a_sentence(sessions, tmp_path, monkeypatch):
    (task,) = tasks(sessions[2:], tmp_path)
    row = run_task(vars(task))
    assert row["error"].startswith(("check_output", "write_nwb: ")) and "damaged or cut short" in row["error"] and row["trace"] is None

    def surprise(*args, **kwargs):
        raise ZeroDivisionError("token SECRETSECRET")

    monkeypatch.setattr(tasks_module.job, "fit_one", surprise)
    row = run_task(vars(task))
    assert row["error"].startswith("ZeroDivisionError") and "SECRET" not in json.dumps(row) and row["trace"]
    assert table([row]).loc[0, "error"] == row["error"]


def test_an_output_that_a_killed_run_left_is_recognised(sessions, tmp_path, monkeypatch):
    (task,) = tasks(sessions[:1], tmp_path)
    first = run_task(vars(task))
    assert first["error"] is None and first["trials"] == 8 and first["units"] == 6
    before = os.stat(task.output)
    again = run_task(vars(task))
    assert again["error"] is None and again["seconds"] is None and again["scores"] == first["scores"]
    assert os.stat(task.output).st_mtime_ns == before.st_mtime_ns
    other = Task(task.source, task.output, task.run, task.options | dict(rank=2))
    assert "already has a run 'fit0'" in run_task(vars(other))["error"]  # nothing is replaced silently
    assert not list(Path(task.output).parent.glob(".*"))


def test_the_command_tells_what_failed(sessions, tmp_path, capsys):
    """One worker of a real cluster: one result, one error, a dandiset.yaml when asked."""
    words = ["fit", *map(str, sessions[1:]), "--rank", "1", *QUICK, "--folder", str(tmp_path), "--workers", "1", "--dandiset", "123456"]
    assert main(words) == 1
    out, progress = capsys.readouterr()
    assert "1 of 2 fits done, 1 failed" in out and "damaged or cut short" in out and "failed" in progress
    assert [nl.list_runs(path) for path in results_in(tmp_path)] == [["fit0"]]
    assert "identifier: 'DANDI:123456'" in (tmp_path / "dandiset.yaml").read_text()
    with pytest.raises(SystemExit):
        main(["fit", *words[1:3]])  # --rank is needed as before


def test_from_python_and_through_a_running_scheduler(sessions, tmp_path):
    """A sweep over seeds by an address: two runs side by side in one file, equal to what one fit at a time gives."""
    from distributed import LocalCluster

    quick = dict(bin=0.05, warm_rounds=1, steps=1, particles=2, hidden=2)
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", host="127.0.0.1", protocol="tcp://"
    ) as cluster:
        rows = fit_many(sessions[:1], rank=1, seed=[0, 1], folder=tmp_path, scheduler=cluster.scheduler_address, **quick)
    (path,) = tmp_path.glob("sub-*/*.nwb")
    assert list(rows["run"]) == nl.list_runs(path) == ["fit0-seed0", "fit0-seed1"] and rows["error"].isna().all()
    assert list(rows["co-bps"]) == [nl.read_results(path, run).table().set_index("metric").loc["co-bps", "value"] for run in rows["run"]]
    with pytest.raises(TypeError, match="no option bins; see"):
        fit_many(sessions, rank=1, folder=tmp_path, bins=0.02)


def test_no_scheduler_is_a_sentence(sessions, tmp_path):
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at 'nonsense://x'"):
        fit_all(tasks(sessions[:1], tmp_path), tmp_path, scheduler="nonsense://x")


def archive_of(folder: Path, count: int, broken: dict) -> dict:
    """`count` assets, of which some are broken: blob gone, wrong digest, cut short, or without spikes."""
    from datetime import datetime, timezone

    from pynwb import NWBHDF5IO, NWBFile

    files = [recording(folder / f"{n}.nwb", seed=n, subject=f"{n:02d}", count=8) for n in range(count)]
    if "cut short" in broken:
        files[broken["cut short"]].write_bytes(files[broken["cut short"]].read_bytes()[:30_000])
    if "empty" in broken:
        with NWBHDF5IO(files[broken["empty"]], "w") as io:
            io.write(NWBFile("nothing", "nothing-1", datetime(2020, 1, 1, tzinfo=timezone.utc)))
    assets = [from_file(f"sub-{n:02d}/sub-{n:02d}_ecephys.nwb", file) for n, file in enumerate(files)]
    assets[broken["gone"]]["file"] = None
    if "wrong digest" in broken:
        assets[broken["wrong digest"]]["metadata"]["digest"]["dandi:sha2-256"] = "0" * 64
    return {"000040": {"versions": {"0.240101.0001": assets, "draft": []}}}


SENTENCES = {"gone": r"\(404\)", "wrong digest": "does not match its digest", "cut short": "damaged or cut short",
             "empty": "no units with spike times"}  # fmt: skip
FORTY = {"gone": 3, "wrong digest": 11, "cut short": 20, "empty": 30}


@pytest.mark.parametrize("count, broken, killed_after", [
    pytest.param(5, {"gone": 1}, 2, id="5"),
    pytest.param(40, FORTY, 15, id="40", marks=pytest.mark.slow),
])  # fmt: skip
def test_broken_assets_are_rows_and_a_killed_batch_goes_on(tmp_path, count, broken, killed_after):
    """SIGKILL to the whole process group half-way, then the same command: every good asset fitted once, nothing left over."""
    out = tmp_path / "out"
    words = [sys.executable, "-m", "nwb_lowrank.cli", "dandi", "fit", "000040", "--glob", "sub-*/*.nwb", "--rank", "1", *QUICK,
             "--folder", str(out), "--workers", "2"]  # fmt: skip
    with Server(tmp_path, archive_of(tmp_path, count, broken)) as server:
        environment = os.environ | server.environment(tmp_path)
        first = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        while done(out) < killed_after:
            assert first.poll() is None, first.communicate()[0].decode()
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        time.sleep(1)
        stamps = {path: os.stat(path).st_mtime_ns for path in results_in(out)}
        assert 0 < len(stamps) < count - len(broken)
        second = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=3600)
    assert second.returncode == 1, second.stdout + second.stderr
    written = results_in(out)
    rows = json.loads((out / MANIFEST).read_text())["rows"].values()
    assert len(written) == count - len(broken) == sum(row["error"] is None for row in rows) and len(rows) == count
    assert all(nl.list_runs(path) == ["fit0"] for path in written)
    assert {path: os.stat(path).st_mtime_ns for path in stamps} == stamps  # what was fitted before the kill was not fitted again
    errors = {int(re.search(r"sub-(\d\d)/", row["asset"])[1]): row["error"] for row in rows if row["error"]}
    assert set(errors) == set(broken.values())
    assert all(re.search(SENTENCES[kind], errors[number]) and "\n" not in errors[number] for kind, number in broken.items())
    assert f"{count - len(broken)} of {count} fits done, {len(broken)} failed" in second.stdout
    assert "version 0.240101.0001 (the latest published" in second.stderr
    assert {path.name for path in out.rglob(".*")} <= {".lowrank_batch.json.lock"}  # also the half-written file of the kill is gone


def results_in(folder: Path) -> list[Path]:
    """Written files; a name that begins with a dot is not one."""
    return sorted(path for path in folder.glob("sub-*/*.nwb") if not path.name.startswith("."))


def done(folder: Path) -> int:
    try:
        return len(json.loads((folder / MANIFEST).read_text())["rows"])
    except FileNotFoundError:
        return 0
