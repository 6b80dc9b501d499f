"""The whole run from the command line: scored, resumable at every stage, the same bytes after a kill."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from nwb_lowrank import nlb_job
from nwb_lowrank.cli import main
from nwb_lowrank.sinks.nlb import score_submission, write_target
from nwb_lowrank.sources._nlb_table import DATASETS
from nwb_lowrank.sources.nlb import read_nlb

QUICK = ["--rank", "2", "--seeds", "0", "1", "--jobs", "1", "--set", "warm_rounds=5", "warm_steps=3", "steps=6", "validate_every=2",
         "particles=4", "hidden=8", "channels=4", "readout_particles=8", "readout_draws=4", "readout_repeats=1"]  # fmt: skip
SUBMISSION = "submission_mc_maze_small_20_val_rank2.h5"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    assert main(["nlb", "simulate", "mc_maze_small", str(folder), "--scale", "0.08"]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(folder), *QUICK]) == 0
    return folder


def test_every_score_is_in_the_table_with_what_makes_it_one(finished, files):
    table = pd.read_csv(finished / "scores.csv")
    assert list(table["fit"]) == ["mean of 2 fits", "rates of 2 fits averaged"]
    about, scores = (
        {"dataset", "split", "bin_ms", "rank", "seeds", "cpu_s", "wall_s", "device"},
        {"co-bps", "co-bps sd", "vel R2", "psth R2"},
    )
    assert about | scores | {"fp-bps"} <= set(table)
    text = (finished / "scores.md").read_text()
    assert "val" in text and "20 ms" in text and text.count("|---") >= 1
    benchmark = read_nlb("mc_maze_small", files / DATASETS["mc_maze_small"].train_file)
    target = write_target(finished / "target.h5", {benchmark.group: benchmark.target()})
    values = score_submission(target, finished / SUBMISSION)["mc_maze_scaling_20_split"]
    for metric in ("co-bps", "vel R2", "psth R2", "fp-bps"):
        assert table[metric][1] == pytest.approx(values[f"[100] {metric}"], rel=1e-4, abs=1e-5)  # this target is stored as float32


def test_scores_of_the_dynamics(finished, files, capsys):
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(finished), *QUICK, "--few-shot", "2", "6"]) == 0
    table = pd.read_csv(finished / "few_shot.csv")
    assert list(table["shots"]) == [2, 6, 2, 6] and list(table["seed"]) == [0, 0, 1, 1] and table["bits_per_spike"].notna().all()
    assert pd.read_csv(finished / "cross_decoding_rank2.csv", index_col=0).shape == (2, 2)
    assert "decoded from another's" in capsys.readouterr().out


def test_nothing_is_done_twice(finished, files, monkeypatch):
    before = (finished / SUBMISSION).read_bytes()
    monkeypatch.setattr(nlb_job, "_read", None)  # calling these would fail
    monkeypatch.setattr(nlb_job, "fit_one", None)
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(finished), *QUICK]) == 0
    assert (finished / SUBMISSION).read_bytes() == before


@pytest.mark.parametrize("lost", ["tensors", "rates", "fit", "submission"])
def test_a_lost_stage_is_made_again_with_the_same_bytes(finished, files, lost):
    before = (finished / SUBMISSION).read_bytes()
    for path in finished.glob(f"{lost}_*"):
        path.unlink()
    if lost == "fit":
        for path in finished.glob("rates_*"):
            path.unlink()
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(finished), *QUICK]) == 0
    assert (finished / SUBMISSION).read_bytes() == before


@pytest.mark.parametrize("sign", ["tensors_*.safetensors", "*.checkpoint", "rates_*seed0*.safetensors"])
def test_killed_at_any_stage_and_started_again_ends_in_the_same_bytes(finished, files, tmp_path, sign):
    command = [sys.executable, "-m", "nwb_lowrank.cli", "nlb", "run", "mc_maze_small", str(files), "--output", str(tmp_path), *QUICK]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    until = time.time() + 300
    while not list(tmp_path.glob(sign)) and process.poll() is None and time.time() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(sign)) and not (tmp_path / SUBMISSION).exists()
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(tmp_path), *QUICK]) == 0
    assert (tmp_path / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()


def test_two_fits_at_a_time_end_in_the_same_bytes(finished, files, tmp_path):
    two = [*QUICK]
    two[two.index("--jobs") + 1] = "2"
    assert main(["nlb", "run", "mc_maze_small", str(files), "--output", str(tmp_path), *two]) == 0
    assert (tmp_path / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()


def test_the_papers_recipe_runs(files, tmp_path):
    changes = ["steps=2", "hidden=36", "particles=2", "readout_particles=4", "readout_draws=2", "readout_repeats=2"]
    assert (
        main(["nlb", "run", "mc_maze_small", str(files), "--output", str(tmp_path), "--recipe", "paper", "--seeds", "0", "--set", *changes])
        == 0
    )
    assert pd.read_csv(tmp_path / "scores.csv")["rank"][0] == 36


def test_the_test_phase_needs_a_target(files, tmp_path, capsys):
    assert main(["nlb", "run", "mc_maze_small", str(files / "sub-Jenkins"), "--phase", "test", "--output", str(tmp_path), *QUICK[:3], "0",
                 *QUICK[5:]]) == 0  # fmt: skip
    assert "no target for the test split" in capsys.readouterr().out
    train, truth = files / DATASETS["mc_maze_small"].train_file, files / "truth" / DATASETS["mc_maze_small"].test_file
    benchmark = read_nlb("mc_maze_small", train, truth, phase="test")
    target = write_target(tmp_path / "target.h5", {benchmark.group: benchmark.target(psth=False)})
    assert main(["nlb", "evaluate", str(target), str(tmp_path / SUBMISSION.replace("val", "test"))]) == 0
    assert "[100] co-bps" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["mc_mace"], "expected one of mc_maze"), (["mc_maze_small", "."], "no file 'sub-Jenkins"),
    (["mc_maze_small", "absent.nwb"], "no file"),
])  # fmt: skip
def test_errors_are_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["nlb", "run", *arguments, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_without_a_path_the_files_come_from_dandi_and_the_submission_is_the_same(files, finished, tmp_path, monkeypatch):
    pytest.importorskip("dandi")
    from dandi_world import Server, from_file

    from nwb_lowrank.sources import dandi as door

    dataset = DATASETS["mc_maze_small"]
    assets = [from_file(name, files / name) for name in (dataset.train_file, dataset.test_file)]
    world = {dataset.dandiset: {"versions": {"draft": [], "0.220113.0408": assets}}}
    output = tmp_path / "run"
    with Server(tmp_path, world) as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        door._client_with.cache_clear()
        assert main(["nlb", "run", "mc_maze_small", "--output", str(output), *QUICK]) == 0
        fetched = [entry["path"] for entry in server.log(method="GET") if "/blobs/" in entry["path"]]
    door._client_with.cache_clear()
    assert len(fetched) == 1 and assets[0]["blob"] in fetched[0]  # phase val needs the training file alone
    assert (output / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()
