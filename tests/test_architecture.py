"""Who may import whom, and other house laws, read off the syntax trees."""

import ast
import statistics
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nwb_lowrank"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}

# Parts of the package that a file may import. The first pattern that fits counts; a family may always import itself.
MAY = {
    "__init__.py": "",
    "trials.py": "",
    "gaussian.py": "",
    "resampling.py": "",
    "recipe.py": "",
    "families.py": "",
    "nonlinearities/*": "families",
    "readouts/*": "families",
    "observations/*": "families readouts",
    "model.py": "gaussian nonlinearities observations",
    "proposals/*": "families gaussian model observations readouts recipe",  # observations, readouts: linear_gaussian asks what they are
    "filter.py": "gaussian resampling proposals.base",
    "smoother.py": "gaussian filter",
    "initialise.py": "trials",
    "warm_start.py": "gaussian filter proposals.base resampling smoother",
    "reading.py": "",
    "settings.py": "",
    "results.py": "trials reading recipe settings",
    "checkpoint.py": "",
    "checks.py": "trials",
    "batches.py": "trials",
    "training.py": "batches checkpoint checks filter model proposals recipe resampling results smoother trials warm_start",
    "fit.py": "checkpoint checks filter initialise model recipe resampling results smoother training trials warm_start",
    "alignment.py": "",
    "sessions.py": "alignment checks fit initialise proposals recipe results trials",
    "adapting.py": "alignment checks fit initialise recipe results trials",
    "infer.py": "checks filter model resampling results smoother trials",
    "generate.py": "results trials",
    "events.py": "results trials",
    "fixed_points.py": "model nonlinearities results searches",
    "searches/*": "families model nonlinearities results",
    "dynamics/*": "families model nonlinearities reading results fixed_points searches",
    "trust/*": "alignment families trials results fit infer fixed_points searches metrics",
    "metrics/*": "families trials results",
    "plots/*": "families trials results metrics dynamics searches.base",  # the PSTH that is drawn is the one that is scored
    "sources/synthetic*.py": "trials model gaussian nonlinearities observations",
    "sources/teachers.py": "trials model gaussian nonlinearities observations",
    "sources/*": "families trials",
    "sinks/nlb.py": "metrics",  # a submission is scored where it is read
    "sinks/*": "families trials reading results recipe sources dynamics.base",  # results are cut again through the one reading door
    # Skins over the public functions.
    "batch.py": "*",
    "tasks.py": "*",
    "cli.py": "*",
    "commands/*": "*",
    "job.py": "*",
    "demo.py": "*",
    "nlb_recipe.py": "results",
    "nlb_job.py": "*",
}

# Heavy packages and the only files that may import them.
DOORS = {
    "pynwb hdmf": "sources/*nwb* sinks/*",
    "h5py": "sources/*nwb* sources/nlb.py sinks/*",
    "dandi dandischema": "sources/*dandi* sinks/dandi.py",
    "nwbinspector": "sinks/dandi.py",
    "spikeinterface": "sources/sorting.py",
    "pynapple": "sinks/pynapple.py",  # sources/pynapple.py knows its objects when it sees them
    "hdmf_zarr zarr": "sources/_nwb_zarr.py",
    "xarray": "sinks/tables.py",
    "sklearn": "initialise.py metrics/decoding.py metrics/few_shot.py",
    "matplotlib": "plots/*",
    "numba": "searches/lanes.py",
    "dask distributed": "batch.py",
}

TORCHLESS = "trials.py sources/* sinks/* metrics/* plots/*"  # numpy outside
FILELESS = "model.py filter.py smoother.py gaussian.py resampling.py proposals/* nonlinearities/* observations/* readouts/*"  # torch inside


def fits(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns.split())


def imports(name):
    """Dotted names of all modules that a file imports, anywhere in it: 'torch.nn', 'nwb_lowrank.gaussian'."""
    package = ["nwb_lowrank", *Path(name).parent.parts]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            # `from . import x` and `from nwb_lowrank import x` name their part in x
            yield from ([f"{origin}.{alias.name}" for alias in node.names] if origin == "nwb_lowrank" else [origin])


def own_parts(name):
    """'gaussian', 'proposals.base', ...: parts of this package that a file imports."""
    return {module.removeprefix("nwb_lowrank.") for module in imports(name) if module.startswith("nwb_lowrank.")}


def test_the_package_is_where_it_is_looked_for():
    assert {"filter.py", "proposals/base.py", "sources/nwb.py"} <= set(FILES)
    assert "gaussian" in own_parts("filter.py") and "proposals.base" in own_parts("filter.py")


