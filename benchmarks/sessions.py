"""One dynamics for two sessions: monkey centre-out reaching with its units split in two halves that are fitted as two sessions.

    python benchmarks/sessions.py --nwb chewie_center_out.nwb --split chewie_split.json [--folds 0 1 2 3 4] [--seeds 0 1 2] [--adapt]

Shown and held-out units of the split file are dealt out alternately to half A and half B. Each half is fitted alone and both
jointly (`fit_sessions`), on the same training trials (as two sessions: no trial has both halves' units). Scores on the
fold's test trials: co-bps of each half's held-out units, and R² of the linear map from one half's latents to the other's, fitted
on the training trials. With --adapt half B is also adapted to half A's dynamics (`adapt`).
"""

import argparse
import json
import time

import numpy as np
import torch

import nwb_lowrank as nl
from nwb_lowrank.alignment import affine_r2
from nwb_lowrank.metrics.bits_per_spike import bits_per_spike


def halves(nwb, split):
    """Trials of the two halves."""
    about = json.load(open(split))
    trials = nl.read_nwb(nwb, bin_width=about["bin_width_s"], align="start_time", window=(0, about["bins"] * about["bin_width_s"]))
    for half in (0, 1):
        out = about["units_out"][half::2]
        used = np.isin(trials.unit_ids, about["units_in"][half::2] + out)
        yield nl.Trials.from_arrays(trials.counts[..., used], bin_width=trials.bin_width, mask=trials.mask[..., used], table=trials.table,
                                    held_out=np.isin(trials.unit_ids, out)[used], unit_ids=trials.unit_ids[used])  # fmt: skip


def model_of(neurons, options):
    return nl.LowRankRNN(rank=options.rank, units=options.units, neurons=neurons, observation=nl.Poisson(nl.Exp()))


def score(fits, sessions, test, seed):
    """co-bps of each half on the test trials, and the mean R² of the maps between their latents, both ways."""
    inferred = [nl.infer(fit, trials, particles=128, draws=128, seed=seed) for fit, trials in zip(fits, sessions)]
    co = [bits_per_spike(p.rates[test][..., t.held_out], t.counts[test][..., t.held_out]) for p, t in zip(inferred, sessions)]
    agree = [affine_r2(inferred[i].latents, inferred[1 - i].latents, ~test, test) for i in (0, 1)]
    return [*co, float(np.mean(agree))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nwb", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--adapt", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    options = parser.parse_args()
    settings = nl.FitSettings(**{name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    sessions, scores = list(halves(options.nwb, options.split)), {}
    print(f"halves: {[t.neurons for t in sessions]} units, {[int(t.held_out.sum()) for t in sessions]} of them held out; "
          f"{sessions[0].bin_width:g} s bins")  # fmt: skip
    for fold in options.folds:
        test = np.arange(len(sessions[0])) % 5 == fold
        train = [trials.select(~test) for trials in sessions]
        for seed in options.seeds:
            began = time.process_time()
            alone = [nl.fit(model_of(t.neurons, options), nl.Encoder(), t, settings, seed=seed) for t in train]
            between = time.process_time()
            joint = nl.fit_sessions(model_of(sum(t.neurons for t in train), options), nl.Encoder(), train, settings, seed=seed)
            took = dict(separate=between - began, joint=time.process_time() - between)
            results = dict(separate=alone, joint=joint)
            if options.adapt:
                between = time.process_time()
                results["adapted"] = [alone[0], nl.adapt(alone[0], train[1], settings, seed=seed)]
                took["adapted"] = time.process_time() - between
            for name, fits in results.items():
                scores.setdefault(name, []).append(score(fits, sessions, test, seed))
                a, b, agree = scores[name][-1]
                print(
                    f"fold {fold} seed {seed} {name:<9} co-bps A {a:.4f}  B {b:.4f}  latents R2 {agree:.3f}  {took[name]:.0f} CPU-s",
                    flush=True,
                )
    print(
        f"\n{'':<10}{'co-bps A':>18}{'co-bps B':>18}{'latents R2':>18}"
        f"   mean ± sd of {len(scores['joint'])} (folds {options.folds}, seeds {options.seeds})"
    )
    for name, values in scores.items():
        mean, sd = np.mean(values, 0), np.std(values, 0, ddof=1) if len(values) > 1 else np.full(3, np.nan)
        print(f"{name:<10}" + "".join(f"{m:>9.4f} ± {s:.4f}" for m, s in zip(mean, sd)))
    separate, joint = (np.array(scores[name])[:, :2] for name in ("separate", "joint"))
    gain = joint - separate

    def error(values):
        return np.std(values, 0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.full(2, np.nan)

    for half, mean, own, paired in zip("AB", gain.mean(0), error(separate), error(gain)):
        print(f"joint - separate, {half}: {mean:+.4f}; standard error of separate {own:.4f}, of the paired difference {paired:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
