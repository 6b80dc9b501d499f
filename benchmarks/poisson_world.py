"""A known Poisson world: which proposal explains held-out trials best with how many particles, at the true parameters?

    python benchmarks/poisson_world.py [--seeds 0 1 2] [--trials 200] [--bins 50]

A rank-3 clipped-ReLU teacher, 50 neurons at half a spike per bin. Evidence in nats per trial, an unbiased estimate of p(y) each, so
that the larger mean log is the nearer one (Jensen). Differences are paired over trials. One thread; seconds are process time.
"""

import argparse
import time

import numpy as np
import torch

import nwb_lowrank as nl
from nwb_lowrank.filter import smc_filter

CASES = [("Bootstrap", nl.Bootstrap, 8), ("Bootstrap", nl.Bootstrap, 128), ("Laplace", nl.Laplace, 8), ("Laplace", nl.Laplace, 128)]


def teacher(seed, neurons, rate, noise, rank=3, units=64):
    """Random recurrence, loadings of half a log-rate unit, biases set so that neurons fire `rate` spikes per bin on average."""
    random = np.random.default_rng(seed)
    model = nl.LowRankRNN(rank=rank, units=units, neurons=neurons, observation=nl.Poisson(nl.Exp()))
    with torch.no_grad():
        model.n.copy_(torch.as_tensor(random.normal(0, 0.3 / units**0.5, (rank, units))))
        model.observation.loadings.copy_(torch.as_tensor(random.normal(0, 0.5, (neurons, rank))))
        model.observation.bias.fill_(np.log(rate))
        model.noise.set(noise * torch.eye(rank))
        z, _ = model.simulate(torch.zeros(400, 50, 0), seed=seed + 1)
        model.observation.bias.sub_(torch.log(model.observation.mean(z).mean((0, 1)) / rate))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--bins", type=int, default=50)
    parser.add_argument("--neurons", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0.5, help="spikes per bin")
    parser.add_argument("--noise", type=float, default=0.3, help="variance of the latent noise; the more, the less the prior knows")
    options = parser.parse_args()
    gains = []
    for seed in options.seeds:
        model = teacher(seed, options.neurons, options.rate, options.noise)
        u = torch.zeros(options.trials, options.bins, 0)
        _, y = model.simulate(u, seed=seed)
        mask = torch.ones(y.shape, dtype=torch.bool)
        evidence = {}
        for name, proposal, particles in CASES:
            began = time.process_time()
            with torch.no_grad():
                out = smc_filter(model, proposal(), y, u, seen=mask, scored=mask, particles=particles,
                                 generator=torch.Generator().manual_seed(seed))  # fmt: skip
            evidence[name, particles] = out.log_evidence.numpy()
            print(f"seed {seed}: {name:<9} K {particles:<4} evidence {out.log_evidence.mean():9.3f} nats a trial  "
                  f"ESS {out.ess.mean() / particles:4.0%}  {time.process_time() - began:5.1f} CPU-s", flush=True)  # fmt: skip
        gain = evidence["Laplace", 8] - evidence["Bootstrap", 128]
        gains.append(gain.mean())
        print(f"seed {seed}: Laplace 8 − Bootstrap 128: {gain.mean():.3f} ± {gain.std(ddof=1) / len(gain) ** 0.5:.3f} nats a trial; "
              f"mean rate {y.mean():.3f} spikes a bin", flush=True)  # fmt: skip
    spread = np.std(gains, ddof=1) if len(gains) > 1 else np.nan
    print(f"mean ± sd of {len(gains)} seeds: {np.mean(gains):.3f} ± {spread:.3f} nats a trial")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
