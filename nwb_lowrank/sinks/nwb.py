"""write_nwb and read_results: a fit beside the data that it explains, in core NWB types.

The layout (version 1): processing module `lowrank_rnn`, every object named after its run.

    <run>_latents, _latents_sd, _rates, _ess   TimeSeries (bins of all windows, …), bin centres shared by link
    <run>_windows        TimeIntervals: what was fitted, split, log-evidence, spans of the series
    <run>_readout        one row a neuron;       <run>_network    one row a hidden unit
    <run>_weights        every tensor, exactly;  <run>_settings   dotted keys: versions, recipe, seeds, origin of the data
    <run>_fixed_points, _metrics, _training
"""

from __future__ import annotations

import os
import re
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pynwb
from pynwb import NWBHDF5IO, NWBFile

from ..recipe import TRUSTED
from ..results import Results
from ..sources._nwb_file import RESULTS_MODULE, open_nwb, result_runs
from ._nwb_read import results_of
from ._nwb_tables import run_objects
from ._safely import check_place, replacing

PACKAGES = ("nwb_lowrank", "torch", "numpy", "pynwb", "hdmf", "scikit-learn", "scipy")
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*")


def write_nwb(source, results: Results, *, output=None, in_place: bool = False, run: str = "fit0", overwrite: bool = False) -> Path:
    """Write results into a copy of the NWB file that they explain.

    Written beside, validated, read back and compared, and only then renamed: the source is never touched (but by
    `in_place`, in that same way), and an existing output is replaced in one step or not at all.

    Parameters
    ----------
    source : str, path or open NWBFile that was read from disk
        The recording that `results.trials` were cut from.
    results : Results
        Draws of the posterior are not written; `infer` makes the same ones again.
    output : str, path or None
        None: `<source>_lowrank.nwb` beside the source (a DANDI name gets `_desc-lowrank`). If it exists and derives
        from the same recording, the run is added to it.
    in_place : bool
        Replace the source itself by the file with the results.
    run : str
        Name of this run: letters, digits, '-', and single '_'.
    overwrite : bool
        Replace a run of that name, or an output that is another file.

    Returns
    -------
    Path
        The written file.

    Raises
    ------
    ValueError
        Trials that were not cut from an NWB file, a run or a file that exists already, or an invalid file.
    OSError
        The file cannot be written there, or the disk is full. Nothing was changed.
    """
    if "cut" not in results.trials.origin:
        raise ValueError(
            "write_nwb: expected results of trials read with read_nwb; these trials come from arrays. "
            "Make a recording of them first: write_recording(path, spike_times=...), then read_nwb(path)."
        )
    target = check_output(source, output, in_place=in_place, run=run, overwrite=overwrite)
    base = _base(_path_of(source), target, overwrite)
    needed = base.stat().st_size + 16 * results.posterior.rates.size
    with replacing(target, "write_nwb", needed=needed) as beside:
        _export(base, beside, results, run)
        _verify(beside, base, results, run)
    return target


def read_results(path, run: str | None = None, *, trusted: tuple[str, ...] = TRUSTED) -> Results:
    """Read what `write_nwb` wrote; the trials are cut again from the recording in the same file.

    Parameters
    ----------
    path : str, path, file-like object or open NWBFile
    run : str or None
        None: the only run in the file.
    trusted : tuple of str
        Module prefixes that model parts may come from. A data file must not be able to run code.

    Returns
    -------
    Results
        Bins after a window's last recorded one are NaN in the posterior.

    Raises
    ------
    KeyError
        No (such) run in the file, or several and `run` is None.
    ValueError
        A recording that was changed after the fit, or another layout version.
    """
    with open_nwb(path, "read_results") as (nwb, _):
        return results_of(path, nwb, _chosen(result_runs(nwb), run, path), trusted)


def list_runs(path) -> list[str]:
    """Names of the runs in a file, an open NWBFile or a file-like object."""
    with open_nwb(path, "list_runs") as (nwb, _):
        return result_runs(nwb)


def check_output(source, output=None, *, in_place: bool = False, run: str = "fit0", overwrite: bool = False) -> Path:
    """Where `write_nwb` will write, after checking that it can: call it before a long fit. Leaves nothing behind.

    Parameters and errors as in `write_nwb`.
    """
    if not RUN.fullmatch(run):
        raise ValueError(f"write_nwb: run must be letters, digits, '-' and single '_'; got {run!r}. Rename it.")
    source = _path_of(source)
    target = source if in_place else default_output(source) if output is None else Path(output)
    if target.exists() and not in_place:
        if target.is_file() and os.path.samefile(target, source):
            raise ValueError(f"write_nwb: the output '{target}' is the source itself. Pass another output=, or in_place=True.")
    check_place(target, "write_nwb", needed=source.stat().st_size)
    if target.exists():
        _check_existing(source, target, run, overwrite, in_place)
    return target


