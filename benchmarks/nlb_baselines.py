"""Two baselines on a dataset of the benchmark: a Poisson GLM on smoothed shown neurons, and factor analysis with a GLM on its factors.

    python benchmarks/nlb_baselines.py mc_maze_small TRAIN.nwb [--test TEST_WITH_TRUTH.nwb] [--phase val] [--bin 20]

Kernel width, number of factors and penalty are chosen on a quarter of the training trials, then all of them are fitted. With --test a
file that keeps nothing secret (the simulation's truth) phase 'test' is scored. Prints co-bps.
"""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import PoissonRegressor

from nwb_lowrank.metrics.nlb import bits
from nwb_lowrank.sources.nlb import read_nlb

KERNELS_MS = (40, 80)
PENALTIES = (0.01, 0.03, 0.1, 0.3)
FACTORS = (4, 6, 8, 12)


def flat(x):
    return x.reshape(-1, x.shape[-1])


def readout(features, spikes, new, penalty):
    """Rates of every neuron by a Poisson regression on standardised features."""
    centre, scale = flat(features).mean(0), flat(features).std(0) + 1e-9
    x, ahead = (flat(features) - centre) / scale, (flat(new) - centre) / scale
    rates = np.empty((len(ahead), spikes.shape[-1]))
    for neuron, y in enumerate(flat(spikes).T):
        if y.any():
            model = PoissonRegressor(alpha=penalty, solver="newton-cholesky", max_iter=30).fit(x, y)
            rates[:, neuron] = model.predict(ahead).clip(1e-6, 5 * max(1, y.max()))
        else:
            rates[:, neuron] = 0.5 / len(y)
    return rates.reshape(*new.shape[:2], -1)


def glm(shown, hidden, new, kernel, penalty):
    features, ahead = (np.sqrt(gaussian_filter1d(x, kernel, axis=1)) for x in (shown, new))
    return readout(features, hidden, ahead, penalty)


def factors(shown, hidden, new, kernel, penalty, size):
    features, ahead = (np.sqrt(gaussian_filter1d(x, kernel, axis=1)) for x in (shown, new))
    analysis = FactorAnalysis(size, svd_method="lapack").fit(flat(features))
    z, z_new = (analysis.transform(flat(x)).reshape(*x.shape[:2], -1) for x in (features, ahead))
    return readout(z, hidden, z_new, penalty)


def best(method, shown, hidden, grid):
    """The grid's member with the best co-bps on a quarter of the training trials, and that score."""
    inner = np.arange(len(shown)) % 4 == 3
    scores = [bits(method(shown[~inner], hidden[~inner], shown[inner], *arguments), hidden[inner]) for arguments in grid]
    return grid[int(np.argmax(scores))], max(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("train")
    parser.add_argument("--test")
    parser.add_argument("--phase", default="val")
    parser.add_argument("--bin", type=int, default=20)
    options = parser.parse_args()
    benchmark = read_nlb(options.dataset, options.train, options.test, phase=options.phase, bin_width=options.bin)
    data = {name: x.astype(float) for name, x in benchmark.inputs().items() if "forward" not in name}
    truth = benchmark.target(psth=False)["eval_spikes_heldout"].astype(float)
    shown, hidden, new = data["train_spikes_heldin"], data["train_spikes_heldout"], data["eval_spikes_heldin"]
    kernels = [ms / options.bin for ms in KERNELS_MS]
    grids = {"factor analysis": (factors, [(k, 1e-3, size) for k in kernels for size in FACTORS]),
             "GLM": (glm, [(k, p) for k in kernels for p in PENALTIES])}  # fmt: skip
    for name, (method, grid) in grids.items():
        used = time.process_time()
        chosen, inner = best(method, shown, hidden, grid)
        score = bits(method(shown, hidden, new, *chosen), truth)
        print(f"{options.dataset} {options.phase} {options.bin} ms, {name} {chosen}: co-bps {score:.4f} (on the inner "
              f"trials {inner:.4f}; {time.process_time() - used:.0f} s CPU)", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
