"""Written files in the hands of other programs: pynapple, spikeinterface, nwbinspector, dandi."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nwb_lowrank.sinks.nwb import write_nwb

from .conftest import new_findings


@pytest.fixture(scope="module")
def named(tmp_path_factory, source, results):
    """Source and output under names that DANDI takes, and a sidecar."""
    folder = tmp_path_factory.mktemp("dandiset") / "sub-simulated"
    folder.mkdir()
    own = shutil.copy(source, folder / "sub-simulated_ses-1_ecephys.nwb")
    path = write_nwb(own, results)
    return own, path, write_nwb(own, results, output=folder / "sub-simulated_ses-1_desc-results_ecephys.nwb", sidecar=True)


def test_pynapple_sees_latents_rates_and_windows(named, results):
    nap = pytest.importorskip("pynapple")
    inside = np.arange(results.trials.bins) < results.trials.lengths[:, None]
    for path in named[1:]:
        session = nap.load_file(str(path))
        assert {"fit0_latents", "fit0_latents_sd", "fit0_rates", "fit0_windows"} <= set(session.keys())
        latents = session["fit0_latents"]
        assert np.allclose(latents.values, results.posterior.latents[inside]) and np.allclose(latents.t, results.trials.times[inside])
        assert np.allclose(session["fit0_windows"].start, results.trials.starts)
        session.close()


def test_spikeinterface_reads_the_spikes_of_the_output_as_of_the_source(named):
    extractors = pytest.importorskip("spikeinterface.extractors.nwbextractors")
    one, two = (extractors.NwbSortingExtractor(str(path), sampling_frequency=1e4, t_start=0.0) for path in named[:2])
    assert list(one.unit_ids) == list(two.unit_ids)
    for unit in one.unit_ids:
        assert np.array_equal(one.get_unit_spike_train(unit, 0), two.get_unit_spike_train(unit, 0))


def test_the_inspector_finds_nothing_that_was_not_in_the_source(named):
    assert new_findings(named[1], named[0]) == set() and new_findings(named[2], named[0]) == set()


def test_dandi_accepts_output_and_sidecar(named, tmp_path):
    """`dandi validate` in a process of its own, with no network and a home of its own."""
    pytest.importorskip("dandi")
    root = named[0].parent.parent
    (root / "dandiset.yaml").write_text("identifier: '000000'\nname: test\n")
    environment = {**os.environ, "DANDI_NO_ET": "1", "HOME": str(tmp_path), "DANDI_CACHE": "ignore", "NO_COLOR": "1"}
    dandi = [sys.executable, "-c", "from dandi.cli.command import main; main()", "validate"]
    for path in named[1:]:
        done = subprocess.run([*dandi, str(path)], capture_output=True, text=True, env=environment, cwd=root)
        assert done.returncode == 0 and "ERROR" not in done.stdout, done.stdout + done.stderr
