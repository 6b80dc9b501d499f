"""NWB in a Zarr folder, through hdmf-zarr when it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hdmf.backends.io import HDMFIO


def is_zarr(path: Path) -> bool:
    """A folder with the files that mark a Zarr group."""
    return path.is_dir() and any((path / mark).exists() for mark in (".zgroup", ".zattrs", ".zmetadata", "zarr.json"))


@contextmanager
def open_zarr(path: Path, who: str) -> Iterator[HDMFIO]:
    """A reader of the store.

    Raises
    ------
    ValueError
        hdmf-zarr is not installed, or the store is not one that it can open.
    """
    try:
        from hdmf_zarr import NWBZarrIO
    except ImportError:
        raise ValueError(f"{who}: '{path}' is a Zarr store, which needs hdmf-zarr. Install it: pip install 'nwb_lowrank[zarr]'.") from None
    try:
        io = NWBZarrIO(str(path), "r", load_namespaces=True)
    except Exception as error:  # zarr answers a broken store with many kinds of exception
        raise ValueError(f"{who}: '{path}' is a damaged Zarr store ({error}). Copy or download it again.") from None
    with io:
        yield io
