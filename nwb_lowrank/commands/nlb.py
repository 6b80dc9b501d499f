"""nwb-lowrank nlb: the Neural Latents Benchmark, from the dandiset's files to a scored submission."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path


def add(commands):
    command = commands.add_parser("nlb", help="the Neural Latents Benchmark: fit, submit, score", description=__doc__)
    parts = command.add_subparsers(required=True, metavar="WHAT")
    _add_run(parts)
    score = parts.add_parser("evaluate", help="score a submission against a target file")
    score.set_defaults(run=evaluate)
    score.add_argument("target", help="HDF5, such as the released eval_data_test.h5 (whose sha256 is verified)")
    score.add_argument("submission", help="HDF5")
    score.add_argument("--json", action="store_true")
    merge = parts.add_parser("merge", help="one submission of several: the scaling datasets are scored together")
    merge.set_defaults(run=merge_files)
    merge.add_argument("submissions", nargs="+")
    merge.add_argument("--output", required=True, metavar="FILE")
    simulate = parts.add_parser("simulate", help="write a dataset's files, full size, of a known network")
    simulate.set_defaults(run=simulate_files)
    simulate.add_argument("dataset")
    simulate.add_argument("folder")
    simulate.add_argument("--scale", type=float, default=1.0, help="share of the released trials and neurons (%(default)s)")
    simulate.add_argument("--seed", type=int, default=0)
    return command


def _add_run(parts) -> None:
    command = parts.add_parser(
        "run", help="files -> fits -> submission -> scores", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fit a dataset of the benchmark and write a submission of the rates averaged over the seeds. Every stage is kept in\n"
        "the output folder: the same command goes on where it was interrupted, to the same bytes.\n\n"
        "recipes\n"
        "  paper  Pals et al. 2024: rank 36, 512 units, 64 particles, RAdam from random weights for 216,000 steps, acausal encoder,\n"
        "         rates averaged over 32 filters of 192 particles. Followed with --device cuda unless another is named.\n"
        "         About two days a fit on a CPU core; never run to its end by the authors of this package.\n"
        "  warm   rank 6, 64 units, 16 particles, begun from trajectories smoothed with a model made of the data, trajectories\n"
        "         drawn backwards at read-out; minutes a fit on one core. Followed on the CPU unless another is named.",
        epilog="example: nwb-lowrank nlb run mc_maze_small sub-Jenkins/ --bin 20 --rank 6 8 --seeds 0 1 2 3",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("dataset", help="mc_maze, mc_rtt, area2_bump, dmfc_rsg, mc_maze_large, mc_maze_medium or mc_maze_small")
    command.add_argument("path", nargs="*", help="the training file, or it and the test file, or a folder with them (else from DANDI)")
    command.add_argument("--bin", type=int, default=20, choices=(5, 20), help="ms (%(default)s)")
    command.add_argument("--phase", default="val", choices=("val", "test"), help="which split is scored (%(default)s)")
    command.add_argument("--recipe", choices=("warm", "paper"), help="of the fit, see above (warm; with --device cuda paper)")
    command.add_argument("--rank", type=int, nargs="+", metavar="R", help="one submission for each (by the recipe)")
    command.add_argument("--seeds", type=int, nargs="+", default=list(range(4)), metavar="N", help="one fit for each (0 1 2 3)")
    command.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the recipe, such as steps=200 hidden=128")
    command.add_argument("--few-shot", type=int, nargs="+", metavar="K", help="few-shot co-smoothing with K trials, and cross-decoding")
    command.add_argument("--target", metavar="FILE", help="score against this target (eval_data_test.h5, if it lies in the folder)")
    command.add_argument("--output", metavar="FOLDER", help="(nlb_DATASET_BIN_PHASE)")
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="fits at a time (%(default)s, one core each)")
    command.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run(options) -> None:
    from .. import nlb_job
    from ..nlb_recipe import usual
    from ..sources._nlb_table import dataset_of
    from ._nlb_report import report, report_dynamics, rows_of

    dataset = dataset_of(options.dataset)
    files = _files(dataset, options.path, options.phase)
    target = options.target or _released_target(options.path, options.phase)
    output = options.output or f"nlb_{dataset.name}_{options.bin}_{options.phase}"
    recipe = options.recipe or usual(options.device)
    plan = nlb_job.make_run(dataset, files, output, phase=options.phase, bin_width=options.bin, recipe=recipe, ranks=options.rank,
                            seeds=options.seeds, changes=_changes(options.set), device=options.device)  # fmt: skip
    cut = nlb_job.tensors(plan)
    print(f"{plan.group}, phase {plan.phase}: {(cut.split == 'train').sum()} training and {(cut.split == 'test').sum()} scored trials x "
          f"{cut.trials.bins} bins ({cut.trials.forecast} forward) x {cut.trials.neurons} neurons ({cut.trials.held_out.sum()} held out); "
          f"{len(plan.fits())} fits, {plan.named}", flush=True)  # fmt: skip
    try:
        nlb_job.fit_all(plan, options.jobs, lambda line: print(f"  fitted {line}", flush=True))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; what is done is in '{plan.folder}': the same command goes on from there") from None
    report(plan, [row for rank in plan.ranks for row in rows_of(plan, rank, target)])
    if options.few_shot:
        report_dynamics(plan, options.few_shot)


def _files(dataset, paths: list[str], phase: str) -> list[Path]:
    """The training file and, where there is one, the test file."""
    names = [dataset.train_file, dataset.test_file][: 1 + (phase == "test")]
    if not paths:
        return _downloaded(dataset, names)
    first = Path(paths[0])
    if not first.is_dir():
        return [Path(path) for path in paths]
    found = [next(iter(sorted(first.rglob(Path(name).name))), None) for name in names]
    if None in found:
        missing = Path(names[found.index(None)]).name
        raise ValueError(f"nlb run: no file '{missing}' in '{first}'. Download dandiset {dataset.dandiset}, or name the files.")
    return found


def _released_target(paths: list[str], phase: str) -> Path | None:
    """The benchmark's released test target, where it lies in the folder that was named."""
    from ..sinks.nlb import RELEASED

    folder = Path(paths[0]) if phase == "test" and paths else None
    return next(iter(sorted(folder.rglob(RELEASED[0]))), None) if folder is not None and folder.is_dir() else None


