"""Opening an NWB file, finding what is in it, and turning its tables into plain DataFrames."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pynwb
from hdmf.backends.io import HDMFIO
from hdmf.common import DynamicTable
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.base import TimeSeriesReferenceVectorData
from pynwb.ecephys import ElectricalSeries
from pynwb.epoch import TimeIntervals
from pynwb.icephys import PatchClampSeries
from pynwb.image import ImageSeries, IndexSeries
from pynwb.misc import AnnotationSeries, DecompositionSeries
from pynwb.ophys import RoiResponseSeries

from ._nwb_hdf5 import Column, Tables, tables_of, values
from ._nwb_zarr import is_zarr, open_zarr
from .remote import find_remote, is_remote

RESULTS_MODULE = "lowrank_rnn"  # our own results; never data
MOST_HASHED = 4 << 30  # bytes: larger files are told apart by identifier and object_id alone
PIECE = 1 << 20  # bytes hashed at a time
SENTENCE = re.compile(r"[A-Za-z_.]+: |Trials|Results")  # how an error of this package begins
SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOT_BEHAVIOR = (ElectricalSeries, PatchClampSeries, ImageSeries, IndexSeries, AnnotationSeries, DecompositionSeries,
                RoiResponseSeries)  # fmt: skip
INTERVALS = (TimeIntervals, *([pynwb.event.EventsTable] if hasattr(pynwb, "event") else []))  # events: from pynwb 4 on


@contextmanager
def open_nwb(source, who: str, *, tables_only: bool = False) -> Iterator[tuple[NWBFile | Tables, dict]]:
    """Yield the NWBFile behind a path (HDF5, or a Zarr folder), a file-like object or an open NWBFile, with facts about its origin.

    With `tables_only` it may be `Tables`, which know units and intervals alone and open in a twentieth of the time. The file's
    digest is worked out meanwhile: `origin["sha256"]` is there when the block has ended.

    Raises
    ------
    FileNotFoundError
        No such path.
    ValueError
        A folder that is no Zarr store, not HDF5, HDF5 without NWB in it, or a damaged file.
    TypeError
        None of the three kinds of source.
    """
    if isinstance(source, NWBFile):
        with _legal(source.container_source or "the open NWBFile", who):
            yield source, _origin(source, source.container_source)
        return
    if is_remote(source):
        asset = find_remote(source)
        with open_nwb(asset.download(), who, tables_only=tables_only) as (nwb, origin):
            origin |= asset.origin()
            yield nwb, origin
        return
    if not isinstance(source, (str, os.PathLike)) and not (hasattr(source, "read") and hasattr(source, "seek")):
        raise TypeError(
            f"{who}: expected a path, an open NWBFile or a file-like object; got {type(source).__name__}. Pass the file's path."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynwb's remarks about the source file are not about this reading
        with _opened(source, who, tables_only) as (nwb, path), _legal(path, who), _hashed(source) as digest:
            origin = _origin(nwb, path) | getattr(source, "origin", {})
            yield nwb, origin
            origin["sha256"] = digest()


@contextmanager
def _opened(source, who: str, tables_only: bool) -> Iterator[tuple[NWBFile | Tables, str | None]]:
    """The session and its path."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if is_zarr(path):
            with open_zarr(path, who) as io:
                yield _read(io, path, who), str(path)
            return
        _check_path(path, who)
    else:
        name = getattr(source, "name", None)
        path = name if isinstance(name, str) else None
    with _open_hdf5(source, path, who) as file:
        tables = tables_of(file, {kind.__name__ for kind in INTERVALS}) if tables_only else None
        if tables is not None:
            yield tables, path
            return
        with NWBHDF5IO(file=file, mode="r", load_namespaces=True) as io:
            yield _read(io, path, who), path


