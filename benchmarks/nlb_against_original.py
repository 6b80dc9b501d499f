"""Our reading and scoring of the Neural Latents Benchmark against nlb_tools (MIT), the benchmark's own code.

    git clone https://github.com/neurallatents/nlb_tools
    python benchmarks/nlb_against_original.py nlb_tools tensors [--datasets mc_maze_small ...] [--scale 0.3] [--folder DIR]
    python benchmarks/nlb_against_original.py nlb_tools metrics [--cases 50]
    python benchmarks/nlb_against_original.py nlb_tools speed [--datasets mc_maze] [--scale 1] [--psth]

`tensors` simulates each dataset, cuts it with both, and compares every tensor bit for bit, in both phases and at both bin widths.
`metrics` compares every score on random and on adversarial inputs. `speed` runs both in processes of their own and prints CPU seconds
and peak memory. nlb_tools is imported from the checkout; two of its lines are changed in memory, for pandas 3. Nothing of it is needed by the package
or kept here.
"""

import argparse
import inspect
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from nwb_lowrank.metrics.nlb import evaluate_nlb
from nwb_lowrank.sinks.recording_nlb import write_nlb_recording
from nwb_lowrank.sources._nlb_table import BIN_WIDTHS, DATASETS, PHASES
from nwb_lowrank.sources.nlb import read_nlb
from nwb_lowrank.sources.synthetic_nlb import simulate_nlb

MENDED = (  # what pandas 3 no longer does as nlb_tools expects: arrays that may be written to, and joined clocks in order
    ("resample", "arr = self.data[signal_type].to_numpy()", "arr = self.data[signal_type].to_numpy(copy=True)"),
    ("load", "data = pd.concat(data_list, axis=1)", "data = pd.concat(data_list, axis=1, sort=True)"),
)


def original(checkout):
    """The modules nwb_interface, make_tensors and evaluation of the checkout, mended in memory for pandas 3."""
    sys.path.insert(0, str(checkout))
    from nlb_tools import evaluation, make_tensors, nwb_interface

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    scope = vars(nwb_interface)
    for name, line, mended in MENDED:
        source = inspect.getsource(getattr(nwb_interface.NWBDataset, name))
        assert source.count(line) == 1, f"nlb_tools is not 0.0.4: no line {line!r}"
        exec("class Patched:\n" + source.replace(line, mended), scope)  # noqa: S102
        setattr(nwb_interface.NWBDataset, name, getattr(scope["Patched"], name))
    return nwb_interface, make_tensors, evaluation


def original_tensors(modules, dataset, paths, phase, bin_width, psth, folder):
    """Input and target tensors as the benchmark's own notebooks make them."""
    interface, make, _ = modules
    train_splits, scored = PHASES[phase]
    skip = ["hand_pos", "cursor_pos", "eye_pos", "finger_pos"]
    out = {}
    for use in ("inputs", "target"):
        together = Path(tempfile.mkdtemp(dir=folder))
        for name in ("train",) if phase == "val" else ("train", "test" if use == "inputs" else "truth"):
            (together / Path(paths[name]).name).symlink_to(Path(paths[name]).resolve())
        data = interface.NWBDataset(str(together), skip_fields=skip)
        data.resample(bin_width)
        options = dict(save_file=False, return_dict=True)
        if use == "inputs":
            out |= make.make_train_input_tensors(data, dataset.name, list(train_splits), include_forward_pred=True, **options)
            out |= make.make_eval_input_tensors(data, dataset.name, scored, **options)
        else:
            target = make.make_eval_target_tensors(data, dataset.name, list(train_splits), scored, include_psth=psth, **options)
            out |= {f"target/{name}": value for name, value in target[dataset.group(bin_width)].items()}
    return out


def our_tensors(dataset, paths, phase, bin_width, psth):
    inputs = read_nlb(dataset.name, paths["train"], paths["test"], phase=phase, bin_width=bin_width).inputs()
    target = read_nlb(dataset.name, paths["train"], paths["truth"], phase=phase, bin_width=bin_width).target(psth=psth)
    return inputs | {f"target/{name}": value for name, value in target.items()}


def same(a, b):
    """Equal bytes, dtype and shape; lists of index arrays element by element."""
    if isinstance(a, list) or getattr(a, "dtype", None) == object:
        return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def tensors(options):
    modules = original(options.checkout)
    wrong = 0
    for name in options.datasets:
        dataset = DATASETS[name]
        folder = Path(options.folder or tempfile.mkdtemp()) / name
        paths = write_nlb_recording(simulate_nlb(name, scale=options.scale, seed=options.seed), folder)
        for phase in PHASES:
            for bin_width in BIN_WIDTHS:
                theirs = original_tensors(modules, dataset, paths, phase, bin_width, True, folder)
                ours = our_tensors(dataset, paths, phase, bin_width, True)
                different = sorted(set(theirs) ^ set(ours)) + [key for key in theirs if key in ours and not same(ours[key], theirs[key])]
                wrong += bool(different)
                print(f"{name} {phase} {bin_width} ms: {len(theirs)} tensors " + (f"DIFFER: {different}" if different else "equal"), flush=True)
                for key in different if options.verbose else ():
                    describe(key, theirs.get(key), ours.get(key))
    return wrong


def describe(key, theirs, ours):
    for who, x in (("theirs", theirs), ("ours", ours)):
        print("   ", key, who, None if x is None else (np.shape(x), getattr(x, "dtype", type(x))))
    if theirs is not None and ours is not None and np.shape(theirs) == np.shape(ours) and np.asarray(theirs).dtype.kind == "f":
        a, b = np.asarray(theirs, float), np.asarray(ours, float)
        print("    NaN differ", (np.isnan(a) != np.isnan(b)).sum(), "largest difference", np.nanmax(np.abs(a - b)),
              "entries", (np.nan_to_num(a) != np.nan_to_num(b)).sum(), "of", a.size)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="folder of a checkout of nlb_tools")
    parser.add_argument("what", choices=("tensors", "metrics", "speed"))
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--scale", type=float, default=0.3, help="share of the released trials and neurons (%(default)s)")
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the simulated files are kept (a temporary folder)")
    parser.add_argument("--psth", action="store_true", help="speed: with the PSTHs, which nlb_tools needs much memory for")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    sys.exit(bool(dict(tensors=tensors)[options.what](options)))


if __name__ == "__main__":
    main()
