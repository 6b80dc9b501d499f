# %% [markdown]
# # From an NWB file to dynamics, and back
#
# Fits a recording, looks at the latents and the fixed points, and writes all of it into a new NWB file.
# Without a file name a recording is simulated first:
#
#     python examples/first_fit.py [session.nwb] [--quick]

# %%
import argparse
from pathlib import Path

import numpy as np

import nwb_lowrank as nl

parser = argparse.ArgumentParser()
parser.add_argument("file", nargs="?", help="an NWB file with trials and a behaviour series 'hand_velocity'")
parser.add_argument("--quick", action="store_true", help="hardly any training: only to see that it works")
parser.add_argument("--output", default="example_output")
options = parser.parse_args()
folder = Path(options.output)
folder.mkdir(exist_ok=True)

# %% A recording: here of a network that decides between two states, whose truth we know.
if options.file is None:
    from nwb_lowrank.demo import write_session
    from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session

    options.file = write_session(folder / "session.nwb", simulate_session(decision_teacher(), seed=1))

# %% What is in it?
print(nl.inventory(options.file).text())

# %% Cut it into trials. One neuron in five will never be seen at inference, one trial in five never in the fit.
trials = nl.read_nwb(options.file, bin_width=0.02, behavior="hand_velocity")
trials = trials.hide(np.arange(2, trials.neurons, 5))
split = trials.split_labels(test=0.2, seed=0)

# %% Fit.
settings = nl.FitSettings(warm_rounds=20, steps=2) if options.quick else nl.FitSettings()
model = nl.LowRankRNN(rank=2, units=64, neurons=trials.neurons, observation=nl.Poisson(nl.Exp()))
fit = nl.fit(model, nl.Encoder(), trials.select(split == "train"), settings, seed=0)
print(fit.history.tail())

# %% Latents and rates of all trials, from the shown neurons alone; scores on what was kept back.
posterior = nl.infer(fit, trials, seed=0)
scores = nl.evaluate(posterior, trials, split)
for score in scores:
    print(f"{score.metric:12} {score.value:8.4f}   {score.note}")

# %% Every fixed point of the fitted dynamics, with a certificate.
points = nl.find_fixed_points(fit.model)
for kind, point in zip(points.kinds, points.points):
    print(kind, np.round(point, 3))
print("complete:", points.complete)

# %% Write it beside the recording, look at it.
results = nl.Results(fit, trials, posterior, split, points, scores)
path = nl.write_nwb(options.file, results, output=folder / "session_lowrank.nwb", overwrite=True)
nl.plot_summary(nl.read_results(path)).savefig(folder / "session_lowrank.png", dpi=100)
print("written:", path)