@contextmanager
def _legal(path, who: str) -> Iterator[None]:
    """Content that NWB does not allow ends in a sentence about the file, whatever it made fail."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, ArithmeticError) as error:
        text = error.args[0] if error.args else ""
        if isinstance(text, str) and SENTENCE.match(text):
            raise
        raise ValueError(
            f"{who}: '{path}' holds what NWB does not allow or this package does not know ({type(error).__name__}: {_short(error)}). "
            "Check the file with pynwb.validate, and please report it if it is valid."
        ) from error


def _check_path(path: Path, who: str) -> None:
    if path.is_dir():
        raise ValueError(f"{who}: expected an NWB file; '{path}' is a folder. Pass one .nwb (HDF5) file inside it.")
    if not path.exists():
        raise FileNotFoundError(f"{who}: no file '{path}'. Check the path.")


@contextmanager
def _hashed(source) -> Iterator[Callable[[], str | None]]:
    """The sha256 of a file, worked out beside the reading; None for no file, or one so large that it would take longer than that."""
    if not isinstance(source, (str, os.PathLike)) or os.path.isdir(source) or os.path.getsize(source) > MOST_HASHED:
        yield lambda: None
        return
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(_sha256, source).result


def _sha256(path) -> str:
    """In large pieces: between them the reading has to wait. One buffer for all: new memory would cost a third of the hashing."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(PIECE))
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


def _open_hdf5(source, path, who: str) -> h5py.File:
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        if isinstance(source, (str, os.PathLike)) and not os.access(source, os.R_OK):
            raise ValueError(f"{who}: '{path}' may not be read ({error}). Ask for permission to read it.") from None
        if _looks_like_hdf5(source):
            raise ValueError(f"{who}: '{path}' is damaged or cut short ({error}). Copy or download it again.") from None
        raise ValueError(f"{who}: expected an NWB file (HDF5); '{path}' is something else. Pass an .nwb file.") from None
    if "nwb_version" not in file.attrs and "neurodata_type" not in file.attrs:
        file.close()
        raise ValueError(f"{who}: '{path}' is HDF5 but holds no NWB session. Pass an .nwb file, or use Trials.from_arrays.")
    return file


def _looks_like_hdf5(source) -> bool:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    source.seek(0)
    return source.read(len(SIGNATURE)) == SIGNATURE


def _read(io: HDMFIO, path, who: str) -> NWBFile:
    try:
        return io.read()
    except Exception as error:  # pynwb answers a broken file with many kinds of exception
        raise ValueError(f"{who}: pynwb cannot read '{path}' ({_short(error)}). Check the file with pynwb.validate.") from error


def _short(error: Exception) -> str:
    """What went wrong, without the printed objects that hdmf puts before it."""
    text = " ".join(str(error.args[-1] if error.args else error).split())
    return text if len(text) < 300 else text[:297] + "..."


def _origin(nwb: NWBFile | Tables, path) -> dict:
    return dict(
        path=None if path is None else str(path),
        sha256=None,
        identifier=nwb.identifier,
        object_id=nwb.object_id,
        session_start_time=nwb.session_start_time.isoformat(),
    )


def objects(nwb: NWBFile | Tables, kind: type | tuple[type, ...]) -> dict[str, object]:
    """Every object of a type by its path in the file ('behavior/Position/led'), our own results left out."""
    if isinstance(nwb, Tables):
        found = nwb.of_types({one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,))})
    else:
        nwb.all_children()  # an open NWBFile may have grown since the list was last made
        found = {path_of(nwb, obj): obj for obj in nwb.objects.values() if isinstance(obj, kind)}
    return {path: found[path] for path in sorted(found) if not path.startswith(RESULTS_MODULE + "/")}


def path_of(nwb: NWBFile, obj) -> str:
    """Names from the file's root to the object; a processing module comes first, without 'processing/'."""
    names, top = [obj.name], obj
    while top.parent is not None and top.parent is not nwb:
        top = top.parent
        names.append(top.name)
    for folder, group in (("acquisition", nwb.acquisition), ("stimulus", nwb.stimulus)):
        if group.get(top.name) is top:
            names.append(folder)
    return "/".join(reversed(names))


def interval_tables(nwb: NWBFile) -> dict[str, DynamicTable]:
    """Every interval table, and every table of events, by path."""
    return objects(nwb, INTERVALS)


def interval_frame(table: DynamicTable) -> pd.DataFrame:
    """An interval table as a DataFrame; events start at their timestamp and last as long as their duration, if they have one."""
    rows = frame(table)
    if "timestamp" in rows and "start_time" not in rows:
        lasts = rows["duration"] if "duration" in rows else np.nan
        rows = rows.assign(start_time=rows["timestamp"].astype(float), stop_time=rows["timestamp"].astype(float) + lasts)
    for edge in ("start_time", "stop_time"):
        if edge not in rows or rows[edge].dtype.kind not in "fiu":
            raise ValueError(f"read_nwb: intervals '{table.name}' have no times in '{edge}'. Correct the file, or pass another table=.")
    return rows


