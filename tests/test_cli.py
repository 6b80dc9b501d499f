"""The command line: what a new user types, and what they are told when something is wrong."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pynwb import NWBHDF5IO, NWBFile

import nwb_lowrank as nl
from nwb_lowrank.cli import _in_options, build_parser, main
from nwb_lowrank.commands.info import suggested_command
from nwb_lowrank.sinks.recording import write_recording

REAL = ("chewie_center_out", "hippocampus_linear_track", "human_mtl_dandi000207", "mc_maze_two_trials", "songbird_hvc_calcium")
QUICK = ["--warm-rounds", "2", "--steps", "4", "--particles", "4", "--hidden", "8"]


def record(path, *, neurons=6, trials=12, spikes=60, behavior=True, nan=False):
    """Trials of 1 s every 2 s, from 1 s on."""
    random = np.random.default_rng(0)
    starts = 1.0 + 2.0 * np.arange(trials)
    times = np.arange(0.5, starts[-1] + 1.5, 0.01)
    velocity = np.stack([np.sin(times), np.cos(times)], 1)
    if nan:
        velocity[np.searchsorted(times, starts[3] + 0.5)] = np.nan
    return write_recording(
        path,
        spike_times=[np.sort(random.uniform(0.5, starts[-1] + 1.5, spikes)) for _ in range(neurons)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=starts + 1.0, go_time=starts + 0.3)),
        behavior={"hand_velocity": (times, velocity, "m/s")} if behavior else None,
    )


@pytest.fixture
def session(tmp_path):
    return record(tmp_path / "session.nwb")


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# What is wrong is said in one sentence, and nothing is written.


@pytest.mark.parametrize("words, said, typed", [
    (["fit", "x.nwb"], "Pass overwrite=True, or another run=.", "Pass --overwrite, or another --run."),
    (["fit", "x.nwb"], "align='go' needs window=(start, stop)", "--align 'go' needs --window (start, stop)"),
    (["dandi", "fit", "000140"], "Pass bin_width= in seconds, or table=none", "Pass --bin in seconds, or --table none"),
    (["evaluate", "x.nwb"], "Pass bin_width= in seconds", "Pass bin_width= in seconds"),  # it has no such option
    (["fit", "units=3.nwb"], "no file '/a/units=3.nwb', query 'units == 3'", "no file '/a/units=3.nwb', query 'units == 3'"),
])  # fmt: skip
def test_advice_names_options_as_they_are_typed(words, said, typed):
    assert _in_options(said, words) == typed


def empty_nwb(folder):
    with NWBHDF5IO(folder / "empty.nwb", "w") as io:
        io.write(NWBFile("nothing in it", "empty", datetime(2020, 1, 1, tzinfo=timezone.utc)))
    return folder / "empty.nwb"


def truncated(folder):
    path = record(folder / "truncated.nwb")
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def not_nwb(folder):
    (folder / "notes.nwb").write_text("not a recording")
    return folder / "notes.nwb"


BAD = {
    "no such file": (lambda folder: folder / "missing.nwb", [], "no file"),
    "not NWB": (not_nwb, [], "expected an NWB file"),
    "truncated": (truncated, [], "truncated|damaged|cut short"),
    "a folder": (lambda folder: folder, [], "is a folder"),
    "nothing to fit": (empty_nwb, [], "no units with spike times and no ROI"),
    "unknown column": (lambda f: record(f / "a.nwb"), ["--align", "move_onset"], "'move_onset'.*start_time, stop_time.*go_time"),
    "unknown table": (lambda f: record(f / "a.nwb"), ["--table", "runs"], "'runs'.*trials"),
    "window outside": (lambda f: record(f / "a.nwb"), ["--align", "go_time", "--window", "500", "501"], "outside every trial"),
    "window backwards": (lambda f: record(f / "a.nwb"), ["--align", "go_time", "--window", "0.5", "-0.5"], "window"),
    "bin wider than the window": (lambda f: record(f / "a.nwb"), ["--align", "go_time", "--window", "0", "0.5", "--bin", "0.7"], "bin"),
    "a bin of 0 s": (lambda f: record(f / "a.nwb"), ["--bin", "0"], "positive"),
    "zero spikes": (lambda f: record(f / "a.nwb", spikes=0), [], "zero spikes|no spike|units with spike times"),
    "one unit": (lambda f: record(f / "a.nwb", neurons=1), [], "at least 2 neurons; got 1"),
    "one trial": (lambda f: record(f / "a.nwb", trials=1), [], "more than one trial; got 1"),
    "query without units": (lambda f: record(f / "a.nwb"), ["--units", "rate > 1000"], "rate > 1000"),
    "malformed query": (lambda f: record(f / "a.nwb"), ["--units", "rate >"], "rate >"),
    "NaN in behaviour": (lambda f: record(f / "a.nwb", nan=True), ["--behavior", "hand_velocity"], "NaN.*--mask-nan-behavior|mask_nan"),
    "unknown behaviour": (lambda f: record(f / "a.nwb"), ["--behavior", "gaze"], "'gaze'.*hand_velocity"),
    "rank above the units": (lambda f: record(f / "a.nwb"), ["--rank", "7"], "--rank must not exceed the number of neurons .6.; got 7"),
    "rank 0": (lambda f: record(f / "a.nwb"), ["--rank", "0"], "rank"),
    "a share of 1": (lambda f: record(f / "a.nwb"), ["--test", "1"], "--test"),
    "no such proposal": (lambda f: record(f / "a.nwb"), ["--proposal", "magic"], "'magic'.*bootstrap|bootstrap.*'magic'"),
    "a proposal for other data": (lambda f: record(f / "a.nwb"), ["--proposal", "linear_gaussian"], "GaussianSignal"),
    "no hidden unit": (lambda f: record(f / "a.nwb"), ["--hidden", "0"], "--hidden must be at least 1; got 0"),
    "a negative seed": (lambda f: record(f / "a.nwb"), ["--seed", "-5"], "--seed must be at least 0; got -5"),
    "no particle": (lambda f: record(f / "a.nwb"), ["--particles", "0"], "particles must be at least 1; got 0"),
    "no such device": (lambda f: record(f / "a.nwb"), ["--device", "tpu"], "device must be auto, cpu or cuda; got 'tpu'"),
    "an unknown number": (lambda f: record(f / "a.nwb"), ["--set", "momentum=1"], "--set takes averaging, .*; got 'momentum'"),
    "a number that is none": (lambda f: record(f / "a.nwb"), ["--set", "patience=long"], "patience must be a whole number; got 'long'"),
    "a switch that is none": (lambda f: record(f / "a.nwb"), ["--set", "wake=7"], "wake must be true or false; got '7'"),
    "forecast everything": (lambda f: record(f / "a.nwb"), ["--forecast", "50"], "forecast"),
    "nothing to resume": (lambda f: record(f / "a.nwb"), ["--resume"], "resume"),
    "output is a folder": (lambda f: record(f / "a.nwb"), ["--output", "{folder}"], "is a folder"),
    "output below a file": (lambda f: record(f / "a.nwb"), ["--output", "{folder}/a.nwb/out.nwb"], "cannot write"),
    "output of no file system": (lambda f: record(f / "a.nwb"), ["--output", "/proc/results/out.nwb"], "cannot write"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence_and_nothing_is_written(case, tmp_path, capfd):
    make, words, expected = BAD[case]
    file = make(tmp_path)
    before = contents(tmp_path)
    options = {"--bin": "0.02", "--rank": "2"}
    words = [word.format(folder=tmp_path) for word in words]
    defaults = [part for pair in options.items() if pair[0] not in words for part in pair]
    assert main(["fit", str(file), *defaults, *QUICK, *words]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("nwb-lowrank: error: ") and "Traceback" not in err and len(err.strip().splitlines()) == 1, err
    assert re.search(expected, err, re.IGNORECASE), err
    assert contents(tmp_path) == before


def test_info_of_bad_files_gets_one_sentence(tmp_path, capfd):
    for path in (tmp_path / "missing.nwb", not_nwb(tmp_path), truncated(tmp_path)):
        assert main(["info", str(path)]) == 2
        err = capfd.readouterr().err
        assert err.startswith("nwb-lowrank: error: ") and len(err.strip().splitlines()) == 1 and str(path) in err


@pytest.mark.parametrize("command", ["evaluate", "fixed-points", "plot"])
def test_a_file_without_a_fit_is_told_how_to_make_one(command, session, capfd):
    assert main([command, str(session)]) == 2
    assert "nwb-lowrank fit" in capfd.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["info", str(tmp_path / "missing.nwb"), "--debug"])


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs a small file system of its own")
def test_a_full_disk_is_said_before_the_fit_and_leaves_nothing(tmp_path, capfd):
    session = record(tmp_path / "session.nwb")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("no permission to mount")
    try:
        (small / "filler").write_bytes(b"0" * 400_000)
        words = ["fit", str(session), "--bin", "0.02", "--rank", "2", *QUICK, "--output", str(small / "out.nwb")]
        assert main(words) == 2
        err = capfd.readouterr().err
        assert "free space" in err and len(err.strip().splitlines()) == 1
        assert [path.name for path in small.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


# The main job.


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A session, fitted by the command line, and what was printed."""
    folder = tmp_path_factory.mktemp("fitted")
    session = record(folder / "session.nwb", neurons=8)
    before = session.read_bytes()
    assert main(["fit", str(session), "--bin", "0.05", "--rank", "2", "--behavior", "hand_velocity", "--threads", "1", *QUICK]) == 0
    assert session.read_bytes() == before  # the source is not touched
    return folder / "session_lowrank.nwb"


