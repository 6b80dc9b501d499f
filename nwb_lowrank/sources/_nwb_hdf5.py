"""Units and interval tables straight from HDF5: all that spikes need, without the objects that pynwb builds of everything else.

Where a file holds more than NWB's own types (extensions, links to other files, dates without a zone), pynwb knows better.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import h5py
import numpy as np

OWN = {"core", "hdmf-common", "hdmf-experimental"}
SECTIONS = {"processing": "", "intervals": "", "events": "", "analysis": "", "scratch": "", "acquisition": "acquisition/",
            "stimulus/presentation": "stimulus/"}  # fmt: skip
UNITS = "units"
LARGE_CHUNK = 1 << 20  # bytes: what HDF5 keeps of a dataset; smaller chunks pass through that


@dataclass(frozen=True)
class Column:
    """A column as pynwb shows it: `data`, and the `target` that an index cuts."""

    file: h5py.File
    stored: h5py.Dataset

    @property
    def neurodata_type(self) -> str:
        return _type(self.stored)

    @property
    def data(self):
        """The dataset, or the names of the objects that it refers to."""
        if h5py.check_ref_dtype(self.stored.dtype) is None:
            return self.stored
        return [self.file[cell].name.rsplit("/", 1)[-1] if cell else "" for cell in self.stored[:]]

    @cached_property
    def table(self) -> Table:
        """What a column of rows (DynamicTableRegion) refers to."""
        return Table(self.file[self.stored.attrs["table"]])


class Index(Column):
    """A column that says where the rows of another one end."""

    @cached_property
    def target(self) -> Column:
        return _column(self.file, self.file[self.stored.attrs["target"]])


class Table:
    """A DynamicTable: `colnames`, `id` and columns by name."""

    def __init__(self, group: h5py.Group):
        self.group, self.name = group, group.name.rsplit("/", 1)[-1]
        self.colnames = tuple(_text(name) for name in group.attrs["colnames"])
        self.id = Column(group.file, group["id"])

    def __getitem__(self, name: str) -> Column:
        stored = self.group[name]
        while _type(index := self.group.get(f"{stored.name}_index")) == "VectorIndex":  # of rows, of rows of rows, ...
            stored = index
        return _column(self.group.file, stored)

    def __len__(self) -> int:
        return len(self.id.stored)


class Tables:
    """The part of an NWBFile that reading spikes asks for."""

    def __init__(self, file: h5py.File, kinds: dict[str, str], start: datetime):
        self._file, self._kinds = file, kinds
        self.identifier, self.object_id = _text(file["identifier"][()]), _text(file.attrs["object_id"])
        self.session_start_time = start

    @cached_property
    def units(self) -> Table:
        return Table(self._file[UNITS])

    def of_types(self, names: set[str]) -> dict[str, Table]:
        """Tables of these types by path, as `_nwb_file.objects` names them."""
        return {_path(place): Table(self._file[place]) for place, kind in self._kinds.items() if kind in names}


def tables_of(file: h5py.File, names: set[str]) -> Tables | None:
    """The tables of a file with spikes, or None where only pynwb can tell all that matters.

    Parameters
    ----------
    names : set of str
        Types of tables that reading will ask for: where they lie must be a place that has a name.
    """
    units = file.get(UNITS)
    if not isinstance(units, h5py.Group) or "spike_times" not in units or "object_id" not in file.attrs:
        return None
    start, kinds = _start(file), _kinds(file)
    if start is None or kinds is None or any(kind in names and _path(place) is None for place, kind in kinds.items()):
        return None
    return Tables(file, kinds, start)


def values(stored: h5py.Dataset) -> np.ndarray:
    """All values of a dataset.

    Large chunks without a filter go straight to their place: HDF5 would read each of them to memory of its own first,
    new memory every time, which takes three times as long as the reading.
    """
    if not _straight(stored):
        return stored[:]
    (size,), (total,) = stored.chunks, stored.shape
    firsts = range(0, total, size)
    found = np.empty(len(firsts) * size, stored.dtype)
    for first in firsts:
        stored.id.read_direct_chunk((first,), out=found[first : first + size].view(np.uint8))
    return found[:total]


def _straight(stored: h5py.Dataset) -> bool:
    plain = stored.ndim == 1 and stored.dtype.kind in "fiu" and stored.dtype.isnative and stored.chunks is not None
    if not plain or stored.chunks[0] * stored.dtype.itemsize < LARGE_CHUNK or stored.id.get_create_plist().get_nfilters():
        return False
    return stored.id.get_num_chunks() == -(-stored.shape[0] // stored.chunks[0])  # those never written hold the fill value


def _start(file: h5py.File) -> datetime | None:
    try:
        start = datetime.fromisoformat(_text(file["session_start_time"][()]))
    except (KeyError, ValueError):
        return None
    return None if start.tzinfo is None else start


def _kinds(file: h5py.File) -> dict[str, str] | None:
    """The type of every group by its path; None where a type is not NWB's own, or another file is part of this one."""
    groups, elsewhere = [], []
    file.id.links.visit(lambda name, link: elsewhere.append(name) if link.type == h5py.h5l.TYPE_EXTERNAL else None, info=True)
    h5py.h5o.visit(file.id, lambda name, about: groups.append(name) if about.type == h5py.h5o.TYPE_GROUP else None, info=True)
    kinds = {}
    for place in map(bytes.decode, groups):
        if place.startswith("specifications"):
            continue
        attributes = file[place].attrs
        if "neurodata_type" in attributes:
            kinds[place] = _text(attributes["neurodata_type"])
            if _text(attributes.get("namespace", "")) not in OWN:
                return None
    return None if elsewhere else kinds


def _path(place: str) -> str | None:
    """'behavior/events' of 'processing/behavior/events'; None in a place without a name of its own."""
    for section, prefix in SECTIONS.items():
        if place.startswith(section + "/"):
            return prefix + place.removeprefix(section + "/")
    return None


def _column(file: h5py.File, stored: h5py.Dataset) -> Column:
    return (Index if "target" in stored.attrs else Column)(file, stored)


def _type(stored) -> str:
    return "" if stored is None else _text(stored.attrs.get("neurodata_type", ""))


def _text(value) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
