"""One fit of many: what it is, and how a worker does it. A worker writes the results itself and hands back one row."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from filelock import FileLock

from . import job
from .sources._dandi_address import is_url
from .sources._secrets import redacted, shown

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


def tasks_of(options, sources: list) -> list:
    """One task a source, rank and seed. Places on DANDI are resolved once, here: every worker fits the same version."""
    from .sinks.names import upload_path
    from .sources.remote import find_remote, is_remote

    tasks, plain = [], {name: value for name, value in vars(options).items() if name not in ("run", "debug")}
    sweep = list(product(options.rank, options.seed))
    for source in sources:
        if is_remote(source) or hasattr(source, "url"):
            asset = find_remote(source) if isinstance(source, str) else source
            source, output = asset.url, Path(options.folder or ".") / upload_path(None, asset.path)
        elif options.in_place:
            source = output = Path(source).absolute()
        else:
            source = Path(source).absolute()  # workers may run elsewhere
            output = _named(source, options.folder)
        for rank, seed in sweep:
            name = options.run_name
            name += f"-rank{rank}" * (len(options.rank) > 1) + f"-seed{seed}" * (len(options.seed) > 1)
            target = None if options.in_place else str(output.absolute())
            given = plain | dict(file=str(source), rank=rank, seed=seed, run_name=name, output=target)
            tasks.append(Task(str(source), str(output.absolute()), name, given))
    return tasks


def _named(source: Path, folder: str | None) -> Path:
    from .sinks.names import NoSubject, upload_path
    from .sinks.nwb import default_output

    beside = default_output(source)
    if folder is None:
        return beside
    try:
        return Path(folder) / upload_path(source)
    except NoSubject:
        raise
    except (OSError, ValueError):  # what cannot be read is a row of the table like any other failure
        return Path(folder) / beside.name


def run_task(task: dict) -> dict:
    """One fit in a worker: its row, also when it fails. Called by Dask."""
    task, started = Task(**task), time.monotonic()
    try:
        with _claimed(task):
            found = _finished(task)
            results = found or job.fit_one(Namespace(**task.options), progress=False, checkpoint=_checkpoint(task))[1]
        return _row(task, results, None if found else round(time.monotonic() - started, 2))
    except (Exception, SystemExit) as error:  # whatever went wrong with one recording is that recording's row
        return failed(task, error, time.monotonic() - started)


@contextmanager
def _claimed(task: Task) -> Iterator[None]:
    """A worker of a killed batch may still be at it: whoever comes second waits, and finds its results."""
    output = Path(task.output)
    lock = output.with_name(f".{output.name}.{task.run}.lock")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    finally:
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
    return dict(key=task.key, fingerprint=task.fingerprint, asset=told(task.source), run=task.run, trials=len(results.trials),
                units=results.trials.neurons, rank=results.fit.model.rank, seed=results.fit.seed, scores=scores,
                seconds=seconds, error=None, output=task.output)  # fmt: skip


def told(source: str) -> str:
    """A source as it may be shown and kept: a URL without its query, where keys and signatures are."""
    return shown(source) if is_url(source) else source


def failed(task: Task, error: BaseException | None, seconds: float) -> dict:
    sentence = isinstance(error, (ValueError, OSError, KeyError, TypeError, MemoryError, RuntimeError))
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
    if type(error).__name__ == "KilledWorker" or error is None:
        text = "the worker died, most likely for lack of memory. Use fewer --workers, larger bins or fewer trials."
    elif not sentence:
        text = f"{type(error).__name__}: {text}"
    trace = "".join(traceback.format_exception(error)).splitlines()[-UNEXPECTED_LINES:] if error is not None and not sentence else None
    return dict(key=task.key, fingerprint=task.fingerprint, asset=told(task.source), run=task.run, rank=task.options.get("rank"),
                seed=task.options.get("seed"), seconds=round(seconds, 2), error=redacted(text), output=task.output,
                trace=trace and [redacted(line) for line in trace])  # fmt: skip
