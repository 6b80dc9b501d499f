"""nwb-lowrank results: the runs in a file, as tables for other programs, and out of it again."""

from __future__ import annotations

from pathlib import Path

import nwb_lowrank as nl

ENDINGS = dict(csv="", npz=".npz", xarray=".nc")


def add(commands):
    command = commands.add_parser(
        "results", help="list the runs in a file, export one, or remove one",
        description="List the runs in a file; write one as long tidy tables (csv: a folder), arrays (npz) or netCDF (xarray); "
        "or take one out of the file, by a verified copy.",
        epilog="examples: nwb-lowrank results session_lowrank.nwb\n"
        "          nwb-lowrank results session_lowrank.nwb --export csv\n"
        "          nwb-lowrank results session_lowrank.nwb rm fit0",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("file")
    command.add_argument("action", nargs="*", metavar="rm RUN", help="remove this run")
    command.add_argument("--run", dest="run_name", metavar="NAME", help="run to export, when the file holds several")
    command.add_argument("--export", choices=ENDINGS, help="write tables for other programs")
    command.add_argument("--output", metavar="PATH", help="where to (beside the file)")
    command.add_argument("--source", metavar="FILE", help="the recording that a sidecar explains, to cut its trials from again")
    command.add_argument("--backup", action="store_true", help="with rm: keep the old file as FILE.bak")
    command.add_argument("--json", action="store_true", help="print JSON")
    return command


def run(options) -> None:
    if options.action:
        _remove(options)
    elif options.export:
        _export(options)
    else:
        _list(options)


def _list(options) -> None:
    from ..sinks.runs import describe_runs

    runs = describe_runs(options.file)
    if options.json:
        print(runs.reset_index().to_json(orient="records"))
    elif not len(runs):
        print("no results of this package. Make some: nwb-lowrank fit FILE")
    else:
        print(runs.T.to_string(na_rep="-", float_format="{:.4g}".format))


def _remove(options) -> None:
    from ..sinks.runs import remove_run

    if len(options.action) != 2 or options.action[0] != "rm":
        got = " ".join(options.action)
        raise ValueError(f"nwb-lowrank results: after FILE comes 'rm RUN'; got '{got}'. Did you mean --run or --export?")
    print(f"removed run '{options.action[1]}' from {remove_run(options.file, options.action[1], backup=options.backup)}")


def _export(options) -> None:
    from ..sinks import tables

    results = nl.read_results(options.file, options.run_name, source=options.source)
    source = Path(options.file)
    name = f"{source.stem}_{options.run_name or nl.list_runs(options.file)[0]}{ENDINGS[options.export]}"
    path = Path(options.output) if options.output else source.with_name(name)
    print(f"written: {getattr(tables, f'export_{options.export}')(results, path)}")
