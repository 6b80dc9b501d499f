"""EEG (PhysioNet S001R01, eyes open): how far what the model generates is from the recording, over seeds.

    python benchmarks/eeg.py --train EEG_data_zscored_rebuilt_60s.npy --data EEG_data_smoothed.npy [--seeds 0 1 2]
        [--set validation=0.0 warm_rounds=4000 steps=0 averaging=0.1]      # all segments train, many more rounds: blinks are rare

Trained on 50-sample segments of one minute of 64 channels at 160 Hz. From a state drawn from the posterior of a segment (another one
for every draw) the model runs freely for as many samples as were recorded; what it generates is treated as the evaluation data were,
smoothed[t] = zscore(hann15 * zscore(raw))[t − 7], and compared with them: KL(data ‖ generated) of the state space (D_stsp) and
Hellinger distance of the power spectra (D_H), over independent draws. One thread, so that the time is that of one core.
"""

import argparse
import json
import time

import numpy as np
import torch
from scipy.signal import convolve
from scipy.signal.windows import hann

import nwb_lowrank as nl
from nwb_lowrank.metrics.generative import spectral_distance, state_space_divergence

SEGMENT, RATE = 50, 160.0  # samples, Hz


def zscore(x):
    return (x - x.mean(0)) / x.std(0)


def smoothed(raw):
    """What was done to the evaluation data."""
    return zscore(convolve(zscore(raw), hann(15)[:, None], mode="same"))


def scores(fit, trials, data, draws, seed):
    """(draws, 2) D_stsp and D_H of free runs, each from the posterior initial state of another segment."""
    rows = []
    for draw in range(draws):
        start = trials.select([np.random.default_rng(seed + draw).integers(len(trials))])
        posterior = nl.infer(fit, start, particles=128, draws=8, seed=draw, keep_draws=True)
        free = nl.generate(fit, start, posterior=posterior, bins=len(data), seed=seed + draw)
        run = smoothed(free.observations[0, 0])
        rows.append((state_space_divergence(data, run, seed=draw), spectral_distance(data, run)))
    return np.array(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--segment", type=int, default=SEGMENT)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    parser.add_argument("--save", help="file for the last fit")
    options = parser.parse_args()
    raw, data = np.load(options.train).astype(np.float32), np.load(options.data)
    trials = nl.Trials.from_arrays(
        raw[: len(raw) // options.segment * options.segment].reshape(-1, options.segment, raw.shape[1]), bin_width=1 / RATE
    )
    settings = nl.FitSettings(**{name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    medians = []
    for seed in options.seeds:
        began = time.process_time()
        model = nl.LowRankRNN(
            rank=options.rank, units=options.units, neurons=trials.neurons, observation=nl.GaussianSignal(), noise=nl.FullCovariance()
        )
        fit = nl.fit(model, nl.LinearGaussian(), trials, settings, seed=seed)
        took = time.process_time() - began
        values = scores(fit, trials, data, options.draws, seed)
        median, mad = np.median(values, 0), np.median(abs(values - np.median(values, 0)), 0)
        medians.append(median)
        last = fit.history.iloc[-1]
        print(f"seed {seed}: D_stsp {median[0]:.3f} (MAD {mad[0]:.3f})  D_H {median[1]:.4f} (MAD {mad[1]:.4f})  fit {took:.0f} CPU-s  "
              f"bound {last.bound:.3f} validation {last.validation:.3f} decay {fit.model.decay.item():.4f}", flush=True)  # fmt: skip
        if options.save:
            fit.save(options.save)
    mean, sd = np.mean(medians, 0), np.std(medians, 0, ddof=1) if len(medians) > 1 else (np.nan, np.nan)
    print(f"{len(medians)} seeds, median of {options.draws} runs: D_stsp {mean[0]:.3f} ± {sd[0]:.3f}, D_H {mean[1]:.4f} ± {sd[1]:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
