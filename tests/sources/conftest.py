"""Small NWB files with everything that real ones get wrong, and the shared recordings."""

import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.epoch import TimeIntervals
from pynwb.ophys import Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries

START = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="session")
def make_nwb():
    """Build an open NWBFile: units (one spike array each), trials, tables, behaviour."""
    return build


@pytest.fixture
def write(tmp_path):
    """Write an NWBFile, return its path."""

    def to_disk(nwb, name="session.nwb"):
        with NWBHDF5IO(tmp_path / name, "w") as io:
            io.write(nwb)
        return tmp_path / name

    return to_disk


@pytest.fixture
def shared():
    """Path of a shared recording, or skip."""

    def locate(name):
        folder = Path(os.environ.get("NWB_LOWRANK_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))
        path = folder / "nwb" / name
        if not path.exists():
            pytest.skip(f"{path} is not here")
        return path

    return locate


def build(spikes=(), *, ids=None, obs=None, columns=None, electrodes=None, trials=None, tables=None, behavior=None, **session):
    nwb = NWBFile("synthetic", "synthetic-1", START, **session)
    if electrodes is not None:
        _electrodes(nwb, electrodes)
    for name in columns or {}:
        nwb.add_unit_column(name, name)
    for row, times in enumerate(spikes):
        extra = {name: values[row] for name, values in (columns or {}).items()}
        extra |= {} if obs is None else {"obs_intervals": np.asarray(obs[row], float).reshape(-1, 2)}
        extra |= {} if electrodes is None else {"electrodes": [row]}
        nwb.add_unit(spike_times=np.asarray(times, float), id=row if ids is None else ids[row], **extra)
    for name, rows in {**({} if trials is None else {"trials": trials}), **(tables or {})}.items():
        _intervals(nwb, name, rows)
    for name, (times, values, options) in (behavior or {}).items():
        module = nwb.processing.get("behavior") or nwb.create_processing_module("behavior", "behaviour")
        module.add(TimeSeries(name=name, data=np.asarray(values, float), timestamps=np.asarray(times, float), **options))
    return nwb


def _electrodes(nwb, locations):
    group = nwb.create_electrode_group("g", "g", "brain", nwb.create_device("d"))
    for location in locations:
        nwb.add_electrode(group=group, location=location)


def _intervals(nwb, name, rows):
    table = TimeIntervals(name=name, description="intervals")
    for column in set(rows) - {"start_time", "stop_time", "id"}:
        table.add_column(column, column)
    for row in range(len(rows["start_time"])):
        table.add_row({column: values[row] for column, values in rows.items()})
    if name == "trials":
        nwb.trials = table
    else:
        nwb.add_time_intervals(table)


@pytest.fixture
def make_calcium():
    """Build an NWBFile with ROI series: name -> (values, options)."""
    return calcium


def calcium(series, *, rois=None, roi_ids=None, trials=None):
    nwb = NWBFile("calcium", "calcium-1", START)
    device, count = nwb.create_device("scope"), 4
    plane = nwb.create_imaging_plane(
        name="plane", optical_channel=OpticalChannel(name="c", description="c", emission_lambda=500.0),
        description="p", device=device, excitation_lambda=400.0, indicator="i", location="HVC", imaging_rate=30.0,
    )  # fmt: skip
    module = nwb.create_processing_module("ophys", "ophys")
    module.add(segmentations := ImageSegmentation())
    segmentation = segmentations.create_plane_segmentation(name="PlaneSegmentation", description="s", imaging_plane=plane)
    segmentation.add_column("iscell", "is it a cell")
    for row in range(count):
        segmentation.add_roi(pixel_mask=[(row, 1, 1.0)], iscell=row != 1, id=row if roi_ids is None else roi_ids[row])
    module.add(holder := Fluorescence())
    for name, (values, options) in series.items():
        rows = list(range(np.shape(values)[1])) if rois is None else rois
        region = segmentation.create_roi_table_region(description="rois", region=rows)
        holder.add_roi_response_series(RoiResponseSeries(name=name, data=values, rois=region, unit="a.u.", **options))
    if trials is not None:
        _intervals(nwb, "trials", trials)
    return nwb
