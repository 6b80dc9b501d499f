"""Monkey centre-out reaching: held-out co-bps and velocity R² of the folds, over seeds.

    python benchmarks/chewie.py --nwb chewie_center_out.nwb --split chewie_split.json [--fold 0 1 2 3 4] [--seeds 0 1 2]

The split file says which units are shown, which are held out, and how many bins of each trial count; trial i is in fold
i % 5, one fold is tested and the other four train. Held-out neurons are learned from the training trials and predicted in
the test trials from the shown ones. Velocity is read out of the predicted rates of all units by ridge regression (α = 0.01).
"""

import argparse
import json
import time

import numpy as np
import torch
from sklearn.linear_model import Ridge

import nwb_lowrank as nl
from nwb_lowrank.metrics.bits_per_spike import bits_per_spike
from nwb_lowrank.observations.base import Exp, Softplus


def load(nwb, split):
    """Trials of the split's bins and units, and what the split says."""
    about = json.load(open(split))
    trials = nl.read_nwb(
        nwb, bin_width=about["bin_width_s"], align="start_time", behavior="hand_velocity", window=(0, about["bins"] * about["bin_width_s"])
    )
    return trials, about


def velocity_r2(rates, velocity, train, test):
    """Ridge (α = 0.01) from rates to velocity, mean R² of the two components on the test trials."""
    flat = lambda x, rows: x[rows].reshape(-1, x.shape[-1])  # noqa: E731
    decoder = Ridge(alpha=0.01).fit(flat(rates, train), flat(velocity, train))
    return decoder.score(flat(rates, test), flat(velocity, test))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nwb", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--fold", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--link", choices=("exp", "softplus"), default="exp")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    parser.add_argument("--precision", type=float, default=0.1)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--kernel", type=int, default=11)
    options = parser.parse_args()
    trials, about = load(options.nwb, options.split)
    held_out = np.isin(trials.unit_ids, about["units_out"])
    used = np.isin(trials.unit_ids, about["units_in"] + about["units_out"])
    trials = nl.Trials.from_arrays(
        trials.counts[..., used],
        bin_width=trials.bin_width,
        held_out=held_out[used],
        behavior=trials.behavior,
        behavior_names=trials.behavior_names,
    )
    settings = nl.FitSettings(**{name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    scores = []
    for fold in options.fold:
        test = np.arange(len(trials)) % 5 == fold
        for seed in options.seeds:
            began = time.process_time()
            link = Exp() if options.link == "exp" else Softplus()
            model = nl.LowRankRNN(rank=options.rank, units=options.units, neurons=trials.neurons, observation=nl.Poisson(link))
            proposal = nl.Encoder(channels=options.channels, kernel=options.kernel, precision=options.precision)
            fit = nl.fit(model, proposal, trials.select(~test), settings, seed=seed)
            took = time.process_time() - began
            posterior = nl.infer(fit, trials, particles=512, draws=128, seed=seed)
            out = trials.held_out
            co = bits_per_spike(posterior.rates[test][..., out], trials.counts[test][..., out])
            r2 = velocity_r2(posterior.rates, trials.behavior, ~test, test)
            history = fit.history
            best = history.validation.argmax()
            scores.append((co, r2))
            print(
                f"fold {fold} seed {seed}: co-bps {co:.4f}  velocity R2 {r2:.4f}  fit {took:.0f} s of CPU  "
                f"best step {history.step[best]} validation {history.validation[best]:.4f} of {len(history)} looks",
                flush=True,
            )
    mean, sd = np.mean(scores, 0), np.std(scores, 0, ddof=1) if len(scores) > 1 else (np.nan, np.nan)
    print(f"mean ± sd of {len(scores)}: co-bps {mean[0]:.4f} ± {sd[0]:.4f}, velocity R2 {mean[1]:.4f} ± {sd[1]:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
