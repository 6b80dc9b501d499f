"""Teacher and student: does a fit find the decay, the fixed points and the rates of the network that made the data?

    python benchmarks/teacher_student.py [--tasks oscillation attractors] [--observations poisson gaussian] [--inputs 0 1] [--seeds 0 1 2]

oscillation: an unstable spiral inside a limit cycle. attractors: a saddle between two attractors. Rank 2, 160 trials × 50 bins,
40 neurons; with inputs, a pulse in a random bin of every trial pushes z₁. Test trials are new. Quantities that the model identifies:
decay |a − a'|/a; eigenvalues at fixed points matched through the latents' affine map, mean |λ − λ'|/|λ|; predicted rates, median over
neurons and bins of |r − r'|/r (signals: RMS of the difference over the signal's sd). Number and stability of the fixed points are
compared inside the region that the teacher's latents visit, widened by a fifth. One thread; seconds are process time.

Gaussian oscillations take 1,000 warm rounds where --set does not say otherwise: after 400 the weakly unstable spiral is often still stable.
"""

import argparse
import json
import time
from types import SimpleNamespace

import numpy as np
import torch

import nwb_lowrank as nl
from nwb_lowrank.alignment import affine_map
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.trust.agreement import spectra_distance

BIN, NEURONS, BINS = 0.02, 40, 50


def teacher(task, observation, inputs, seed):
    """A rank-2 network of ramps min(max(x, −1), 1), each made of two clipped-ReLU units and a constant one."""
    model = decision_teacher(neurons=NEURONS, seed=seed)
    if task == "oscillation":
        n = [[0.15, -0.15, -0.25, 0.25, 0.10, 0], [0.25, -0.25, 0.15, -0.15, -0.40, 0]]
        values = dict(m=[[1, 0], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0]], n=n, decay_logit=np.log(0.9 / 0.1))
        for name, value in values.items():
            getattr(model, name).data.copy_(torch.tensor(np.array(value, np.float32)))
    signal = nl.GaussianSignal() if observation == "gaussian" else nl.Poisson(nl.Exp())
    other = nl.LowRankRNN(rank=2, units=6, neurons=NEURONS, inputs=inputs, observation=signal)
    state = {name: value for name, value in model.state_dict().items() if name in other.state_dict() and name not in ("w", "initial_input")}
    other.load_state_dict(state, strict=False)
    with torch.no_grad():
        if observation == "gaussian":
            other.observation.bias.zero_()
            other.observation.log_sd.fill_(np.log(0.7))
        else:
            other.observation.bias.add_(0.7)  # about a third of a spike per bin
        other.w.copy_(torch.tensor([[1.0], [1], [0], [0], [0], [0]])[:, :inputs])
        other.initial_noise.set(torch.eye(2))
    return other


def pulses(trials, inputs, random):
    u = np.zeros((trials, BINS, inputs), np.float32)
    if inputs:
        u[np.arange(trials), random.integers(5, BINS - 10, trials), 0] = random.choice([-1.5, 1.5], trials)
    return torch.as_tensor(u)


def data(model, trials, seed):
    u = pulses(trials, model.inputs, np.random.default_rng(seed))
    z, y = model.simulate(u, seed=seed)
    return nl.Trials.from_arrays(y.numpy(), bin_width=BIN, inputs=u.numpy()), z.numpy(), model.observation.mean(z).detach().numpy()


def inside(points, low, high):
    """The fixed points in a box."""
    keep = ((points.points >= low) & (points.points <= high)).all(1)
    return SimpleNamespace(points=points.points[keep], eigenvalues=points.eigenvalues[keep], stable=points.stable[keep])


def compare(fit, model, test, latents, rates):
    """decay, spectra and rate errors, and whether number and stability of the fixed points are right."""
    posterior = nl.infer(fit, test, particles=128, draws=64)
    linear = affine_map(posterior.latents, latents)
    half = 0.1 * np.ptp(latents, axis=(0, 1))
    low, high = latents.min((0, 1)) - half, latents.max((0, 1)) + half
    truth, found = inside(nl.find_fixed_points(model), low, high), nl.find_fixed_points(fit.model)
    moved = np.concatenate([found.points, np.ones((len(found.points), 1))], 1) @ linear
    there = ((moved >= low) & (moved <= high)).all(1)
    student = SimpleNamespace(points=moved[there], eigenvalues=found.eigenvalues[there], stable=found.stable[there])
    identity = np.vstack([np.eye(model.rank), np.zeros(model.rank)])
    counts = not isinstance(model.observation, nl.GaussianSignal)
    error = np.median(abs(posterior.rates - rates) / rates) if counts else ((posterior.rates - rates) ** 2).mean() ** 0.5 / rates.std()
    right = len(truth.points) == len(student.points) and truth.stable.sum() == student.stable.sum()
    decay = abs(fit.model.decay.item() / model.decay.item() - 1)
    said = f"{len(student.points)} points ({student.stable.sum()} stable) for {len(truth.points)} ({truth.stable.sum()})"
    return (decay, spectra_distance(truth, student, identity), error, right), said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["oscillation", "attractors"])
    parser.add_argument("--observations", nargs="+", default=["poisson", "gaussian"])
    parser.add_argument("--inputs", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--trials", type=int, default=160)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    options = parser.parse_args()
    given = {name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)}
    for task in options.tasks:
        for observation in options.observations:
            settings = nl.FitSettings(**(dict(warm_rounds=1000) if (task, observation) == ("oscillation", "gaussian") else {}) | given)
            for inputs in options.inputs:
                rows = []
                for seed in options.seeds:
                    truth = teacher(task, observation, inputs, seed)
                    train, (test, latents, rates) = data(truth, options.trials, 2 * seed)[0], data(truth, 80, 2 * seed + 1)
                    poisson = observation == "poisson"
                    model = nl.LowRankRNN(rank=2, units=options.units, neurons=NEURONS, inputs=inputs,
                                          observation=nl.Poisson(nl.Exp()) if poisson else nl.GaussianSignal())  # fmt: skip
                    began = time.process_time()
                    fit = nl.fit(model, nl.Encoder() if poisson else nl.LinearGaussian(), train, settings, seed=seed)
                    took = time.process_time() - began
                    row, said = compare(fit, truth, test, latents, rates)
                    rows.append(row)
                    print(f"  {task}, {observation}, {inputs} inputs, {seed}: a {row[0]:.3f}  spectra {row[1]:.3f}  rates {row[2]:.3f}  "
                          f"{said}  fit {took:.0f} CPU-s", flush=True)  # fmt: skip
                median = np.nanmedian(np.array(rows, float), 0)
                print(f"{task}, {observation}, {inputs} inputs: median of {len(rows)}: decay {median[0]:.3f}  spectra {median[1]:.3f}  "
                      f"rates {median[2]:.3f}  fixed points right in {sum(row[3] for row in rows)} of {len(rows)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
