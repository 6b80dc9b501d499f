"""Our reading and scoring of the Neural Latents Benchmark against nlb_tools (MIT), the benchmark's own code.

    git clone https://github.com/neurallatents/nlb_tools
    python benchmarks/nlb_against_original.py nlb_tools tensors [--datasets mc_maze_small ...] [--scale 0.3] [--folder DIR] [--blocks 8]
    python benchmarks/nlb_against_original.py nlb_tools metrics [--cases 50]
    python benchmarks/nlb_against_original.py nlb_tools speed [--datasets mc_maze] [--scale 1] [--psth]

`tensors` simulates each dataset (once, if --folder is given), cuts it with both, and compares every tensor bit for bit, in both phases
and at both bin widths. nlb_tools makes PSTHs from float64 copies of the whole session: 11 GB each, several at a time, for MC_Maze. With
--blocks it is shown the neurons in so many blocks, all trials and the whole session each time, and its tensors are joined again.
`metrics` compares every score on random and on adversarial inputs. `speed` runs both in processes of their own and prints CPU seconds
and peak memory. `record` renews what the ordinary tests expect. nlb_tools is imported from the checkout; two of its lines are changed in
memory, for pandas 3. Nothing of it is needed by the package or kept here.
"""

import argparse
import copy
import hashlib
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
import pynwb
from nlb_random_cases import QUIRKS, random_case

from nwb_lowrank.sources._nlb_table import BIN_WIDTHS, DATASETS, PHASES
from nwb_lowrank.sources.nlb import read_nlb

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


def original_in_blocks(blocks, *arguments):
    """`original_tensors` of some neurons at a time, joined."""
    if blocks == 1:
        return original_tensors(*arguments)
    ids, held_out = unit_table(arguments[2]["train"])
    groups = [np.concatenate(pair) for pair in zip(*(np.array_split(np.sort(ids[held_out == kind]), blocks) for kind in (False, True)))]
    complete = pynwb.misc.Units.to_dataframe
    parts = []
    for group in groups:
        pynwb.misc.Units.to_dataframe = lambda units, group=group: complete(units).loc[lambda frame: frame.index.isin(group)]
        parts.append(original_tensors(*arguments))
    pynwb.misc.Units.to_dataframe = complete
    shown = [int(np.isin(group, ids[~held_out]).sum()) for group in groups]
    return {name: joined(name, [part[name] for part in parts], shown) for name in parts[0]}


def joined(name, parts, shown):
    """A tensor of all neurons, of tensors of blocks of them; `shown`: held-in neurons of each block, which come first in PSTHs."""
    if name.endswith("psth"):
        halves = [np.split(part, [size], axis=-1) for part, size in zip(parts, shown)]
        return np.concatenate([half for kind in zip(*halves) for half in kind], axis=-1)
    if "spikes" in name:
        return np.concatenate(parts, axis=-1)
    assert all(same(parts[0], part) for part in parts), f"{name} depends on the neurons"
    return parts[0]


def unit_table(path):
    """Ids of all units, and whether they are held out."""
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        units = io.read().units
        return units.id[:], units["heldout"].data[:].astype(bool)


def original_tensors(modules, dataset, paths, phase, bin_width, psth, folder):
    """Input and target tensors as the benchmark's own notebooks make them."""
    interface, make, _ = modules
    train_splits, scored = PHASES[phase]
    skip = ["hand_pos", "cursor_pos", "eye_pos", "finger_pos"]
    out = {}
    for use in ("inputs", "target"):
        with tempfile.TemporaryDirectory(dir=folder) as together:
            for name in ("train",) if phase == "val" else ("train", "test" if use == "inputs" else "truth"):
                (Path(together) / Path(paths[name]).name).symlink_to(Path(paths[name]).resolve())
            data = interface.NWBDataset(together, skip_fields=skip)
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


def simulated(name, options, folder):
    """Paths of the files of a simulated dataset, written unless they are there; PyTorch is loaded only here, to leave the memory of
    `speed` alone."""
    dataset = DATASETS[name]
    paths = {"train": folder / dataset.train_file, "test": folder / dataset.test_file, "truth": folder / "truth" / dataset.test_file}
    if all(path.exists() for path in paths.values()):
        return paths
    from nwb_lowrank.sinks.recording_nlb import write_nlb_recording
    from nwb_lowrank.sources.synthetic_nlb import simulate_nlb

    return write_nlb_recording(simulate_nlb(name, scale=options.scale, seed=options.seed), folder)


