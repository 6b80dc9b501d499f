"""write_nwb and read_results: a fit beside the data that it explains, in core NWB types.

The layout (version 1): processing module `lowrank_rnn`, every object named after its run.

    <run>_latents, _latents_sd, _rates, _ess   TimeSeries (bins of all windows, …), bin centres shared by link
    <run>_windows        TimeIntervals: what was fitted, split, log-evidence, spans of the series, inputs
    <run>_readout        one row a neuron;       <run>_network    one row a hidden unit
    <run>_weights        every tensor, exactly;  <run>_settings   dotted keys: versions, recipe, seeds, origin of the data
    <run>_fixed_points, _metrics, _training
    <run>_portrait, _attractors, _cycles, _switching, _visits, _branches, …: see _nwb_portrait
"""

from __future__ import annotations

import os
import re
import warnings
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pynwb
from pynwb import NWBHDF5IO, NWBFile

from ..recipe import TRUSTED
from ..results import Results
from ..sources._nwb_file import RESULTS_MODULE, open_nwb, result_runs
from ._lock import only_writer
from ._nwb_read import results_of
from ._nwb_sidecar import SUFFIX, sidecar_identifier, sidecar_session
from ._nwb_tables import names_of, run_objects
from ._safely import check_place, new_nwb, replacing
from ._target import default_output, stands_alone

PACKAGES = ("nwb_lowrank", "torch", "numpy", "pynwb", "hdmf", "scikit-learn", "scipy")
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*")


def write_nwb(
    source,
    results: Results,
    *,
    output=None,
    in_place: bool = False,
    backup: bool = False,
    sidecar: bool = False,
    run: str = "fit0",
    overwrite: bool = False,
) -> Path:
    """Write results into a copy of the NWB file that they explain, into that file itself, or into a sidecar.

    Written beside, validated, read back and compared, and only then renamed: the source is never touched (but by
    `in_place`, in that same way), and an existing output is replaced in one step or not at all. A second process that
    writes the same file waits for the first.

    Parameters
    ----------
    source : str, path or open NWBFile that was read from disk
        The recording that `results.trials` were cut from. A sidecar takes any source of `read_nwb`, or None.
    results : Results
        Draws of the posterior are not written; `infer` makes the same ones again. Neither are counts and behaviour:
        `read_results` cuts them again from the recording.
    output : str, path or None
        None: `<source>_lowrank.nwb` beside the source (a DANDI name gets `_desc-lowrank`). If it exists and derives
        from the same recording, the run is added to it.
    in_place : bool
        Replace the source itself by the file with the results.
    backup : bool
        Keep the file that is replaced as `<file>.bak` (`.bak1`, … where there is one already).
    sidecar : bool
        Write the results without the recording, for one that is streamed, read-only, huge or a Zarr folder (always), or that never
        was NWB. The binned trials go along, so that the sidecar stands alone; it needs `output` unless the source is a path.
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
        Trials that `read_nwb` did not cut from this recording, a run or a file that exists already, or an invalid file.
    OSError
        The file cannot be written there, or the disk is full. Nothing was changed.
    """
    sidecar = sidecar or stands_alone(source, in_place)
    if not sidecar:
        _check_trials(results)
    target = _target(source, output, in_place, sidecar)
    check_place(target, "write_nwb")
    with only_writer(target, "write_nwb"):
        target, base = _place(source, output, in_place, sidecar, run, overwrite)
        if sidecar:
            _check_sidecar(base, results)
        needed = 16 * results.posterior.rates.size + (0 if base is None else base.stat().st_size)
        with replacing(target, "write_nwb", needed=needed, backup=backup) as beside:
            _export(base, source, beside, results, run, sidecar)
            _verify(beside, base, results, run)
    return target


