"""Recordings that are not on this machine: on DANDI, or at any http(s) URL."""

from __future__ import annotations

from ._dandi_address import is_dandi, is_url


def is_remote(source) -> bool:
    """True for text that names a place on DANDI or a URL."""
    return is_dandi(source) or is_url(source)


def find_remote(source: str):
    """The asset on DANDI (`dandi.Asset`) or the file behind a URL (`WebFile`): both have path, origin, download and stream.

    Raises
    ------
    FileNotFoundError, PermissionError, ConnectionError, TimeoutError, ValueError
        One sentence without secrets.
    """
    try:
        from . import _web as web
        from . import dandi
    except ImportError as error:
        raise ImportError(
            f"url: expected the packages that fetch files; got '{error}'. Install them: pip install 'nwb_lowrank[dandi]'"
        ) from None
    return web.find_file(source) if is_url(source) else dandi.find_asset(source)
