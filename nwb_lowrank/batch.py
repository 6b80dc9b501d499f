"""Many recordings or many settings, one fit each, on Dask: isolated, resumable, failures collected.

Every fit is one task; workers write the results themselves and hand back one row. The manifest beside the results says what is
done; an output that a killed run left behind is recognised by what it holds. So the same command again goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from . import job
from .sources._secrets import redacted

MANIFEST = "lowrank_batch.json"
UNEXPECTED_LINES = 12  # of a traceback, kept for failures that are not sentences
WHERE = ("file", "output", "folder", "debug", "threads", "device", "resume", "overwrite", "workers", "scheduler")  # not what is fitted


@dataclass(frozen=True)
class Task:
    """One fit: `options` are those of `nwb-lowrank fit`; results go to the run `run` of `output`."""

    source: str
    output: str
    run: str
    options: dict

    @property
    def key(self) -> str:
        return f"{self.output}:{self.run}"

    @property
    def fingerprint(self) -> str:
        """Changes when the fit would be another one; where it runs does not count."""
        counts = {name: value for name, value in self.options.items() if name not in WHERE and not callable(value)}
        return hashlib.sha256(json.dumps([self.source, counts], sort_keys=True, default=str).encode()).hexdigest()[:16]


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
            raise ValueError(f"batch: '{seen[task.key].source}' and '{task.source}' would both write run '{task.run}' of '{task.output}'. "
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
                yield _failed(futures[future], error, 0.0) if error is not None or future.status != "finished" else future.result()
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
        with LocalCluster(n_workers=max(1, workers), threads_per_worker=1, processes=True, dashboard_address=None,
                          silence_logs="CRITICAL", host="127.0.0.1") as cluster, Client(cluster) as client:  # fmt: skip
            yield client


def run_task(task: dict) -> dict:
    """One fit in a worker: its row, also when it fails. Called by Dask."""
    task, started = Task(**task), time.monotonic()
    try:
        with _claimed(task):
            found = _finished(task)
            results = found or job.fit_one(Namespace(**task.options), progress=False, checkpoint=_checkpoint(task))[1]
        return _row(task, results, None if found else round(time.monotonic() - started, 2))
    except (Exception, SystemExit) as error:  # whatever went wrong with one recording is that recording's row
        return _failed(task, error, time.monotonic() - started)


@contextmanager
def _claimed(task: Task) -> Iterator[None]:
    """A worker of a killed batch may still be at it: whoever comes second waits, and finds its results."""
    output = Path(task.output)
    lock = output.with_name(f".{output.name}.{task.run}.lock")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            yield
    finally:
        lock.unlink(missing_ok=True)
        with suppress(OSError):
            output.parent.rmdir()  # only when nothing was written there


def _checkpoint(task: Task) -> Path:
    output = Path(task.output)
    return output.with_name(f".{output.name}.{task.run}.{task.fingerprint}.checkpoint")


def _finished(task: Task):
    """Results of this very fit when a run that was killed before it could tell had written them already."""
    import nwb_lowrank as nl

    if not Path(task.output).exists() or task.options.get("overwrite") or task.run not in nl.list_runs(task.output):
        return None
    options, results = Namespace(**task.options), nl.read_results(task.output, task.run)
    same = (results.fit.model.rank, results.fit.seed, results.fit.settings) == (options.rank, options.seed, job.settings(options))
    return results if same else None  # else write_nwb says that there is a run of that name


def _row(task: Task, results, seconds: float | None) -> dict:
    scores = {score.metric: float(score.value) for score in results.scores}
    return dict(key=task.key, fingerprint=task.fingerprint, asset=task.source, run=task.run, trials=len(results.trials),
                units=results.trials.neurons, rank=results.fit.model.rank, seed=results.fit.seed, scores=scores,
                seconds=seconds, error=None, output=task.output)  # fmt: skip


def _failed(task: Task, error: BaseException | None, seconds: float) -> dict:
    sentence = isinstance(error, (ValueError, OSError, KeyError, TypeError, MemoryError, RuntimeError))
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
    if type(error).__name__ == "KilledWorker" or error is None:
        text = "the worker died, most likely for lack of memory. Use fewer --workers, larger bins or fewer trials."
    elif not sentence:
        text = f"{type(error).__name__}: {text}"
    trace = "".join(traceback.format_exception(error)).splitlines()[-UNEXPECTED_LINES:] if error is not None and not sentence else None
    return dict(key=task.key, fingerprint=task.fingerprint, asset=task.source, run=task.run, rank=task.options.get("rank"),
                seed=task.options.get("seed"), seconds=round(seconds, 2), error=redacted(text), output=task.output,
                trace=trace and [redacted(line) for line in trace])  # fmt: skip