def same(a, b):
    """Equal bytes, dtype and shape; lists of index arrays element by element."""
    if isinstance(a, list) or getattr(getattr(a, "dtype", None), "kind", "") == "O":
        return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def tensors(options):
    modules = original(options.checkout)
    wrong = 0
    for name in options.datasets:
        dataset = DATASETS[name]
        folder = Path(options.folder or tempfile.mkdtemp()) / f"{name}_{options.scale:g}"
        paths = simulated(name, options, folder)
        for phase in options.phases:
            for bin_width in options.bins:
                theirs = original_in_blocks(options.blocks, modules, dataset, paths, phase, bin_width, True, folder)
                ours = our_tensors(dataset, paths, phase, bin_width, True)
                different = sorted(set(theirs) ^ set(ours)) + [key for key in theirs if key in ours and not same(ours[key], theirs[key])]
                wrong += bool(different)
                verdict = f"DIFFER: {different}" if different else "equal"
                print(f"{name} {phase} {bin_width} ms: {len(theirs)} tensors {verdict}", flush=True)
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


def metrics(options):
    from nwb_lowrank.metrics.nlb import evaluate_nlb

    _, _, evaluation = original(options.checkout)
    wrong = 0
    for kind in QUIRKS:
        worst, compared = 0.0, set()
        for case in range(options.cases):
            target, rates = random_case(np.random.default_rng([options.seed, case, *kind.encode()]), kind)
            before = copy.deepcopy((target, rates))
            ours = evaluate_nlb(target, rates)
            theirs = {split: values for part in evaluation.evaluate(*map(wrapped, (target, rates))) for split, values in part.items()}
            same_names = {s: list(v) for s, v in ours.items()} == {s: list(v) for s, v in theirs.items()}
            gaps = [gap(ours[split][name], value) for split, values in theirs.items() for name, value in values.items()]
            worst, compared = max(worst, *gaps), compared | {name.split("] ")[-1] for values in theirs.values() for name in values}
            wrong += not same_names or max(gaps) > 1e-9 or not unchanged(before, (target, rates))
        print(f"{kind}: {options.cases} cases of {', '.join(sorted(compared))}: largest relative difference {worst:.1e}", flush=True)
    return wrong


def unchanged(before, after):
    pairs = [(x[name], y[name]) for a, b in zip(before, after) for x, y in zip(a.values(), b.values()) for name in x]
    return all(same(x, y) for x, y in pairs)


def wrapped(groups):
    """Copies behind `[()]`, as h5py datasets are."""
    return {group: {name: Copied(value) for name, value in arrays.items()} for group, arrays in groups.items()}


class Copied:
    def __init__(self, value):
        self.value = value

    def __getitem__(self, key):
        return self.value.copy()


def gap(ours, theirs):
    if not np.isfinite(theirs) or not np.isfinite(ours):
        return 0.0 if np.array_equal(ours, theirs, equal_nan=True) else np.inf
    return abs(ours - theirs) / max(1, abs(theirs))


def record(options):
    """What nlb_tools makes of the awkward cases of the tests, into tests/nlb_expected.json."""
    tests = Path(__file__).resolve().parents[1] / "tests"
    sys.path.insert(0, str(tests))
    import nlb_cases

    interface, make, evaluation = original(options.checkout)
    expected = {}
    for name in nlb_cases.BEHAVIOR:
        for bin_width in BIN_WIDTHS:
            path = nlb_cases.write_case(Path(tempfile.mkdtemp()) / "case.nwb", name)
            data = interface.NWBDataset(str(path))
            if "finger_vel" in data.data or "hand_vel" in data.data:  # rows with unknown behaviour would be dropped from the spikes
                spikes_only = interface.NWBDataset(str(path), skip_fields=["hand_vel", "finger_vel"])
                spikes_only.resample(bin_width)
            data.resample(bin_width)
            keep = dict(save_file=False, return_dict=True)
            spikes = data if name == "dmfc_rsg" else spikes_only
            made = make.make_train_input_tensors(spikes, name, "train", include_forward_pred=True, **keep)
            made |= make.make_eval_input_tensors(spikes, name, "val", **keep)
            target = make.make_eval_target_tensors(data, name, "train", "val", include_psth=True, **keep)
            made |= next(iter(target.values()))
            expected[f"{name} {bin_width}"] = nlb_cases.summary(made)
    for kind in ("velocity", "timing"):
        target, rates = nlb_cases.score_case(kind)
        (values,) = (values for part in evaluation.evaluate(*map(wrapped, (target, rates))) for values in part.values())
        expected[kind] = {name: float(value) for name, value in values.items()}
    cases = [f" {json.dumps(case)}: {{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()) + "\n }"
             for case, values in expected.items()]  # fmt: skip
    (tests / "nlb_expected.json").write_text("{\n" + ",\n".join(cases) + "\n}\n")
    return 0


