"""The demonstration: the whole job on a recording simulated from a known teacher, so that every answer can be checked."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import nwb_lowrank as nl

from . import job
from .cli import build_parser
from .commands._texts import fixed_points_text, scores_text
from .metrics.bits_per_spike import explained_variance


def run(folder: Path, *, seed: int = 0, quick: bool = False) -> None:
    """Simulate, write, fit, write back, score, find fixed points, plot; says what it does and where things are.

    Parameters
    ----------
    folder : Path
        Made when it does not exist; its files of the same names are replaced.
    seed : int
    quick : bool
        A tenth of the training.
    """
    from .sources.synthetic import decision_teacher, simulate_session

    folder.mkdir(parents=True, exist_ok=True)
    recording, fitted, figure = (folder / name for name in ("recording.nwb", "recording_lowrank.nwb", "recording_lowrank.png"))
    print("1. Simulate a recording: a rank-2 network with two attractors and a saddle decides in 160 trials, 40 neurons spike.")
    session = simulate_session(decision_teacher(), seed=seed)
    write_session(recording, session)
    print(f"   written as genuine NWB: {recording}\n")
    print("2. What is in it?  nwb-lowrank info", recording)
    print(_indented(nl.inventory(recording).text()) + "\n")
    words = ["fit", str(recording), "--bin", "0.02", "--rank", "2", "--behavior", "hand_velocity", "--overwrite", "--seed", str(seed),
             "--output", str(fitted), *(["--warm-rounds", "40", "--steps", "4"] if quick else [])]  # fmt: skip
    print("3. Fit it with a fifth of the trials and of the neurons kept back:\n   nwb-lowrank", " ".join(words))
    options = job.single(build_parser().parse_args(words))
    options.checkpoint = None
    job.prepared_output(options)
    job.set_threads(options.threads)
    trials, split = job.cut(options)
    began = time.time()
    results = job.analyse(options, trials, split)
    print(f"   fitted in {time.time() - began:.0f} s")
    nl.write_nwb(recording, results, output=fitted, overwrite=True)
    print(f"   results written beside the recording: {fitted}\n")
    report(nl.read_results(fitted), session)
    nl.plot_summary(results).savefig(figure, dpi=110)
    print(f"6. One page to look at: {figure}\n")
    print(f"Next: nwb-lowrank info YOUR_FILE.nwb    (or: nwb-lowrank evaluate {fitted})")


def report(results: nl.Results, session) -> None:
    """Scores and fixed points of what was read back, each beside the truth."""
    test = results.split == "test"
    truth = SimpleNamespace(rates=session.rates)
    oracle = {score.metric: score.value for score in nl.evaluate(truth, results.trials, results.split)}
    print("4. Scores on the trials and neurons kept back, read from the written file (best possible: the teacher's own rates):")
    print(_indented(scores_text(results.scores)))
    print("   best possible: " + ", ".join(f"{name} {value:.4f}" for name, value in oracle.items()))
    print(f"   R² of the rates against the teacher's: {explained_variance(results.posterior.rates[test], session.rates[test]):.4f}\n")
    print("5. Fixed points of the fit (latents are free up to a linear map: compare number, kind and eigenvalues):")
    print(_indented(fixed_points_text(results.fixed_points)))
    print("   of the teacher:")
    print(_indented(fixed_points_text(nl.find_fixed_points(session.teacher))) + "\n")


def write_session(path: Path, session) -> Path:
    """A simulated session as an NWB file with units, electrodes, trials and behaviour."""
    trials = session.trials
    spans = np.stack([trials.table["start_time"], trials.table["stop_time"]], 1)
    velocity = (trials.times.ravel(), trials.behavior.reshape(-1, trials.behavior.shape[-1]), trials.behavior_units[0])
    return nl.write_recording(path, spike_times=session.spike_times, trials=trials.table, obs_intervals=spans,
                              behavior={"hand_velocity": velocity}, identifier="nwb-lowrank-demo")  # fmt: skip


def _indented(text: str) -> str:
    return "\n".join("   " + line for line in text.splitlines())
