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
    about = {"model", "dataset", "split", "bin_ms", "recipe", "rank", "seeds", "cpu_s", "wall_s", "device"}
    scores = {"co-bps", "co-bps sd", "vel R2", "psth R2"}
    assert about | scores | {"fp-bps"} <= set(table)
    text = (finished / "scores.md").read_text()
    assert "val" in text and "20 ms" in text and text.count("|---") >= 1
    benchmark = read_nlb("mc_maze_small", files / DATASETS["mc_maze_small"].train_file)
    target = write_target(finished / "target.h5", {benchmark.group: benchmark.target()})
    values = score_submission(target, finished / SUBMISSION)["mc_maze_scaling_20_split"]
    for metric in ("co-bps", "vel R2", "psth R2", "fp-bps"):
        assert table[metric][1] == pytest.approx(values[f"[100] {metric}"], rel=1e-4, abs=1e-5)  # this target is stored as float32


def test_published_scores_stand_below_with_their_split_and_bin():
    from nwb_lowrank.commands._nlb_report import markdown, paper_line
    from nwb_lowrank.sources._nlb_table import published

    row = {"model": "low-rank RNN, rank 6", "dataset": "mc_maze", "split": "val", "bin_ms": 20, "recipe": "warm recipe", "seeds": "0 1",
           "fit": "mean of 2 fits", "co-bps": 0.3, "co-bps sd": 0.01, "cpu_s": 20, "wall_s": 30, "device": "cpu"}  # fmt: skip
    lines = markdown(pd.DataFrame([dict(row, published=False)] + published("mc_maze"))).splitlines()
    assert (
        lines[2] == "| low-rank RNN, rank 6, warm recipe, mean of 2 fits | val | 20 ms | 0 1 | 0.3000 ± 0.0100 |  |  |  | 20 | 30 | cpu |"
    )
    assert any(line.startswith("| LangevinFlow (published) | test | 20 ms |  | 0.3650 |") for line in lines)
    assert any("| val | 20 ms |  | 0.3403 ± 0.0017 | 0.8830 | 0.5740 | 0.2360 |" in line for line in lines)  # 30 runs of the paper
    assert len({line.count("|") for line in lines}) == 1
    assert paper_line(row) == ("mc_maze, val split, 20 ms bins, low-rank RNN, rank 6 (warm recipe), seeds 0 1, mean of 2 fits: "
                               "co-bps 0.3000 ± 0.0100 (20 s CPU, 30 s wall-clock in all fits, cpu)")  # fmt: skip


def test_a_recipe_is_chosen_by_the_device_and_is_the_papers_by_name():
    from nwb_lowrank.nlb_recipe import RECIPES, usual

    assert (usual("cpu"), usual("cuda"), usual("cuda:1")) == ("warm", "paper", "paper")
    paper = RECIPES["paper"]
    assert (paper.rank, paper.hidden, paper.settings.particles, paper.settings.batch_size) == (36, 512, 64, 16)
    assert (paper.readout_particles, paper.readout_repeats, paper.settings.rectified, paper.settings.warm_rounds) == (192, 32, True, 0)


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


def killed_when(there, arguments, env):
    """Start `nlb run` in a process of its own and kill it as soon as `there()`."""
    command = [sys.executable, "-m", "nwb_lowrank.cli", "nlb", "run", "mc_maze_small", *arguments]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, **quiet, env=os.environ | {"OMP_NUM_THREADS": "1"} | env)
    until = time.time() + 300
    while not there() and process.poll() is None and time.time() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert there()


@pytest.mark.parametrize(
    "sign", ["tensors_*.safetensors", "*.checkpoint", "fit_*seed0*.safetensors", "rates_*seed0*.safetensors", SUBMISSION]
)
def test_killed_at_any_stage_and_started_again_ends_in_the_same_bytes(finished, files, tmp_path, sign):
    arguments = [str(files), "--output", str(tmp_path), *QUICK]
    killed_when(lambda: list(tmp_path.glob(sign)), arguments, {})
    assert not (tmp_path / "scores.csv").exists() and (sign == SUBMISSION or not (tmp_path / SUBMISSION).exists())
    assert main(["nlb", "run", "mc_maze_small", *arguments]) == 0
    assert (tmp_path / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()
    kept, expected = (pd.read_csv(folder / "scores.csv")["co-bps"] for folder in (tmp_path, finished))
    assert list(kept) == list(expected)


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
    (["mc_maze_small", "absent.nwb"], "no file"), (["mc_maze_small", "a.nwb", "--seeds", "0", "0"], "seeds must differ"),
    (["mc_maze_small", "a.nwb", "--set", "foo=1"], "no setting 'foo'"),
    (["mc_maze_small", "a.nwb", "--set", "steps=many"], "must be like 100"),
    (["mc_maze_small", "a.nwb", "--set", "link=log"], "exp or softplus"), (["mc_maze_small", "a.nwb", "--rank", "0"], "ranks must differ"),
])  # fmt: skip
def test_errors_are_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["nlb", "run", *arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.fixture
def archive(files, tmp_path, monkeypatch):
    """A stand-in for DANDI that has the two files, and its environment."""
    pytest.importorskip("dandi")
    from dandi_world import Server, from_file

    from nwb_lowrank.sources import dandi as door

    dataset = DATASETS["mc_maze_small"]
    assets = [from_file(name, files / name) for name in (dataset.train_file, dataset.test_file)]
    world = {dataset.dandiset: {"versions": {"draft": [], "0.220113.0408": assets}}}
    with Server(tmp_path, world) as server:
        env = server.environment(tmp_path)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        door._client_with.cache_clear()
        yield server, env, assets
    door._client_with.cache_clear()


def test_without_a_path_the_files_come_from_dandi_and_the_submission_is_the_same(archive, finished, tmp_path):
    server, _, assets = archive
    output = tmp_path / "run"
    assert main(["nlb", "run", "mc_maze_small", "--output", str(output), *QUICK]) == 0
    fetched = [entry["path"] for entry in server.log(method="GET") if "/blobs/" in entry["path"]]
    assert len(fetched) == 1 and assets[0]["blob"] in fetched[0]  # phase val needs the training file alone
    assert (output / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()


def test_killed_while_downloading_and_started_again_ends_in_the_same_bytes(archive, finished, tmp_path):
    server, env, assets = archive
    output = tmp_path / "run"
    arguments = ["--output", str(output), *QUICK]
    server.control(bandwidth=assets[0]["size"] / 3)  # three seconds
    killed_when(lambda: any(part.stat().st_size for part in (tmp_path / "cache").rglob("*.part")), arguments, env)
    assert not list(output.glob("*.safetensors"))
    server.control(bandwidth=0)
    assert main(["nlb", "run", "mc_maze_small", *arguments]) == 0
    statuses = [entry["status"] for entry in server.log(method="GET") if "/blobs/" in entry["path"]]
    assert statuses[-1] == 206  # what had arrived was not fetched again
    assert (output / SUBMISSION).read_bytes() == (finished / SUBMISSION).read_bytes()
