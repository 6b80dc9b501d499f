"""Nested settings as rows of dotted keys and JSON values, and back (an NWB cell must not hold a JSON object)."""

from __future__ import annotations

import json

import numpy as np


def flatten(nested: dict, prefix: str = "") -> dict[str, str]:
    """{'a': {'b': 1}} -> {'a.b': '1'}; an empty dictionary leaves no row."""
    rows: dict[str, str] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows |= flatten(value, name + ".")
        else:
            rows[name] = json.dumps(value, default=_plain)
    return rows


def unflatten(rows: dict[str, str]) -> dict:
    """The inverse of `flatten`, but for empty dictionaries."""
    nested: dict = {}
    for name, value in rows.items():
        *path, last = name.split(".")
        at = nested
        for key in path:
            at = at.setdefault(key, {})
        at[last] = json.loads(value)
    return nested


def _plain(value):
    """Numbers and arrays of numpy as JSON knows them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return str(value)
