# %% [markdown]
# # Arrays that never were NWB
#
# Spike counts in an array, with missing bins: fit, and forecast the last 200 ms of every trial.
#
#     python examples/from_arrays.py [--quick]

# %%
import argparse

import numpy as np

import nwb_lowrank as nl

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="hardly any training: only to see that it works")
options = parser.parse_args()

# %% Thirty neurons driven by a rotating latent state of random phase, in 20 ms bins; a tenth of the bins is missing.
random = np.random.default_rng(0)
trials, bins, neurons = 120, 40, 30
phase = random.uniform(0, 2 * np.pi, (trials, 1)) + 2 * np.pi * 2.0 * 0.02 * np.arange(bins)  # 2 Hz
state = np.stack([np.cos(phase), np.sin(phase)], -1)
rates = np.exp(state @ random.normal(0, 0.7, (2, neurons)) - 1.2)
counts = random.poisson(rates).astype(float)
counts[random.random((trials, bins)) < 0.1] = np.nan

# %% NaN becomes a masked bin. The last ten bins are scored in training and never shown to the encoder.
data = nl.Trials.from_arrays(counts, bin_width=0.02).forecast_last(10)
split = data.split_labels(test=0.25, seed=0)
settings = nl.FitSettings(warm_rounds=20, steps=2) if options.quick else nl.FitSettings()
model = nl.LowRankRNN(rank=2, units=32, neurons=neurons, observation=nl.Poisson(nl.Exp()))
fit = nl.fit(model, nl.Encoder(), data.select(split == "train"), settings, seed=0)

# %% Forward prediction, and the best that any model could reach: the true rates.
posterior = nl.infer(fit, data, seed=0)
for score in nl.evaluate(posterior, data, split):
    print(f"{score.metric:12} {score.value:8.4f}   {score.note}")
truth = nl.Posterior(posterior.latents, posterior.latents_sd, rates, posterior.log_evidence, posterior.ess)
print("with the true rates:", *(f"{score.metric} {score.value:.4f}" for score in nl.evaluate(truth, data, split)))

# %% A rotation has one fixed point in its middle, with complex eigenvalues near the unit circle.
points = nl.find_fixed_points(fit.model)
for kind, values in zip(points.kinds, points.eigenvalues):
    print(f"{kind}: |λ| = {abs(values[0]):.3f}, {abs(np.angle(values[0])) / (2 * np.pi * 0.02):.2f} Hz")
