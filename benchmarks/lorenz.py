"""LFADS-Lorenz: co-bps of held-out units and R² of the rates against the truth, over seeds.

    python benchmarks/lorenz.py --data lfads_lorenz.h5 [--seeds 0 1 2] [--rank 4] [--set warm_rounds=60 steps=0]
    python benchmarks/lorenz.py --data lfads_lorenz.h5 --until 0.74      # seconds of training to that co-bps, then stops

Trained on train_*, scored on valid_*; units 0-44 are shown, 45-59 held out. One thread, so that the time is that of one core.
With --until the parameters as they are (not their average) are scored every 20 rounds or steps; scoring stops the clock.
"""

import argparse
import json
import time

import h5py
import numpy as np
import torch

import nwb_lowrank as nl
from nwb_lowrank.metrics.bits_per_spike import bits_per_spike, explained_variance

BIN = 0.01  # seconds


def load(path):
    """Training trials, validation trials and the validation trials' true rates (expected spikes per bin)."""
    with h5py.File(path) as file:
        train, valid, truth = (file[name][:] for name in ("train_data", "valid_data", "valid_truth"))
    held_out = np.arange(train.shape[-1]) >= 45
    train, valid = (nl.Trials.from_arrays(x, bin_width=BIN, held_out=held_out) for x in (train, valid))
    return train, valid, truth * BIN


class Reached(Exception):
    """The co-bps asked for."""


def until(target, model, proposal, valid, began):
    """An on_step that scores every 20 rounds or steps, prints seconds of training so far, and ends the fit at the target."""
    out, scoring = valid.held_out, 0.0

    def score(progress):
        nonlocal scoring
        if progress.step % 20:
            return
        paused = time.process_time()
        fit = nl.Fit(model, proposal, nl.FitSettings(), 0, None)
        co = bits_per_spike(nl.infer(fit, valid, particles=64, draws=32).rates[..., out], valid.counts[..., out])
        scoring += time.process_time() - paused
        print(f"  {progress.stage} {progress.step}: co-bps {co:.4f} after {time.process_time() - began - scoring:.1f} CPU-s", flush=True)
        if co >= target:
            raise Reached

    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--link", choices=("exp", "softplus"), default="exp")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    parser.add_argument("--until", type=float, help="a co-bps: only the time to it is measured")
    parser.add_argument("--save", help="file for the last fit")
    options = parser.parse_args()
    train, valid, truth = load(options.data)
    out = train.held_out
    print(f"oracle: co-bps {bits_per_spike(truth[..., out], valid.counts[..., out]):.4f}")
    settings = nl.FitSettings(**{name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    scores = []
    for seed in options.seeds:
        began = time.process_time()
        link = nl.Exp() if options.link == "exp" else nl.Softplus()
        model = nl.LowRankRNN(rank=options.rank, units=options.units, neurons=train.neurons, observation=nl.Poisson(link))
        proposal = nl.Encoder().attach(model)
        watch = until(options.until, model, proposal, valid, began) if options.until else None
        try:
            fit = nl.fit(model, proposal, train, settings, seed=seed, on_step=watch)
        except Reached:
            continue
        took = time.process_time() - began
        posterior = nl.infer(fit, valid, particles=512, draws=64, seed=seed)
        scores.append((bits_per_spike(posterior.rates[..., out], valid.counts[..., out]), explained_variance(posterior.rates, truth)))
        print(f"seed {seed}: co-bps {scores[-1][0]:.4f}  rate R2 {scores[-1][1]:.4f}  fit {took:.0f} s of CPU", flush=True)
        print(fit.history.groupby("stage").tail(3).to_string(index=False), flush=True)
        if options.save:
            fit.save(options.save)
    if not scores:  # --until reached its target every time
        return
    mean, sd = np.mean(scores, 0), np.std(scores, 0, ddof=1) if len(scores) > 1 else (np.nan, np.nan)
    print(f"mean ± sd of {len(scores)}: co-bps {mean[0]:.4f} ± {sd[0]:.4f}, rate R2 {mean[1]:.4f} ± {sd[1]:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
