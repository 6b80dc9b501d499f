"""Nested settings as rows of dotted keys and JSON values, and back (an NWB cell must not hold a JSON object)."""

from __future__ import annotations

import json

import numpy as np


def flatten(nested: dict, prefix: str = "") -> dict[str, str]:
    """{'a': {'b': 1}, 'c': [{'d': 2}]} -> {'a.b': '1', 'c.[0].d': '2'}."""
    rows: dict[str, str] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
            value = {f"[{index}]": item for index, item in enumerate(value)}
        if isinstance(value, dict) and value:
            rows |= flatten(value, name + ".")
        else:
            rows[name] = json.dumps(value, default=_plain)
    return rows


def unflatten(rows: dict[str, str]) -> dict:
    """The inverse of `flatten`."""
    nested: dict = {}
    for name, value in rows.items():
        *path, last = name.split(".")
        at = nested
        for key in path:
            at = at.setdefault(key, {})
        at[last] = json.loads(value)
    return _with_lists(nested)


def _with_lists(value):
    """Dictionaries with the keys [0], [1], ... as the lists that they were."""
    if not isinstance(value, dict):
        return value
    items = {key: _with_lists(item) for key, item in value.items()}
    return list(items.values()) if items and all(key.startswith("[") for key in items) else items


def _plain(value):
    """Numbers and arrays of numpy as JSON knows them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return str(value)
