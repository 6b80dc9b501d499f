"""nwb-lowrank evaluate: score the fit in a written file."""

from __future__ import annotations

import json

import nwb_lowrank as nl

from ._texts import results_options, scores_text


def add(commands):
    command = commands.add_parser("evaluate", help="score the fit in a written file", description="Score the fit in a written file: "
                                  "everything comes from that file alone.")  # fmt: skip
    command.set_defaults(run=run)
    results_options(command)
    command.add_argument("--infer", action="store_true", help="infer again with the stored model instead of using the stored rates")
    command.add_argument("--generative", type=int, metavar="DRAWS", help="also let the fit run freely, so many times, and score that")
    return command


def run(options) -> None:
    results = nl.read_results(options.file, options.run_name)
    posterior = results.posterior
    if options.infer:
        posterior = nl.infer(results.fit, results.trials, **posterior.settings)
    scores = nl.evaluate(posterior, results.trials, results.split)
    if options.generative:
        from .. import job

        scores += job.generate(results, draws=options.generative, prior=False, seed=0)[1]
    if options.json:
        print(json.dumps([vars(score) for score in scores]))
    else:
        print(scores_text(scores))
