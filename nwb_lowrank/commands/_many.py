"""Several fits from one command line: tasks, live progress, and a table at the end."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm


def run_many(options, sources: list) -> int:
    """Fit every source (a path, a place on DANDI, or an Asset) with every rank and seed; exit status 1 when some failed."""
    from ..batch import fit_all
    from ..tasks import tasks_of

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


def text(table) -> str:
    """The table for a screen: names instead of paths, errors below."""
    shown = table.drop(columns=["output", "error"]).copy()
    shown["asset"] = [str(name).rsplit("/", 1)[-1] for name in shown["asset"]]
    shown["error"] = ["" if error is None or error != error else "failed" for error in table["error"]]
    lines = [shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")]
    lines += [f"  {asset}: {error}" for asset, error in zip(shown["asset"], table["error"]) if isinstance(error, str)]
    return "\n".join(lines)