@pytest.mark.parametrize("name", FILES)
def test_who_may_import_whom(name):
    allowed = next((parts for pattern, parts in MAY.items() if fnmatch(name, pattern)), None)
    assert allowed is not None, f"{name} is new: say in MAY what it may import"
    if allowed == "*":
        return
    family = Path(name).parts[0] if "/" in name else None
    allowed = set(allowed.split()) | {family, "__version__"}
    strangers = {part for part in own_parts(name) if not any(part == a or part.startswith(f"{a}.") for a in allowed if a)}
    assert not strangers, f"{name} may not import {', '.join(sorted(strangers))}"


@pytest.mark.parametrize("heavy", DOORS)
def test_heavy_packages_have_their_door(heavy):
    users = {name for name in FILES if any(module.split(".")[0] in heavy.split() for module in imports(name))}
    assert {name for name in users if not fits(name, DOORS[heavy])} == set()


@pytest.mark.parametrize("packages, patterns", [
    ("torch safetensors.torch", TORCHLESS),
    ("pynwb hdmf dandi h5py pandas spikeinterface", FILELESS),
])  # fmt: skip
def test_numpy_outside_torch_inside(packages, patterns):
    inside = [name for name in FILES if fits(name, patterns) and not fits(name, "sources/synthetic*.py")]
    assert inside
    users = {name: module for name in inside for module in imports(name)
             if any(module == p or module.startswith(f"{p}.") for p in packages.split())}  # fmt: skip
    assert users == {}


def test_importing_the_package_costs_nothing():
    """A fresh process: none of the heavy packages is loaded, and the public names are all there when asked for."""
    heavy = ["torch", "pynwb", "hdmf", "h5py", "dandi", "spikeinterface", "sklearn", "matplotlib", "pandas", "scipy"]
    code = f"import sys, nwb_lowrank; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert out.stdout.strip() == "[]"


def test_files_stay_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: n for name, n in lengths.items() if n > 350} == {}
    assert statistics.median(lengths.values()) < 120
    assert max(len(Path(name).parts) for name in FILES) <= 2  # depth never exceeds family/idea.py


def statements(kind):
    return [(name, node) for name, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, kind)]


def test_no_lambda_is_stored_as_an_attribute():
    """A stored lambda breaks pickle and deepcopy. Class bodies and self.x = lambda both count; `property(lambda ...)` is a call."""
    stored = [
        f"{name}:{node.lineno}"
        for name, node in statements((ast.Assign, ast.AnnAssign))
        if isinstance(node.value, ast.Lambda)
        and any(isinstance(target, ast.Attribute) for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))
    ]
    in_classes = [
        f"{name}:{line.lineno}" for name, node in statements(ast.ClassDef) for line in node.body
        if isinstance(line, (ast.Assign, ast.AnnAssign)) and isinstance(line.value, ast.Lambda)
    ]  # fmt: skip
    assert stored + in_classes == []


def test_print_and_assert_are_not_for_users():
    printing = {f"{name}:{node.lineno}" for name, node in statements(ast.Call)
                if isinstance(node.func, ast.Name) and node.func.id == "print" and not fits(name, "cli.py demo.py commands/*")}  # fmt: skip
    asserting = {f"{name}:{node.lineno}" for name, node in statements(ast.Assert)}
    assert printing | asserting == set()


def test_no_pickle():
    """Saved fits are safetensors and JSON: a data file must not be able to run code."""
    loaders = {name for name in FILES for module in imports(name) if module.split(".")[0] in ("pickle", "dill", "joblib", "shelve")}
    calls = {f"{name}:{node.lineno}" for name, node in statements(ast.Call)
             if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in ("torch.load", "torch.save")}  # fmt: skip
    assert loaders | calls == set()


def test_randomness_is_explicit():
    """Every draw names its generator; numpy's and torch's global state is never used."""
    draws = ("torch.randn", "torch.rand", "torch.randint", "torch.randperm", "torch.poisson", "torch.multinomial", "torch.bernoulli")
    hidden = []
    for name, node in statements(ast.Call):
        called = ast.unparse(node.func)
        if called in draws and not any(keyword.arg == "generator" for keyword in node.keywords):
            hidden.append(f"{name}:{node.lineno}")
        if called == "torch.manual_seed" or (fnmatch(called, "np.random.*") and "default_rng" not in called):
            hidden.append(f"{name}:{node.lineno}")
    assert hidden == []