def read_results(path, run: str | None = None, *, source=None, trusted: tuple[str, ...] = TRUSTED) -> Results:
    """Read what `write_nwb` wrote; the trials are cut again from the recording in the same file, or come with a sidecar.

    Parameters
    ----------
    path : str, path, file-like object or open NWBFile
    run : str or None
        None: the only run in the file.
    source : str, path, file-like object or open NWBFile
        The recording that a sidecar explains, to cut the trials from again.
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
        return results_of(nwb, _chosen(result_runs(nwb), run, path), trusted, source)


def list_runs(path) -> list[str]:
    """Names of the runs in a file.

    Parameters
    ----------
    path : str, path, file-like object or open NWBFile

    Returns
    -------
    list of str
        Empty where there is no fit of this package.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No such file, or not a readable NWB file.
    """
    with open_nwb(path, "list_runs") as (nwb, _):
        return result_runs(nwb)


def check_output(source, output=None, *, in_place: bool = False, sidecar: bool = False, run: str = "fit0", overwrite: bool = False) -> Path:
    """Where `write_nwb` will write, after checking that it can: call it before a long fit. Leaves nothing behind.

    Parameters and errors as in `write_nwb`.
    """
    return _place(source, output, in_place, sidecar or stands_alone(source, in_place), run, overwrite)[0]


def _target(source, output, in_place: bool, sidecar: bool) -> Path:
    """The file to write."""
    if in_place and (output is not None or sidecar):
        other = "sidecar=True" if sidecar else f"output='{output}'"
        raise ValueError(f"write_nwb: in_place=True writes into the source; got {other} as well. Pass one of them.")
    if output is not None:
        return Path(output)
    if sidecar and not isinstance(source, (str, os.PathLike)):
        raise ValueError("write_nwb: a sidecar of a source that is no path has no name of its own. Pass output=.")
    return _path_of(source) if in_place else default_output(_path_of(source))


def _place(source, output, in_place: bool, sidecar: bool, run: str, overwrite: bool) -> tuple[Path, Path | None]:
    """The file to write, and the file that the run is added to; None for a new sidecar."""
    if not RUN.fullmatch(run):
        raise ValueError(f"write_nwb: run must be letters, digits, '-' and single '_'; got {run!r}. Rename it.")
    target = _target(source, output, in_place, sidecar)
    path = None if sidecar and not isinstance(source, (str, os.PathLike)) else _path_of(source)
    if path is not None and target.is_file() and not in_place and os.path.samefile(target, path):
        raise ValueError(f"write_nwb: the output '{target}' is the source itself. Pass another output=, or in_place=True.")
    check_place(target, "write_nwb", needed=0 if sidecar else path.stat().st_size)
    if sidecar:
        base = _sidecar(target)
    else:
        base = _base(path, target)
    if base != target and target.exists() and not overwrite:
        raise ValueError(f"write_nwb: '{target}' exists and does not hold a fit of '{source}'. Pass another output=, or overwrite=True.")
    if base is not None and run in _session(base)[1] and not overwrite:
        raise ValueError(f"write_nwb: '{base}' already has a run '{run}'. Pass another run= name, or overwrite=True.")
    return target, base


def _sidecar(target: Path) -> Path | None:
    """The target when it is a sidecar to which a run can be added."""
    try:
        identifier, runs = _session(target) if target.exists() else ("", [])
    except ValueError:  # not NWB, or damaged
        return None
    return target if runs and identifier.endswith(SUFFIX) else None


def _check_sidecar(base: Path | None, results: Results) -> None:
    if base is not None and _session(base)[0] != sidecar_identifier(results):
        raise ValueError(f"write_nwb: '{base}' is a sidecar of another recording. Pass another output=.")


def _check_trials(results: Results) -> None:
    origin = results.trials.origin
    if "cut" not in origin:
        raise ValueError(
            "write_nwb: expected results of trials read with read_nwb; these trials come from arrays. Pass sidecar=True and output=, or "
            "make a recording of them first: write_recording(path, spike_times=...), then read_nwb(path)."
        )
    if origin.get("format", "nwb") != "nwb":
        raise ValueError(f"write_nwb: expected results of trials read with read_nwb; these come from {origin['format']}. "
                         "Pass sidecar=True and output=.")  # fmt: skip


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


def _session(path: Path) -> tuple[str, list[str]]:
    """Identifier of the recording, and the runs in the file."""
    with open_nwb(path, "write_nwb") as (nwb, _):
        return nwb.identifier, result_runs(nwb)


def _base(source: Path, target: Path) -> Path:
    """The file to add the run to: the output when it already holds runs of the same recording, else the source."""
    recording, _ = _session(source)
    if target == source or not target.exists():
        return source
    try:
        identifier, runs = _session(target)
    except ValueError:  # not NWB, or damaged
        return source
    return target if runs and identifier == recording else source


def _export(base: Path | None, source, beside: Path, results: Results, run: str, sidecar: bool) -> None:
    versions = {name: version(name) for name in PACKAGES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks about the source file, which is copied as it is
        if base is None:
            with _maybe_open(source) as recording:
                nwb = sidecar_session(results, recording)
            _add_run(nwb, results, run, versions, sidecar)
            with new_nwb(beside) as writer:
                writer.write(nwb)
            return
        with NWBHDF5IO(base, "r", load_namespaces=True) as reader:
            nwb = reader.read()
            if not sidecar:
                _check_recording(nwb, base, results)
            _add_run(nwb, results, run, versions, sidecar)
            nwb.set_modified()
            with new_nwb(beside) as writer:
                writer.export(src_io=reader, nwbfile=nwb)


@contextmanager
def _maybe_open(source):
    if source is None:
        yield None
        return
    with open_nwb(source, "write_nwb") as (nwb, _):
        yield nwb


def _add_run(nwb: NWBFile, results: Results, run: str, versions: dict, sidecar: bool) -> None:
    module = nwb.processing.get(RESULTS_MODULE)
    if module is None:
        module = nwb.create_processing_module(RESULTS_MODULE, "Stochastic low-rank RNNs fitted to this recording")
    for name in set(names_of(run)) & set(module.data_interfaces):
        module.data_interfaces.pop(name)
    for made in run_objects(nwb, results, run, versions, sidecar=sidecar):
        module.add(made)
    old = [list(map(str, row)) for row in (nwb.was_generated_by or [])]
    new = [[name, versions[name]] for name in ("nwb_lowrank", "torch")]
    nwb.fields["was_generated_by"] = old + [row for row in new if row not in old]


def _check_recording(nwb: NWBFile, path: Path, results: Results) -> None:
    fitted = results.trials.origin["identifier"]
    if nwb.identifier != fitted:
        raise ValueError(f"write_nwb: the trials were cut from the recording '{fitted}'; '{path}' holds '{nwb.identifier}'. "
                         "Pass the file that read_nwb read.")  # fmt: skip


def _verify(beside: Path, base: Path | None, results: Results, run: str) -> None:
    """The new file is valid wherever the old one was, and gives back what was written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = [str(error) for error in pynwb.validate(path=str(beside))]
        if errors:
            known = set() if base is None else {str(error) for error in pynwb.validate(path=str(base))}
            errors = [error for error in errors if error not in known]
    if errors:
        raise ValueError(f"write_nwb: the new file would not be valid NWB ({errors[0]}); nothing was written. Please report this.")
    again, trials, state = read_results(beside, run, trusted=("",)), results.trials, results.fit.state()
    if not (np.array_equal(again.trials.counts, trials.counts) and np.array_equal(again.trials.mask, trials.mask)):
        raise ValueError("write_nwb: expected trials as read_nwb cut them; their counts or mask were changed since, and the file could "
                         "not give them again. Choose with read_nwb(...), select, hide and forecast_last only.")  # fmt: skip
    recorded = np.arange(trials.bins) < trials.lengths[:, None]
    pairs = [(getattr(again.posterior, name)[recorded], getattr(results.posterior, name)[recorded]) for name in ("latents", "rates")]
    pairs += [(value, state[name]) for name, value in again.fit.state().items()]
    # Exact for float32; doubles pass through Hz, one rounding each way.
    if not all(np.allclose(new, old, rtol=1e-15, atol=0, equal_nan=True) for new, old in pairs):
        raise ValueError("write_nwb: reading the new file back gave other values; nothing was written. Please report this.")


def _chosen(runs: list[str], run: str | None, path) -> str:
    if not runs:
        raise KeyError(f"read_results: '{path}' holds no fit of this package. Make one: nwb-lowrank fit FILE.")
    if run is None and len(runs) > 1:
        raise KeyError(f"read_results: '{path}' holds the runs {', '.join(runs)}. Pass run= one of these.")
    if run is not None and run not in runs:
        raise KeyError(f"read_results: no run '{run}' in '{path}'; it has {', '.join(runs)}. Pass one of these.")
    return runs[0] if run is None else run
