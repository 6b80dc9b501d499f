"""A recipe: the class of an object and its constructor arguments, as JSON. What a saved fit is rebuilt from.

Every model part keeps its constructor arguments as attributes of the same name
(scikit-learn's rule), so a recipe needs no code in the parts themselves.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

TRUSTED = ("nwb_lowrank.",)


def recipe(part: Any) -> Any:
    """The JSON-able recipe of `part`; scalars, strings, None and lists of them are their own recipe."""
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if isinstance(part, (tuple, list)):
        return [recipe(item) for item in part]
    names = [name for name in inspect.signature(type(part).__init__).parameters if name not in ("self", "args", "kwargs")]
    arguments = {name: recipe(getattr(part, name)) for name in names}
    return {"class": f"{type(part).__module__}:{type(part).__qualname__}", "arguments": arguments}


def build(description: Any, trusted: tuple[str, ...] = TRUSTED) -> Any:
    """The object that a recipe describes.

    Parameters
    ----------
    description : JSON value made by `recipe`
    trusted : tuple of str
        Module prefixes that may be imported. A data file must not be able to run code.

    Raises
    ------
    ValueError
        The class lies outside `trusted`.
    """
    if isinstance(description, list):
        return [build(item, trusted) for item in description]
    if not isinstance(description, dict):
        return description
    module, _, name = description["class"].partition(":")
    if not module.startswith(trusted):
        raise ValueError(
            f"recipe: expected a class from {', '.join(trusted)}; got {description['class']!r}. "
            "Pass trusted=(..., 'your_package.') if you trust where this file came from."
        )
    cls = getattr(importlib.import_module(module), name, None)
    if not (inspect.isclass(cls) and cls.__module__.startswith(trusted)):
        raise ValueError(f"recipe: expected a class of {', '.join(trusted)}; got {description['class']!r}. Do not load this file.")
    return cls(**{key: build(value, trusted) for key, value in description["arguments"].items()})
