"""A sidecar: results without the recording, for sources that cannot be copied. The binned trials go along: it stands alone."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pandas as pd
from pynwb import NWBFile
from pynwb.file import Subject

from ..results import Results
from ..sources._nwb_file import read
from ..trials import Trials

SUFFIX = "-lowrank"  # of the identifier: another session object than the recording, whose name can be told
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # NWB wants a start; a sorting or an array has none
ABOUT = ("session_description", "session_id", "experimenter", "institution", "lab", "keywords", "experiment_description",
         "related_publications", "timestamps_reference_time")  # fmt: skip
PERSON = ("subject_id", "species", "sex", "age", "description", "date_of_birth", "genotype", "strain", "weight")
TRIAL_SERIES = {
    "counts": "What was fitted: spikes per bin, or the signal; one column a row of the readout table",
    "mask": "1 where the neuron was recorded",
    "behavior": "Behaviour at the bins, NaN where it is unknown; columns as in the settings",
}


def sidecar_identifier(results: Results) -> str:
    """Of the session that holds the results of this recording."""
    return str(results.trials.origin.get("identifier") or "arrays") + SUFFIX


def sidecar_session(results: Results, source: NWBFile | None) -> NWBFile:
    """A session without data: who and when of the source, as far as it is at hand."""
    start = results.trials.origin.get("session_start_time")
    known = {} if source is None else {name: getattr(source, name) for name in ABOUT if getattr(source, name, None)}
    known = {name: value[:].tolist() if hasattr(value, "dtype") else value for name, value in known.items()}
    person = getattr(source, "subject", None)
    if person is not None:
        known["subject"] = Subject(**{name: getattr(person, name) for name in PERSON if getattr(person, name, None) is not None})
    known.setdefault("session_description", "Results of stochastic low-rank RNNs, without the recording that they explain")
    return NWBFile(identifier=sidecar_identifier(results), session_start_time=datetime.fromisoformat(start) if start else EPOCH, **known)


def trial_arrays(trials: Trials) -> dict[str, np.ndarray]:
    """(B, T, …) arrays of `TRIAL_SERIES`; a mask that only says where windows end is left out."""
    counts = trials.counts
    if trials.is_counts:
        counts = counts.astype(next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if counts.max() <= np.iinfo(kind).max))
    arrays = dict(counts=counts)
    if not (trials.mask == _inside(trials.lengths, trials.bins)[..., None]).all():
        arrays["mask"] = trials.mask.astype(np.uint8)
    if trials.behavior is not None:
        arrays["behavior"] = np.where(trials.behavior_mask[..., None], trials.behavior, np.nan)
    return arrays


def trial_units(trials: Trials) -> dict[str, str]:
    """The unit of every array of `trial_arrays`."""
    counts = "spikes" if trials.is_counts else trials.origin.get("signal_unit", "a.u.")
    return dict(counts=counts, mask="1", behavior=", ".join(trials.behavior_units) or "a.u.")


def trial_settings(trials: Trials) -> dict:
    """What the arrays do not say. The trial table is one list, for its columns may be called anything."""
    columns = [[str(name), str(column.dtype), _plain(column)] for name, column in trials.table.items()]
    return dict(behavior_names=list(trials.behavior_names), behavior_units=list(trials.behavior_units), table=columns)


def _plain(column: pd.Series) -> list:
    """The cells of a column as JSON knows them."""
    return json.loads(column.to_json(orient="values", double_precision=15)) if column.dtype == object else column.tolist()


def stored_trials(settings: dict, readout: pd.DataFrame, windows: pd.DataFrame, arrays: dict, inputs) -> Trials:
    """The trials from the file itself.

    Parameters
    ----------
    arrays : dict of (B, T, …) arrays
        Of `TRIAL_SERIES`, NaN or 0 in the bins after a window's last.
    """
    stored = settings["trials"]
    lengths, bins = windows["bins"].to_numpy(), stored["bins"]
    inside = _inside(lengths, bins)
    mask = inside[..., None] if "mask" not in arrays else np.nan_to_num(arrays["mask"]).astype(bool)
    behavior = arrays.get("behavior")
    known = None if behavior is None else np.isfinite(behavior).all(-1) & inside
    return Trials(
        counts=np.where(inside[..., None], np.nan_to_num(arrays["counts"]), 0).astype(np.float32),
        mask=np.broadcast_to(mask, arrays["counts"].shape),
        bin_width=stored["bin_width"],
        starts=windows["start_time"].to_numpy(),
        unit_ids=readout["unit_id"].to_numpy(),
        held_out=readout["held_out"].to_numpy(bool),
        forecast=stored["forecast"],
        inputs=inputs,
        behavior=None if behavior is None else np.where(known[..., None], behavior, 0.0),
        behavior_mask=known,
        behavior_names=tuple(stored["behavior_names"]),
        behavior_units=tuple(stored["behavior_units"]),
        table=_table(stored["table"], len(windows)),
        origin=stored["origin"],
    )


def stored_arrays(tables: dict, windows, padded) -> dict[str, np.ndarray]:
    """The arrays of `TRIAL_SERIES` that a run holds; `padded` makes (B, T, …) of a series."""
    if "counts" in windows.colnames:
        return {name: read(windows[name].data) for name in TRIAL_SERIES if name in windows.colnames}
    return {name: padded(tables[name]) for name in TRIAL_SERIES if name in tables}


def _table(columns: list, rows: int) -> pd.DataFrame:
    made = {name: pd.Series(values, dtype=object if kind == "object" else kind) for name, kind, values in columns}
    return pd.DataFrame(made, index=range(rows))


def _inside(lengths: np.ndarray, bins: int) -> np.ndarray:
    return np.arange(bins) < lengths[:, None]
