"""Our reading and scoring of the Neural Latents Benchmark against nlb_tools (MIT), the benchmark's own code.

    git clone https://github.com/neurallatents/nlb_tools
    python benchmarks/nlb_against_original.py nlb_tools tensors [--datasets mc_maze_small ...] [--scale 0.3] [--folder DIR]
    python benchmarks/nlb_against_original.py nlb_tools metrics [--cases 50]
    python benchmarks/nlb_against_original.py nlb_tools speed [--datasets mc_maze] [--scale 1] [--psth]

`tensors` simulates each dataset, cuts it with both, and compares every tensor bit for bit, in both phases and at both bin widths.
`metrics` compares every score on random and on adversarial inputs. `speed` runs both in processes of their own and prints CPU seconds
and peak memory. `record` renews what the ordinary tests expect. nlb_tools is imported from the checkout; two of its lines are changed in
memory, for pandas 3. Nothing of it is needed by the package or kept here.
"""

import argparse
import copy
import inspect
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

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


def simulated(name, options, folder):
    """Paths of the files of a simulated dataset; PyTorch is loaded only here, to leave the memory of `speed` alone."""
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
        folder = Path(options.folder or tempfile.mkdtemp()) / name
        paths = simulated(name, options, folder)
        for phase in PHASES:
            for bin_width in BIN_WIDTHS:
                theirs = original_tensors(modules, dataset, paths, phase, bin_width, True, folder)
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


def random_case(random, kind):
    """A target and a submission of small size, plain or with a quirk."""
    dmfc = kind.startswith("dmfc")
    name = "dmfc_rsg" if dmfc else str(random.choice(["mc_maze", "mc_rtt", "area2_bump", "mc_maze_small", "mc_maze_large"]))
    group = name + str(random.choice(["", "_20"]))
    train, scored, bins, seen, hidden, later = 14, 12, 20, 5, 4, 6
    rate = random.gamma(2, 0.3, (scored, bins, hidden))
    spikes = random.poisson(rate).astype(float)
    forward = {kind: random.poisson(0.5, (scored, later, n)).astype(float) for kind, n in (("heldin", seen), ("heldout", hidden))}
    target = {"eval_spikes_heldout": spikes, **{f"eval_spikes_{kind}_forward": x for kind, x in forward.items()}}
    for part, trials in (("train", train), ("eval", scored)):
        target[f"{part}_behavior"] = random.normal(0, 100, (trials, bins, 2))
        if dmfc:
            condition = np.arange(trials) % 3
            target[f"{part}_behavior"] = np.stack([condition, condition, condition, condition * 100.0, random.normal(700, 50, trials)], 1)
    rates = {f"{part}_rates_{kind}": random.gamma(2, 0.3, (trials, bins, n)) for part, trials in (("train", train), ("eval", scored))
             for kind, n in (("heldin", seen), ("heldout", hidden))}  # fmt: skip
    rates |= {f"eval_rates_{kind}_forward": random.gamma(2, 0.3, x.shape) for kind, x in forward.items()}
    target["psth"] = random.gamma(2, 0.3, (4, bins, seen + hidden))
    target["eval_cond_idx"] = np.array([np.arange(i, scored, 4) for i in range(3)] + [np.array([], int)], object)
    QUIRKS[kind](random, target, rates)
    return {group: target}, {group: rates}


def _some(random, x, value, share=0.1):
    x[random.random(x.shape) < share] = value


def _nothing(random, target, rates):
    pass


def _zero_rates(random, target, rates):
    for x in rates.values():
        _some(random, x, 0.0)


def _tiny_rates(random, target, rates):
    for x in rates.values():
        _some(random, x, 1e-14)
        _some(random, x, 1e6)


def _nan_spikes(random, target, rates):
    _some(random, target["eval_spikes_heldout"], np.nan)
    _some(random, target["eval_spikes_heldin_forward"], np.nan)
    rates["eval_rates_heldout"][np.isnan(target["eval_spikes_heldout"])] = np.nan
    for name in ("psth", "train_behavior", "eval_behavior"):  # whose scores would refuse NaN rates
        target.pop(name) if name == "psth" else target[name].fill(0)
    target["eval_behavior"][np.isnan(rates["eval_rates_heldout"]).any(2)] = np.nan
    target["eval_behavior"] += np.random.default_rng(0).normal(size=target["eval_behavior"].shape)


def _silent_neuron(random, target, rates):
    target["eval_spikes_heldout"][..., 0] = 0


def _no_spikes(random, target, rates):
    target["eval_spikes_heldout"][:] = 0


def _nan_behavior(random, target, rates):
    target["train_behavior"][:3] = np.nan
    target["eval_behavior"][:, -4:] = np.nan


def _groups(random, target, rates):
    for part in ("train", "eval"):
        bump = np.arange(len(target[f"{part}_behavior"])) % 2
        target[f"{part}_decode_mask"] = np.stack([bump == 0, bump == 1], 1)


def _flat_psth(random, target, rates):
    target["psth"][..., 1] = 0.25
    target["psth"][..., 2] = 0.25
    rates["eval_rates_heldin"][..., 2] = 0.25
    target["psth"][:, -5:] = np.nan


def _constant_rates(random, target, rates):
    for x in rates.values():
        x[:] = x.mean((0, 1))


def _jitter(random, target, rates):
    target["eval_jitter"] = np.arange(12) % 5 - 2
    target["psth"][:, :2] = target["psth"][:, -2:] = np.nan


def _segment(random, target, rates):
    for trial, length in enumerate(random.integers(5, 15, len(target["eval_spikes_heldout"]))):
        target["eval_spikes_heldout"][trial, :-length] = np.nan
    target["eval_behavior"][::6] = np.nan


QUIRKS = {"plain": _nothing, "zero rates": _zero_rates, "tiny and huge rates": _tiny_rates, "NaN spikes": _nan_spikes,
          "silent neuron": _silent_neuron, "no spikes": _no_spikes, "NaN behaviour": _nan_behavior, "groups": _groups,
          "flat psth": _flat_psth, "constant rates": _constant_rates, "jitter": _jitter,
          "dmfc": _nothing, "dmfc segment": _segment}  # fmt: skip


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
        paths = {kind: folder / DATASETS[name].train_file for kind in ("train",)}
        if not paths["train"].exists():
            simulated(name, options, folder)
        figures = {}
        for who in ("ours", "original"):
            command = [sys.executable, __file__, options.checkout, f"one-{who}", "--datasets", name, "--folder", str(paths["train"])]
            done = subprocess.run(command + ["--psth"] * options.psth, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} {who}: failed ({done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode})", flush=True)
                continue
            figures[who] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name} at scale {options.scale:g}, {who}: {figures[who]['cpu']:.1f} s CPU, {figures[who]['mb']:.0f} MB", flush=True)
        if len(figures) == 2:
            print(f"{name}: {figures['original']['cpu'] / figures['ours']['cpu']:.1f} times faster, memory "
                  f"{figures['ours']['mb'] / figures['original']['mb']:.3f} of nlb_tools'")  # fmt: skip
    return 0


def one(options, who):
    """Make the tensors once and say what it took, imports left out."""
    dataset, train = DATASETS[options.datasets[0]], options.folder
    modules = original(options.checkout) if who == "original" else None
    if modules is None:
        import scipy.signal  # noqa: F401
    used = os.times()
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
    took = sum(os.times()[:4]) - sum(used[:4])
    mb = max(resource.getrusage(kind).ru_maxrss for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps(dict(cpu=took, mb=mb, arrays=len(made))))
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
