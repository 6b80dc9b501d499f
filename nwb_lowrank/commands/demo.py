"""nwb-lowrank demo: the whole job on a simulated recording."""

from __future__ import annotations

from pathlib import Path


def add(commands):
    command = commands.add_parser("demo", help="the whole job on a simulated recording")
    command.set_defaults(run=run)
    command.add_argument("--output", default="demo_output", metavar="FOLDER", help="(%(default)s)")
    command.add_argument("--quick", action="store_true", help="a tenth of the training: only to see that it works")
    command.add_argument("--seed", type=int, default=0)
    return command


def run(options) -> None:
    from .. import demo

    demo.run(Path(options.output), seed=options.seed, quick=options.quick)
