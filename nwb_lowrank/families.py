"""A folder is a family of rivals: whatever class a file of it defines is offered, without a list to keep."""

from __future__ import annotations

import importlib
import inspect
import pkgutil


def export(package: str, path, namespace: dict) -> list[str]:
    """Import every file of a family folder and put its public classes into `namespace`."""
    names = []
    for info in pkgutil.iter_modules(path):
        module = importlib.import_module(f"{package}.{info.name}")
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                namespace[name] = value
                names.append(name)
    return sorted(names)


def members(package, base: type) -> dict[str, type]:
    """The concrete rivals of a family by their command-line name, which is the name of their file.

    Parameters
    ----------
    package : module
        A family folder, such as `nwb_lowrank.observations`.
    base : type
        Its base class.
    """
    classes = (getattr(package, name) for name in package.__all__)
    return {
        cls.__module__.rpartition(".")[2]: cls
        for cls in classes
        if issubclass(cls, base) and cls is not base and not inspect.isabstract(cls)
    }