def default_output(source: Path) -> Path:
    """`<source>_lowrank.nwb`; `sub-X_…_ecephys.nwb` becomes `sub-X_…_desc-lowrank_ecephys.nwb`, a name that DANDI takes."""
    parts = source.stem.split("_")
    if source.stem.startswith("sub-") and len(parts) > 1 and "-" not in parts[-1]:
        return source.with_name("_".join([*parts[:-1], "desc-lowrank", parts[-1]]) + source.suffix)
    return source.with_name(f"{source.stem}_lowrank.nwb")


def _path_of(source) -> Path:
    if isinstance(source, NWBFile):
        if source.container_source is None:
            raise ValueError("write_nwb: the open NWBFile is not on disk yet. Write it with NWBHDF5IO first, then pass its path.")
        return Path(source.container_source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"write_nwb: source must be a path or an open NWBFile; got {type(source).__name__}. Pass the file's path.")
    if not Path(source).exists():
        raise FileNotFoundError(f"write_nwb: no file '{source}'. Check the path.")
    return Path(source)


def _check_existing(source: Path, target: Path, run: str, overwrite: bool, in_place: bool) -> None:
    if overwrite:
        return
    if not in_place and not _derives(source, target):
        raise ValueError(f"write_nwb: '{target}' exists and does not hold a fit of '{source}'. Pass another output=, or overwrite=True.")
    if run in list_runs(target):
        raise ValueError(f"write_nwb: '{target}' already has a run '{run}'. Pass another run= name, or overwrite=True.")


def _derives(source: Path, target: Path) -> bool:
    """True when target is the same session with runs of ours in it."""
    try:
        with open_nwb(target, "write_nwb") as (nwb, _):
            identifier, runs = nwb.identifier, result_runs(nwb)
        with open_nwb(source, "write_nwb") as (nwb, _):
            return bool(runs) and nwb.identifier == identifier
    except ValueError:
        return False


def _base(source: Path, target: Path, overwrite: bool) -> Path:
    """The file to add the run to: the output when it already holds runs of the same recording, else the source."""
    return target if target.exists() and _derives(source, target) else source


def _export(base: Path, beside: Path, results: Results, run: str) -> None:
    versions = {name: version(name) for name in PACKAGES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks about the source file, which is copied as it is
        with NWBHDF5IO(base, "r", load_namespaces=True) as reader:
            nwb = reader.read()
            module = nwb.processing.get(RESULTS_MODULE)
            if module is None:
                module = nwb.create_processing_module(RESULTS_MODULE, "Stochastic low-rank RNNs fitted to this recording")
            for name in [name for name in module.data_interfaces if name.startswith(run + "_") and _run_of(name, nwb) == run]:
                module.data_interfaces.pop(name)
            for made in run_objects(nwb, results, run, versions):
                module.add(made)
            _add_provenance(nwb, versions)
            with NWBHDF5IO(beside, "w") as writer:
                writer.export(src_io=reader, nwbfile=nwb)


def _run_of(name: str, nwb: NWBFile) -> str:
    """The run that an object belongs to: the longest run name that it begins with."""
    return max((run for run in result_runs(nwb) if name.startswith(run + "_")), key=len, default="")


def _add_provenance(nwb: NWBFile, versions: dict) -> None:
    old = [list(map(str, row)) for row in (nwb.was_generated_by or [])]
    new = [[name, versions[name]] for name in ("nwb_lowrank", "torch")]
    nwb.fields["was_generated_by"] = old + [row for row in new if row not in old]
    nwb.set_modified()


def _verify(beside: Path, base: Path, results: Results, run: str) -> None:
    """The new file is valid wherever the old one was, and gives back what was written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = [str(error) for error in pynwb.validate(path=str(beside))]
        if errors:
            known = {str(error) for error in pynwb.validate(path=str(base))}
            errors = [error for error in errors if error not in known]
    if errors:
        raise ValueError(f"write_nwb: the new file would not be valid NWB ({errors[0]}); nothing was written. Please report this.")
    again = read_results(beside, run, trusted=("",))
    pairs = [(again.posterior.latents, results.posterior.latents), (again.posterior.rates, results.posterior.rates),
             *((again.fit.state()[name], value) for name, value in results.fit.state().items())]  # fmt: skip
    recorded = np.arange(results.trials.bins) < results.trials.lengths[:, None]
    for new, old in pairs[:2]:
        new[~recorded] = old[~recorded]
    if not all(np.array_equal(new, old, equal_nan=True) for new, old in pairs):
        raise ValueError("write_nwb: reading the new file back gave other values; nothing was written. Please report this.")


def _chosen(runs: list[str], run: str | None, path) -> str:
    if not runs:
        raise KeyError(f"read_results: '{path}' holds no fit of this package. Make one: nwb-lowrank fit FILE.")
    if run is None and len(runs) > 1:
        raise KeyError(f"read_results: '{path}' holds the runs {', '.join(runs)}. Pass run= one of these.")
    if run is not None and run not in runs:
        raise KeyError(f"read_results: no run '{run}' in '{path}'; it has {', '.join(runs)}. Pass one of these.")
    return runs[0] if run is None else run
