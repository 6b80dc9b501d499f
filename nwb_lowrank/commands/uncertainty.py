"""nwb-lowrank uncertainty: bootstrap over trials of the fit in a written file."""

from __future__ import annotations

import nwb_lowrank as nl

from ._texts import results_options


def add(commands):
    command = commands.add_parser(
        "uncertainty", help="bootstrap over trials: how sure are score and eigenvalues",
        description="Draw trials with replacement: test trials for the score of the fit as it is, then training trials for refits, whose "
        "decay and eigenvalues at every fixed point show how much the recording leaves open. Refits go on from the fit: intervals beside "
        "its estimate say that it had not converged.",
        epilog="example: nwb-lowrank uncertainty session_lowrank.nwb --refits 20",
    )  # fmt: skip
    command.set_defaults(run=run)
    results_options(command, json_too=False)
    command.add_argument("--refits", type=int, default=20, metavar="N", help="refits to drawn trials; 0: the score alone (%(default)s)")
    command.add_argument("--level", type=float, default=0.95, help="of the intervals (%(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads (OMP_NUM_THREADS, else half of the cores, at most 4)")
    return command


def run(options) -> None:
    from .. import job

    job.set_threads(options.threads)
    results = nl.read_results(options.file, options.run_name)
    test = results.split == "test"
    trials = results.trials.select(test)
    if test.any() and trials.held_out.any():
        posterior = job.rows_of(results.posterior, test)
        found = nl.bootstrap_score(posterior, trials, level=options.level, seed=options.seed)
        print(f"the fit as it is, {test.sum()} test trials drawn with replacement:\n{_text(found)}\n")
    if options.refits:
        with job.Bars() as bars:
            found = nl.bootstrap_fit(
                results.fit, results.trials.select(~test), trials if test.any() else None, repeats=options.refits, level=options.level,
                seed=options.seed, on_repeat=lambda done, total: bars.count("refits", done, total),
            )  # fmt: skip
        print(f"refits to training trials drawn with replacement ({options.level:.0%} intervals):\n{_text(found)}")


def _text(found) -> str:
    return found.table.to_string(index=False, float_format="%.4f")