def speed(options):
    """Both on the same files, each in a process of its own: reading, inputs and target of phase val at 5 ms."""
    for name in options.datasets:
        folder = Path(options.folder or tempfile.mkdtemp()) / f"{name}_{options.scale:g}"
        paths = simulated(name, options, folder)
        figures = {}
        for who in ("ours", "original"):
            command = [sys.executable, __file__, options.checkout, f"one-{who}", "--datasets", name, "--folder", str(paths["train"])]
            done = subprocess.run(command + ["--psth"] * options.psth, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} {who}: failed ({done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode})", flush=True)
                continue
            figures[who] = json.loads(done.stdout.splitlines()[-1])
            cpu, wall, mb = (figures[who][kind] for kind in ("cpu", "wall", "mb"))
            print(f"{name} at scale {options.scale:g}, {who}: {cpu:.1f} s CPU, {wall:.1f} s, {mb:.0f} MB", flush=True)
        if len(figures) == 2:
            ours, theirs = figures["ours"], figures["original"]
            print(f"{name}: {theirs['cpu'] / ours['cpu']:.1f} times less CPU, {theirs['wall'] / ours['wall']:.1f} times faster, "
                  f"memory {ours['mb'] / theirs['mb']:.3f} of nlb_tools', {len(theirs['digests'])} tensors "
                  f"{'equal' if ours['digests'] == theirs['digests'] else 'DIFFER'}")  # fmt: skip
    return 0


def digest(value):
    """Of a tensor's shape, dtype and values, where one NaN is like another; of a list of index arrays, of all of them."""
    ragged = isinstance(value, list) or value.dtype == object
    parts = list(value) if ragged else [value]
    found = hashlib.sha256()
    for part in map(np.asarray, parts):
        part = np.where(np.isnan(part), np.array(np.nan, part.dtype), part) if part.dtype.kind == "f" else part
        found.update(f"{part.shape} {part.dtype.kind if ragged else part.dtype}".encode() + part.tobytes())
    return found.hexdigest()


def one(options, who):
    """Make the tensors once and say what it took, imports left out."""
    dataset, train = DATASETS[options.datasets[0]], options.folder
    modules = original(options.checkout) if who == "original" else None
    if modules is None:
        import scipy.signal  # noqa: F401
    used, began = os.times(), time.time()
    if who == "ours":
        benchmark = read_nlb(dataset.name, train, bin_width=5)
        made = benchmark.inputs() | benchmark.target(psth=options.psth)
    else:
        interface, make, _ = modules
        data = interface.NWBDataset(train, skip_fields=["hand_pos", "cursor_pos", "eye_pos", "finger_pos"])
        data.resample(5)
        keep = dict(save_file=False, return_dict=True)
        made = make.make_train_input_tensors(data, dataset.name, "train", include_forward_pred=True, **keep)
        made |= make.make_eval_input_tensors(data, dataset.name, "val", **keep)
        made |= next(iter(make.make_eval_target_tensors(data, dataset.name, "train", "val", include_psth=options.psth, **keep).values()))
    took, wall = sum(os.times()[:4]) - sum(used[:4]), time.time() - began
    mb = max(resource.getrusage(kind).ru_maxrss for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps(dict(cpu=took, wall=wall, mb=mb, digests={name: digest(value) for name, value in sorted(made.items())})))
    return 0


def one_ours(options):
    return one(options, "ours")


def one_original(options):
    return one(options, "original")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="folder of a checkout of nlb_tools")
    parser.add_argument("what", choices=("tensors", "metrics", "speed", "record", "one-ours", "one-original"))
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--scale", type=float, default=0.3, help="share of the released trials and neurons (%(default)s)")
    parser.add_argument("--phases", nargs="+", default=list(PHASES), choices=list(PHASES))
    parser.add_argument("--bins", nargs="+", type=int, default=list(BIN_WIDTHS), choices=BIN_WIDTHS, metavar="MS")
    parser.add_argument("--blocks", type=int, default=1, metavar="N", help="tensors: parts of the neurons that nlb_tools is shown in turn")
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the simulated files are kept (a temporary folder)")
    parser.add_argument("--psth", action="store_true", help="speed: with the PSTHs, which nlb_tools needs much memory for")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    ways = {"tensors": tensors, "metrics": metrics, "speed": speed, "record": record, "one-ours": one_ours, "one-original": one_original}
    sys.exit(bool(ways[options.what](options)))


if __name__ == "__main__":
    main()