def interval_edges(nwb: NWBFile) -> np.ndarray:
    """All start and stop times of interval tables (not of events, which other clocks may have stamped), seconds."""
    columns = [
        table[edge] for table in objects(nwb, TimeIntervals).values() for edge in ("start_time", "stop_time") if edge in table.colnames
    ]
    return np.concatenate([np.zeros(0), *(read(column.data).astype(float).ravel() for column in columns)])


def roi_series(nwb: NWBFile) -> dict[str, RoiResponseSeries]:
    """Every ROI response series by path."""
    return objects(nwb, RoiResponseSeries)


def numeric_series(nwb: NWBFile) -> dict[str, TimeSeries]:
    """Every numeric series of one or two dimensions, neural or not, by path."""
    return {path: series for path, series in objects(nwb, TimeSeries).items() if _numeric(series)}


def behavior_series(nwb: NWBFile) -> dict[str, TimeSeries]:
    """Every numeric series of one or two dimensions that is not itself neural or an image, by path."""
    return {path: series for path, series in numeric_series(nwb).items() if not isinstance(series, NOT_BEHAVIOR)}


def result_runs(nwb: NWBFile) -> list[str]:
    """Names of the runs that this package has written into the file."""
    module = nwb.processing.get(RESULTS_MODULE)
    names = [] if module is None else module.data_interfaces
    return sorted(name.removesuffix("_windows") for name in names if name.endswith("_windows"))


def _numeric(series: TimeSeries) -> bool:
    shape, dtype = np.shape(series.data), getattr(series.data, "dtype", None)
    if dtype is None and np.size(series.data):
        dtype = np.asarray(series.data).dtype
    return len(shape) in (1, 2) and shape[0] > 0 and dtype is not None and np.dtype(dtype).kind in "biuf"


def read(data) -> np.ndarray:
    """An array of a dataset, a list or a wrapped (DataIO) array."""
    if isinstance(data, np.ndarray):
        return data
    data = getattr(data, "data", data)
    return values(data) if isinstance(data, h5py.Dataset) else np.asarray(data[:])


def series_times(series: TimeSeries) -> np.ndarray:
    """(frames,) seconds, from timestamps or from starting time and rate."""
    if series.timestamps is not None:
        return read(series.timestamps).astype(float)
    return float(series.starting_time or 0.0) + np.arange(len(series.data)) / float(series.rate)


def series_values(series: TimeSeries) -> np.ndarray:
    """(frames, columns) in the unit that the file states: conversion and offset applied."""
    values = np.array(read(series.data), dtype=float)  # a copy: the series of an open NWBFile stay as they are
    values = values.reshape(len(values), -1)
    gains = getattr(series, "channel_conversion", None)  # of an ElectricalSeries
    scale = float(series.conversion) * (1.0 if gains is None else read(gains).astype(float))
    values *= scale
    values += float(series.offset or 0.0)
    return values


def ragged(column) -> list:
    """Rows of a ragged column, also of nested ones."""
    target = column.target
    rows = ragged(target) if hasattr(target, "target") else _cells(target)
    ends = read(column.data).astype(np.int64)
    return [rows[start:stop] for start, stop in zip(np.r_[0, ends[:-1]], ends)]


def _cells(column) -> list:
    return [_plain(value) for value in read(column.data)]


def _plain(value):
    """Text instead of bytes, and a name instead of a reference to an object of the file."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else value


def _refers_to_series(column) -> bool:
    kind = TimeSeriesReferenceVectorData
    return column.neurodata_type == kind.__name__ if isinstance(column, Column) else isinstance(column, kind)


def frame(table, exclude=()) -> pd.DataFrame:
    """A DynamicTable as a DataFrame indexed by `id`: text decoded, region columns as row numbers."""
    columns = {}
    for name in table.colnames:
        column = table[name]
        if name in exclude or _refers_to_series(getattr(column, "target", column)):
            continue
        if hasattr(column, "target"):
            columns[name] = pd.Series(ragged(column), dtype=object)
        else:
            cells = read(column.data)
            columns[name] = cells if cells.ndim == 1 and cells.dtype.kind in "biufM" else pd.Series(_cells(column))
    ids = pd.Index(read(table.id.data).astype(np.int64), name="id")
    return pd.DataFrame({name: np.asarray(cells) for name, cells in columns.items()}, index=ids)
