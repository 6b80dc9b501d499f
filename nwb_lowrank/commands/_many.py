"""Several fits from one command line: tasks, live progress, and a table at the end."""

from __future__ import annotations

import os
from argparse import Namespace
from itertools import product
from pathlib import Path

from tqdm import tqdm


def run_many(options, sources: list) -> int:
    """Fit every source (a path, a place on DANDI, or an Asset) with every rank and seed; exit status 1 when some failed."""
    from ..batch import fit_all

    if options.output is not None:
        raise ValueError("nwb-lowrank fit: --output names one file; several fits need --folder FOLDER. Pass that instead.")
    tasks = tasks_of(options, sources)
    folder = Path(options.folder or os.path.commonpath([Path(task.output).absolute().parent for task in tasks]))
    workers = options.workers or max(1, (os.cpu_count() or 1) // 2)
    if options.dandiset:
        from ..sinks.dandi import write_yaml

        write_yaml(folder, options.dandiset)
    print(f"{len(tasks)} fits; results and {folder / 'lowrank_batch.json'} (the same command again goes on where this one stops)")
    failed = 0
    with tqdm(total=len(tasks), unit="fit", dynamic_ncols=True, smoothing=0.1) as bar:

        def show(row: dict, done: int, total: int) -> None:
            nonlocal failed
            failed += row["error"] is not None
            bar.update()
            bar.set_postfix_str(f"{failed} failed, last {Path(row['output']).name}", refresh=True)
            if row["error"] is not None:
                bar.write(f"failed: {row['asset']} ({row['run']}): {row['error']}")

        table = fit_all(tasks, folder, workers=workers, scheduler=options.scheduler, on_row=show)
    print(f"\n{text(table)}\n\n{len(table) - failed} of {len(table)} fits done" + f", {failed} failed" * bool(failed))
    return 1 if failed else 0


def tasks_of(options, sources: list) -> list:
    """One task a source, rank and seed. Places on DANDI are resolved once, here: every worker fits the same version."""
    from ..batch import Task
    from ..sinks.names import upload_path
    from ..sinks.nwb import default_output
    from ..sources._dandi_address import is_dandi

    tasks, plain = [], {name: value for name, value in vars(options).items() if name not in ("run", "debug")}
    sweep = list(product(options.rank, options.seed))
    for source in sources:
        if is_dandi(source) or hasattr(source, "url"):
            from ..sources.dandi import find_asset

            asset = find_asset(source) if isinstance(source, str) else source
            source, output = asset.url, Path(options.folder or ".") / upload_path(None, asset.path)
        elif options.in_place:
            output = Path(source)
        else:
            output = Path(options.folder) / upload_path(source) if options.folder else default_output(Path(source))
        for rank, seed in sweep:
            name = options.run_name
            name += f"-rank{rank}" * (len(options.rank) > 1) + f"-seed{seed}" * (len(options.seed) > 1)
            target = None if options.in_place else str(output)
            given = plain | dict(file=source, rank=rank, seed=seed, run_name=name, output=target)
            tasks.append(Task(source, str(output), name, vars(Namespace(**given))))
    return tasks


def text(table) -> str:
    """The table for a screen: names instead of paths, errors below."""
    shown = table.drop(columns=["output", "error"]).copy()
    shown["asset"] = [str(name).rsplit("/", 1)[-1] for name in shown["asset"]]
    shown["error"] = ["" if error is None or error != error else "failed" for error in table["error"]]
    lines = [shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")]
    lines += [f"  {asset}: {error}" for asset, error in zip(shown["asset"], table["error"]) if isinstance(error, str)]
    return "\n".join(lines)
