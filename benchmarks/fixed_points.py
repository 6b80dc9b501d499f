"""All fixed points, certified: how long, how many boxes. The table of the fixed-point search, on fits and on fixed-seed networks.

    python benchmarks/fixed_points.py --models FOLDER [--data shared/data] [--budget 120] [--only R3 R5]

Fits are short (what is timed is the search): they are trained once from the recordings under --data and kept in FOLDER as
safetensors. CPU time is of all threads; wall time depends on what else the machine does. The first search of a rank compiles (with
numba) and is not counted.
"""

import argparse
import json
import time
from pathlib import Path

import h5py
import numpy as np
import torch

import nwb_lowrank as nl
from nwb_lowrank.nonlinearities import Softplus, Tanh
from nwb_lowrank.searches import Certified, Regions
from nwb_lowrank.sources.synthetic import random_teacher

UNITS = 512
SHORT = dict(warm_rounds=20, steps=20)


def eeg(data):
    """The smoothed EEG of PhysioNet S001R01 in pieces of 50 samples."""
    signal = np.load(data / "eeg_S001R01" / "EEG_data_smoothed.npy").astype(float)
    pieces = len(signal) // 50
    return nl.Trials.from_arrays(signal[: 50 * pieces].reshape(pieces, 50, -1), bin_width=1 / 160)


def lorenz(data):
    with h5py.File(data / "lorenz_lfads" / "lfads_lorenz.h5") as file:
        return nl.Trials.from_arrays(file["train_data"][:160], bin_width=0.01)


def chewie(data):
    about = json.loads((data / "chewie_center_out" / "chewie_split.json").read_text())
    trials = nl.read_nwb(data / "nwb" / "chewie_center_out.nwb", bin_width=0.1, align="start_time", window=(0, 0.9))
    return nl.Trials.from_arrays(trials.counts[..., np.isin(trials.unit_ids, about["units_in"] + about["units_out"])], bin_width=0.1)


WORLDS = dict(eeg=eeg, lorenz=lorenz, chewie=chewie)
FITS = [("eeg", 3, 3), ("lorenz", 4, 3), ("chewie", 4, 3), ("lorenz", 5, 2), ("chewie", 5, 8), ("lorenz", 6, 2), ("chewie", 6, 2)]