def test_fit_leaves_the_derived_file_and_no_checkpoint(fitted):
    assert sorted(path.name for path in fitted.parent.iterdir() if path.suffix != ".png") == ["session.nwb", "session_lowrank.nwb"]
    assert nl.list_runs(fitted) == ["fit0"]


def test_evaluate_repeats_the_stored_scores_from_the_written_file_alone(fitted, tmp_path, capsys):
    alone = Path(shutil.copy(fitted, tmp_path / "elsewhere.nwb"))
    assert main(["evaluate", str(alone), "--json"]) == 0
    printed = {score["metric"]: score["value"] for score in json.loads(capsys.readouterr().out)}
    stored = {score.metric: score.value for score in nl.read_results(alone).scores}
    assert printed == stored and {"co-bps", "velocity-R2"} <= set(printed)


def test_inference_from_the_written_file_gives_the_stored_scores(fitted, capsys):
    assert main(["evaluate", str(fitted), "--infer", "--json"]) == 0
    printed = {score["metric"]: score["value"] for score in json.loads(capsys.readouterr().out)}
    assert printed == {score.metric: score.value for score in nl.read_results(fitted).scores}


def test_fixed_points_of_the_written_file_are_the_stored_ones(fitted, capsys):
    assert main(["fixed-points", str(fitted), "--json"]) == 0
    printed, stored = json.loads(capsys.readouterr().out), nl.read_results(fitted).fixed_points
    np.testing.assert_allclose(np.reshape(printed["points"], (-1, 2)), stored.points, atol=1e-12)
    assert printed["complete"] == stored.complete and printed["kinds"] == stored.kinds