def _downloaded(dataset, names: list[str]) -> list[Path]:
    try:
        from ..sources.dandi import find_asset
    except ImportError:
        raise ValueError(
            f"nlb run: expected the path of the files; got none. Download dandiset {dataset.dandiset} "
            f"(https://dandiarchive.org/dandiset/{dataset.dandiset}) and name its folder."
        ) from None
    return [find_asset(f"DANDI:{dataset.dandiset}", name).download() for name in names]


def _changes(pairs: list[str]) -> dict:
    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"nlb run: --set takes NAME=VALUE; got {pair!r}. Write for example steps=200.")
        try:
            changes[name] = json.loads(value)
        except json.JSONDecodeError:
            changes[name] = value
    return changes


def evaluate(options) -> None:
    from ..sinks.nlb import read_about, score_submission
    from ._nlb_report import of_the_groups

    began = time.time()
    scores = score_submission(options.target, options.submission)
    if options.json:
        print(json.dumps(scores))
        return
    for split, values in scores.items():
        print("\n".join([split, *of_the_groups(split, read_about(options.submission))]))
        print("\n".join(f"  {name:<16} {value:.4f}" for name, value in values.items()))
    print(f"scored against {options.target} in {time.time() - began:.1f} s (cpu)")


def merge_files(options) -> None:
    from ..sinks.nlb import merge_submissions

    print(f"submission: {merge_submissions(options.submissions, options.output)}")


def simulate_files(options) -> None:
    from ..sinks.recording_nlb import write_nlb_recording
    from ..sources.synthetic_nlb import simulate_nlb

    paths = write_nlb_recording(simulate_nlb(options.dataset, seed=options.seed, scale=options.scale), options.folder)
    print("\n".join(f"{kind}: {path}" for kind, path in paths.items()))