def fitted(world, rank, seed, folder, data):
    """The model of a short fit, from the folder if it is there; None without data to train it."""
    path = folder / f"{world}_R{rank}_H{UNITS}_s{seed}.safetensors"
    if not path.exists():
        if data is None:
            return None
        trials = WORLDS[world](data)
        gaussian = world == "eeg"
        model = nl.LowRankRNN(
            rank=rank, units=UNITS, neurons=trials.neurons, observation=nl.GaussianSignal() if gaussian else nl.Poisson(nl.Exp())
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.m.copy_(torch.randn(model.m.shape, generator=generator) / rank**0.5)
            model.nonlinearity.h.copy_(torch.randn(UNITS, generator=generator))
        proposal = nl.LinearGaussian() if gaussian else nl.Encoder()
        nl.fit(model, proposal, trials, nl.FitSettings(**SHORT), seed=seed).save(path)
    return nl.Fit.load(path).model


def smooth(nonlinearity, rank, gain, seed=0):
    """A random network of 128 units; softplus is searched within ± 15."""
    random = np.random.default_rng(seed)
    model = nl.LowRankRNN(rank=rank, units=128, neurons=2, nonlinearity=nonlinearity).double()
    values = random.normal(size=(128, rank)), gain * random.normal(size=(rank, 128)) / 128**0.5, random.normal(size=128)
    with torch.no_grad():
        for part, value in zip((model.m, model.n, model.nonlinearity.h), values, strict=True):
            part.copy_(torch.from_numpy(value))
        model.extent.fill_(5.0)
    return model


def cases(options):
    """Name, target, model."""
    for units in (512, 4096):
        yield f"R1 H{units} random", "0.1 s", random_teacher(rank=1, units=units, gain=4, seed=0)
    for gain in (8, 16, 32, 64):
        yield f"R2 H512 random, gain {gain}", "0.1 s", random_teacher(rank=2, units=UNITS, gain=gain, seed=gain)
    for gain, seed in ((4, 0), (8, 0), (16, 0)):
        yield f"R3 H512 random, gain {gain}", "0.4 s", random_teacher(rank=3, units=UNITS, gain=gain, seed=seed)
    for gain, seeds in ((2, 4), (4, 6), (8, 6)):
        for seed in range(seeds):
            yield f"R4 H512 random, gain {gain}, {seed}", "10 s", random_teacher(rank=4, units=UNITS, gain=gain, seed=seed)
    for rank in (2, 3):
        for nonlinearity in (Tanh(), Softplus()):
            for gain in (1, 4, 8):
                yield f"R{rank} H128 {type(nonlinearity).__name__}, gain {gain}", "30 s", smooth(nonlinearity, rank, gain, seed=gain)
    for world, rank, count in FITS:
        for seed in range(count):
            if options.only and f"R{rank}" not in options.only:
                continue
            model = fitted(world, rank, seed, options.models, options.data)
            if model is not None:
                yield f"R{rank} H512 {world} fit {seed}", {3: "0.4 s", 4: "10 s", 5: "10 s"}.get(rank, "reported"), model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of fitted models, outside the repository")
    parser.add_argument("--data", type=Path, help="folder of the recordings, to train models that are not in the folder")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds a search")
    parser.add_argument("--only", nargs="+", help="such as R3 R5")
    parser.add_argument("--numpy", action="store_true", help="without compiled code")
    parser.add_argument("--regions", action="store_true", help="the enumeration of regions beside it, at rank 1 and 2")
    options = parser.parse_args()
    options.models.mkdir(parents=True, exist_ok=True)
    searches = {rank: Certified(budget=max(600.0, options.budget) if rank == 6 else options.budget, compile=not options.numpy)
                for rank in range(1, 7)}  # fmt: skip
    rows = {}
    print(f"{'case':<30} {'target':<9} {'points':>6} complete {'boxes':>9} {'cpu s':>7} {'wall s':>7} degree  residual", flush=True)
    warm = set()
    for name, target, model in cases(options):
        if options.only and not name.startswith(tuple(options.only)):
            continue
        if model.rank not in warm:
            warm.add(model.rank)
            nl.find_fixed_points(random_teacher(rank=model.rank, units=80, gain=0.3), search=searches[model.rank])
        wall, cpu = time.perf_counter(), time.process_time()
        found = nl.find_fixed_points(model, search=searches[model.rank])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"{name:<30} {target:<9} {len(found.points):>6} {found.complete!s:<8} {found.certificate['boxes']:>9} {cpu:>7.3f} {wall:>7.3f} "
            f"{found.certificate['degree_sum']!s:>6}  {found.residual.max(initial=0):.1e}",
            flush=True,
        )
        rows.setdefault((row_of(name, model), target), []).append((found, wall))
        if options.regions and model.rank <= 2 and model.nonlinearity.piecewise_linear:
            cpu = time.process_time()
            other = nl.find_fixed_points(model, search=Regions())
            cpu = time.process_time() - cpu
            print(f"{'  enumeration of regions':<40} {len(other.points):>6} {other.complete!s:<8} {'':>9} {cpu:>7.3f}", flush=True)

    summary(rows)


def row_of(name, model):
    """Which row of the table a case belongs to."""
    kind = "random" if "random" in name else "fits" if "fit" in name else type(model.nonlinearity).__name__
    return f"R{model.rank} H{model.units} {kind}"


def summary(rows):
    """One line a row: how many were complete, how many of them in time, the slowest, and the degree sums of the complete ones."""
    print(f"\n{'row':<22} {'target':<9} {'complete':<10} {'in time':<9} {'slowest s':>9}  points      degree sums", flush=True)
    for (row, target), seen in rows.items():
        done = [(found, wall) for found, wall in seen if found.complete]
        limit = float(target.split()[0]) if target.endswith(" s") else 600.0
        counts = [len(found.points) for found, _ in seen]
        sums = sorted({str(found.certificate["degree_sum"]) for found, _ in done})
        in_time = sum(wall < limit for _, wall in done)
        print(
            f"{row:<22} {target:<9} {len(done):>3} of {len(seen):<3} {in_time:>3} of {len(seen):<3} {max(wall for _, wall in seen):>8.2f}  "
            f"{min(counts)} to {max(counts):<5}  {', '.join(sums)}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
