"""Many recordings or many settings, one fit each, on Dask: isolated, resumable, failures collected.

Every fit is one task; workers write the results themselves and hand back one row. The manifest beside the results says what is
done; an output that a killed run left behind is recognised by what it holds. So the same command again goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from .tasks import Task, failed, run_task, tasks_of, told

MANIFEST = "lowrank_batch.json"


def fit_all(
    tasks: list[Task], folder, *, workers: int = 2, scheduler: str | None = None, on_row: Callable[[dict, int, int], None] | None = None
) -> pd.DataFrame:
    """Run every task that is not done yet.

    Parameters
    ----------
    tasks : list of Task
    folder : path
        Holds the manifest. One batch at a time.
    workers : int
        Processes of the local cluster.
    scheduler : str or None
        Address of a running Dask scheduler (dask-jobqueue, Kubernetes, DANDI Hub, …) instead of a local cluster; its workers
        need this package, the folder and, for embargoed data, the token in their own environment.
    on_row : function of (row, done, total), or None
        Called for every task as it ends, also for those done before.

    Returns
    -------
    DataFrame
        One row a task in the order given: asset, run, trials, units, rank, seed, one column a score, seconds, error, output.

    Raises
    ------
    ValueError
        Two tasks that would write the same run, or another batch at work in this folder.
    ConnectionError
        No scheduler at that address.
    """
    _check_distinct(tasks)
    manifest = Manifest(Path(folder) / MANIFEST)
    with manifest.alone():
        rows = manifest.done(tasks)
        told = 0
        for row in rows.values():
            told += 1
            if on_row:
                on_row(row, told, len(tasks))
        for row in _ended([task for task in tasks if task.key not in rows], workers, scheduler):
            rows[row["key"]] = row
            manifest.add(row)
            told += 1
            if on_row:
                on_row(row, told, len(tasks))
    return table([rows[task.key] for task in tasks])


def fit_many(
    sources: list, *, rank, folder, workers: int = 2, scheduler: str | None = None,
    on_row: Callable[[dict, int, int], None] | None = None, **options,
) -> pd.DataFrame:  # fmt: skip
    """Fit many recordings, or one with many settings, in parallel; results go to `folder`, named for DANDI.

    Parameters
    ----------
    sources : list of str, path or Asset
        NWB files, or places on DANDI.
    rank, seed : int or list of int
        Every combination is one fit, and one run in the recording's derived file.
    folder : path
        Calling again with the same arguments goes on where it stopped.
    workers, scheduler, on_row
        See `fit_all`.
    **options
        Every other option of `nwb-lowrank fit`, by its name there: bin=0.02, align="go_cue", units="rate > 1", steps=100, stream=True, …

    Returns
    -------
    DataFrame
        See `fit_all`.

    Raises
    ------
    TypeError
        No such option.

    Examples
    --------
    In a script, below `if __name__ == "__main__":`, for the workers import it.

    >>> fit_many(["a.nwb", "DANDI:000140/draft/sub-1/"], rank=[2, 3], folder="fits", bin=0.02)  # doctest: +SKIP
    """
    from .cli import build_parser

    chosen = build_parser().parse_args(["fit", "x", "--rank", "1"])
    given = dict(options, rank=rank, folder=str(folder))
    strangers = sorted(set(given) - set(vars(chosen)))
    if strangers:
        raise TypeError(f"fit_many: no option {', '.join(strangers)}; see nwb-lowrank fit --help for all of them.")
    chosen.__dict__ |= given | {name: list(np.atleast_1d(given.get(name, getattr(chosen, name))).tolist()) for name in ("rank", "seed")}
    sources = [source if hasattr(source, "url") else str(source) for source in sources]
    return fit_all(tasks_of(chosen, sources), folder, workers=workers, scheduler=scheduler, on_row=on_row)


def table(rows: list[dict]) -> pd.DataFrame:
    """Rows of the manifest as a table, one column a score."""
    fixed = ("asset", "run", "trials", "units", "rank", "seed")
    return pd.DataFrame([{name: row.get(name) for name in fixed} | (row.get("scores") or {})
                         | {name: row.get(name) for name in ("seconds", "error", "output")} for row in rows])  # fmt: skip


class Manifest:
    """What became of every task, in one small file that is always whole."""

    def __init__(self, path: Path):
        self.path, self.rows = path, {}
        if path.exists():
            try:
                self.rows = json.loads(path.read_text())["rows"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"batch: '{path}' is not a manifest of this package. Move it away, or use another folder.") from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Refuse a second batch in the same folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"batch: another batch is at work in '{self.path.parent}'. Wait for it, or use another folder.") from None
        try:
            self.__init__(self.path)  # what another batch has done since
            yield
        finally:
            lock.release()

    def done(self, tasks: list[Task]) -> dict[str, dict]:
        """Rows of the tasks that ended well with these very settings; failures are tried again."""
        known = {task.key: self.rows.get(task.key) for task in tasks}
        return {task.key: row for task in tasks if (row := known[task.key]) and not row["error"]
                and row["fingerprint"] == task.fingerprint and Path(row["output"]).exists()}  # fmt: skip

    def add(self, row: dict) -> None:
        """Written beside and renamed: a killed process leaves the manifest before or after, never a part."""
        self.rows[row["key"]] = row
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        with open(beside, "w") as file:
            json.dump(dict(version=1, rows=self.rows), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)


def _check_distinct(tasks: list[Task]) -> None:
    if not tasks:
        raise ValueError("batch: expected at least one recording; got none. Pass files, or a glob that matches some.")
    seen: dict[str, Task] = {}
    for task in tasks:
        if task.key in seen:
            both = f"'{told(seen[task.key].source)}' and '{told(task.source)}'"
            raise ValueError(f"batch: {both} would both write run '{task.run}' of '{task.output}'. "
                             "Pass other names, or fit them in two folders.")  # fmt: skip
        seen[task.key] = task


def _ended(tasks: list[Task], workers: int, scheduler: str | None) -> Iterator[dict]:
    """Rows of the tasks, in the order in which they end."""
    if not tasks:
        return
    from distributed import as_completed

    with _client(min(workers, len(tasks)), scheduler) as client:
        futures = {client.submit(run_task, asdict(task), key=f"lowrank-{task.fingerprint}-{os.getpid()}-{index}", pure=False): task
                   for index, task in enumerate(tasks)}  # fmt: skip
        try:
            for future in as_completed(list(futures)):
                error = future.exception() if future.status != "finished" else None
                yield failed(futures[future], error, 0.0) if error is not None or future.status != "finished" else future.result()
        except KeyboardInterrupt:
            client.cancel(list(futures), force=True)
            raise


@contextmanager
def _client(workers: int, scheduler: str | None):
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(f"batch: several fits need Dask; got '{error}'. Install it: pip install 'nwb_lowrank[batch]'") from None
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=20)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectionError(f"batch: no Dask scheduler answers at '{scheduler}' ({error}). Check the address.") from None
        with client:
            yield client
        return
    # A worker that dies (out of memory) fails its one task; the default would take three workers with it.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        with LocalCluster(n_workers=max(1, workers), threads_per_worker=1, processes=True, dashboard_address=":0",
                          silence_logs="CRITICAL", host="127.0.0.1") as cluster, Client(cluster) as client:  # fmt: skip
            yield client
