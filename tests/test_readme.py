"""What README shows works as it stands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import nwb_lowrank as nl
from nwb_lowrank.cli import build_parser
from nwb_lowrank.demo import write_session
from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_block_runs_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_session(tmp_path / "session.nwb", simulate_session(decision_teacher(), trials=30, seed=2))
    # The default training takes minutes: a tenth of it is enough to see that the calls fit together.
    quick = nl.FitSettings(warm_rounds=4, warm_steps=5, steps=4, particles=8)
    monkeypatch.setattr(nl.fit, "__defaults__", (quick,))
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "(6, 50, 2)" in out and "co-bps" in out
    results = nl.read_results(tmp_path / "session_lowrank.nwb")
    assert np.array_equal(results.posterior.rates, names["posterior"].rates)
    assert results.trials.held_out.sum() == 4


def commands():
    """Every nwb-lowrank command of README's indented blocks, continued lines joined."""
    text = README.replace("\\\n", " ")
    return [line.strip().split(" # ")[0] for line in text.splitlines() if line.startswith("    nwb-lowrank ")]


@pytest.mark.parametrize("command", commands())
def test_the_commands_parse(command):
    build_parser().parse_args(shlex.split(command)[1:])


def test_there_are_commands():
    assert {shlex.split(command)[1] for command in commands()} >= {"info", "fit", "evaluate", "fixed-points", "plot"}


def test_the_two_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^    make ([\w-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_public_names_in_readme_exist():
    assert {name for name in re.findall(r"\bnl\.(\w+)", README) if not hasattr(nl, name)} == set()
