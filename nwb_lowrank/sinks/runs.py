"""Runs in a written file: what they are, and how to take one out again."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pynwb import NWBHDF5IO

from ..sources._nwb_file import RESULTS_MODULE, frame, open_nwb, result_runs
from ._flat import unflatten
from ._lock import only_writer
from ._nwb_tables import names_of
from ._safely import new_nwb, replacing


def describe_runs(path) -> pd.DataFrame:
    """One row a run, read from its tables alone: nothing is cut again and no model is built.

    Parameters
    ----------
    path : str, path, file-like object or open NWBFile

    Returns
    -------
    DataFrame
        Indexed by run: rank, hidden, neurons, held_out, windows, test (windows), bins, bin_width (s), observation, seed, sidecar,
        fixed_points, complete, version (of nwb_lowrank), and one column for every score of the test split.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No such file, or not a readable NWB file.
    """
    with open_nwb(path, "describe_runs") as (nwb, _):
        runs = {run: _facts(nwb.processing[RESULTS_MODULE].data_interfaces, run) for run in result_runs(nwb)}
    return pd.DataFrame.from_dict(runs, orient="index").rename_axis(index="run")


def _facts(objects, run: str) -> dict:
    rows = frame(objects[f"{run}_settings"])
    settings = unflatten(dict(zip(rows["key"], rows["value"])))
    windows, readout = objects[f"{run}_windows"], frame(objects[f"{run}_readout"])
    recipe, points = settings["fit"]["model"]["arguments"], settings.get("fixed_points") or {}
    scores = frame(objects[f"{run}_metrics"]) if f"{run}_metrics" in objects else pd.DataFrame(columns=["metric", "split", "value"])
    split = np.asarray(windows["split"].data[:])
    return dict(
        rank=recipe.get("rank"), hidden=recipe.get("units"), neurons=len(readout), held_out=int(readout["held_out"].sum()),
        windows=len(windows), test=int((split.astype(str) == "test").sum()), bins=settings["trials"]["bins"],
        bin_width=settings["trials"]["bin_width"], observation=recipe.get("observation", {}).get("class", "").rpartition(":")[2],
        seed=settings["fit"]["seed"], sidecar=f"{run}_counts" in objects or "counts" in windows.colnames,
        fixed_points=points.get("count"), complete=points.get("complete"), version=settings["versions"]["nwb_lowrank"],
        **{row.metric: row.value for row in scores.itertuples() if row.split != "train"},
    )  # fmt: skip


def remove_run(path, run: str, *, backup: bool = False) -> Path:
    """Take one run out of a written file: by a new file without it, which replaces the old one in one step.

    Parameters
    ----------
    path : str or path
    run : str
    backup : bool
        Keep the old file as `<path>.bak`.

    Returns
    -------
    Path
        The file without the run.

    Raises
    ------
    KeyError
        No such run.
    OSError
        The file cannot be written there, or the disk is full. Nothing was changed.
    """
    path = Path(path)
    with only_writer(path, "remove_run"):
        with open_nwb(path, "remove_run") as (nwb, _):
            before = result_runs(nwb)
        if run not in before:
            raise KeyError(f"remove_run: no run '{run}' in '{path}'; it has {', '.join(before) or 'none'}. Pass one of these.")
        with replacing(path, "remove_run", needed=path.stat().st_size, backup=backup) as beside:
            _export_without(path, beside, run)
            with open_nwb(beside, "remove_run") as (nwb, _):
                left = result_runs(nwb)
            if left != [name for name in before if name != run]:
                raise ValueError(f"remove_run: the new file would hold the runs {left}; nothing was changed. Please report this.")
    return path


def _export_without(path: Path, beside: Path, run: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks about the source file, which is copied as it is
        with NWBHDF5IO(path, "r", load_namespaces=True) as reader:
            nwb = reader.read()
            module = nwb.processing[RESULTS_MODULE]
            for name in set(names_of(run)) & set(module.data_interfaces):
                module.data_interfaces.pop(name)
            if not len(module.data_interfaces):
                nwb.processing.pop(RESULTS_MODULE)
            nwb.set_modified()
            with new_nwb(beside) as writer:
                writer.export(src_io=reader, nwbfile=nwb)
