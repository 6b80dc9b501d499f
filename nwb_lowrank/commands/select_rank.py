"""nwb-lowrank select-rank: how many latent dimensions a recording supports."""

from __future__ import annotations

import argparse

import nwb_lowrank as nl

from . import fit
from ._texts import writable


def add(commands):
    command = commands.add_parser(
        "select-rank", help="how many latent dimensions a recording supports",
        description="Fit several ranks on all folds of the trials but one, score each on that one, and recommend the smallest rank whose "
        "score is within one standard error of the best. Nothing is written. Takes the options of `fit`; --test is kept out of it all.",
        epilog="example: nwb-lowrank select-rank session.nwb --bin 0.02 --ranks 1 2 3 5 8 --folds 3",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("file")
    fit.add_options(command, many=False, rank=False, output=False)
    group = command.add_argument_group("cross-validation")
    group.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8], metavar="R", help="(1 2 3 4 6 8)")
    group.add_argument("--folds", type=int, default=5, help="(%(default)s)")
    group.add_argument("--csv", metavar="FILE", help="write the score of every rank and fold there")
    return command


def run(options) -> None:
    from .. import job

    if options.csv:
        writable(options.csv, "select-rank")
    job.set_threads(options.threads)
    options.rank = max(options.ranks)
    with job.located(options) as (source, _):
        trials, split = job.cut(options, source)
    print(job.describe(trials, split))
    kept = trials.select(split == "train")
    with job.Bars() as bars:
        found = nl.select_rank(
            lambda rank: job.build(argparse.Namespace(**{**vars(options), "rank": rank}), trials), kept, options.ranks,
            job.settings(options), folds=options.folds, seed=options.seed, device=options.device, on_step=bars.step,
            on_fold=lambda done, total, row: bars.say(f"{done}/{total}  " + "  ".join(f"{k} {v:.4g}" for k, v in row.items())),
        )  # fmt: skip
    print(f"\n{found.table.to_string(index=False, float_format='%.4f')}")
    print(f"\nrank {found.rank}: the smallest within one standard error of the best {found.by} "
          f"({options.folds} folds, {kept.bin_width * 1e3:.4g} ms bins)")  # fmt: skip
    if options.csv:
        found.folds.to_csv(options.csv, index=False)
