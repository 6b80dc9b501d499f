"""nwb-lowrank restarts: the same fit from several seeds, and what the fits agree on."""

from __future__ import annotations

import numpy as np

import nwb_lowrank as nl

from . import fit
from ._texts import writable


def add(commands):
    command = commands.add_parser(
        "restarts", help="the same fit from several seeds, and what the fits agree on",
        description="Fit once a seed and compare the fits on the test trials in what the model identifies: decay, the noise that neurons "
        "see, predicted rates, latents up to a linear map, eigenvalues at the fixed points. Takes the options of `fit`.",
        epilog="example: nwb-lowrank restarts session.nwb --bin 0.02 --rank 5 --seeds 0 1 2 --save-best best.safetensors",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("file")
    fit.add_options(command, many=False, output=False)
    group = command.add_argument_group("restarts")
    group.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(0 1 2); --seed decides what is kept back, for all alike")
    group.add_argument("--save-best", metavar="FILE", help="write the fit with the best bound there (`nwb_lowrank.Fit.load` reads it)")
    group.add_argument("--search", help="of the fixed points: certified or newton (by the nonlinearity)")
    return command


def run(options) -> None:
    from .. import job

    if options.save_best:
        writable(options.save_best, "restarts")
    job.set_threads(options.threads)
    with job.located(options) as (source, _):
        trials, split = job.cut(options, source)
    if not (split == "test").any():
        raise ValueError("nwb-lowrank restarts: fits are compared on test trials; got --test 0. Keep some back.")
    print(job.describe(trials, split))
    search = None if options.search is None else job.member("searches", options.search)()
    with job.Bars() as bars:
        found = nl.restarts(
            lambda: job.build(options, trials), trials.select(split == "train"), trials.select(split == "test"), job.settings(options),
            seeds=options.seeds, search=search, device=options.device, on_step=bars.step,
            on_seed=lambda done, total, row: bars.say(f"{done}/{total}  " + "  ".join(f"{k} {v:.4g}" for k, v in row.items())),
        )  # fmt: skip
    print(f"\n{found.table.to_string(index=False, float_format='%.4f')}")
    print("\nspread over the seeds: " + ", ".join(f"{name} {found.table[name].mean():.4f} ± {found.table[name].std():.4f}"
          for name in found.table.select_dtypes(np.floating)))  # fmt: skip
    print("\nagreement of every two seeds (rates, latents: R², 1 is perfect; the others are differences, 0 is perfect)\n"
          + found.agreement.to_string(index=False, float_format="%.4f"))  # fmt: skip
    if options.save_best:
        print(f"\nbest by bound, seed {found.table['seed'][found.best]}: {found.outcomes[found.best].fit.save(options.save_best)}")