def test_plot_writes_a_figure_beside_the_file(fitted, tmp_path, capsys):
    alone = Path(shutil.copy(fitted, tmp_path / "elsewhere.nwb"))
    assert main(["plot", str(alone)]) == 0
    figure = tmp_path / "elsewhere.png"
    assert str(figure) in capsys.readouterr().out and figure.read_bytes().startswith(b"\x89PNG")


def test_a_second_run_needs_a_name_or_overwrite(fitted, tmp_path, capsys):
    source = Path(shutil.copy(fitted.with_name("session.nwb"), tmp_path))
    shutil.copy(fitted, tmp_path)
    words = ["fit", str(source), "--bin", "0.05", "--rank", "2", "--threads", "1", *QUICK]
    assert main(words) == 2 and "overwrite" in capsys.readouterr().err
    assert main([*words, "--run", "second", "--rank", "3"]) == 0
    assert nl.list_runs(tmp_path / fitted.name) == ["fit0", "second"]
    assert nl.read_results(tmp_path / fitted.name, "second").fit.model.rank == 3


# Interruption.


def start(session, *words):
    command = [sys.executable, "-m", "nwb_lowrank.cli", "fit", str(session), "--bin", "0.05", "--rank", "2", "--threads", "1", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def results_of(path):
    """Everything of a written fit that numbers are made of."""
    results = nl.read_results(path)
    state = {name: value.tobytes() for name, value in results.fit.state().items()}
    return state, results.posterior.rates.tobytes(), results.posterior.latents.tobytes(), results.fit.history.to_json(), results.scores


def test_ctrl_c_leaves_a_checkpoint_and_resume_ends_in_the_same_bytes(tmp_path):
    folders = [tmp_path / name for name in ("whole", "interrupted")]
    for folder in folders:
        folder.mkdir()
        record(folder / "session.nwb", neurons=8)
    training = ["--warm-rounds", "10", "--steps", "400", "--particles", "8"]  # a look, and so a checkpoint, every 20 steps
    whole, stopped = (folder / "session.nwb" for folder in folders)
    assert start(whole, *training).wait(timeout=300) == 0
    process = start(stopped, *training)
    checkpoint = folders[1] / ".session_lowrank.nwb.fit0.checkpoint"
    limit = time.time() + 120
    while not checkpoint.exists() and process.poll() is None and time.time() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err, err
    assert checkpoint.exists() and not (folders[1] / "session_lowrank.nwb").exists()
    resumed = start(stopped, *training, "--resume")
    assert resumed.wait(timeout=300) == 0, resumed.stderr.read()
    assert not checkpoint.exists()
    first, second = (results_of(folder / "session_lowrank.nwb") for folder in folders)
    assert first == second


# Help that teaches.


def test_every_command_explains_itself(capsys):
    commands = build_parser()._subparsers._group_actions[0].choices
    assert list(commands)[:5] == ["info", "fit", "evaluate", "fixed-points", "plot"]
    for name in commands:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
    assert "example: nwb-lowrank fit" in commands["fit"].format_help()


@pytest.mark.parametrize("name", REAL)
def test_info_proposes_a_command_that_cuts_this_very_file(name, shared_data, capsys):
    path = shared_data / "nwb" / f"{name}.nwb"
    assert main(["info", str(path)]) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1]
    words = shlex.split(command)
    assert words[:3] == ["nwb-lowrank", "fit", str(path)]
    from nwb_lowrank import job

    options = job.single(build_parser().parse_args(words[1:]))
    trials, split = job.cut(options)
    assert (split == "test").sum() >= 2 and (split == "train").sum() >= 4 and options.rank < trials.neurons
    assert trials.is_counts == (name != "songbird_hvc_calcium")
    if name == "chewie_center_out":
        assert trials.bin_width >= 0.1
    if name == "songbird_hvc_calcium":
        assert trials.bin_width == pytest.approx(1 / 30)
    if name == "hippocampus_linear_track":  # chunks lose no spike
        n_spikes = nl.inventory(path).units["n_spikes"].sum()
        assert trials.counts.sum() == n_spikes


def test_a_suggested_command_survives_the_shell():
    line = suggested_command("my session.nwb", dict(bin_width=0.02, units="quality == 'good'", window=(-0.3, 0.7), rank=3, behavior=[]))
    options = build_parser().parse_args(shlex.split(line)[1:])
    assert (options.file, options.bin, options.units, options.window) == (["my session.nwb"], 0.02, "quality == 'good'", [-0.3, 0.7])
