"""One thread (bytes must not depend on the machine's load) and the shared recordings."""

import os
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))  # oracles and problems, from every folder
pytest_plugins = ["dandi_fixtures"]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def shared_data() -> Path:
    """Folder of the shared recordings, or skip."""
    folder = Path(os.environ.get("NWB_LOWRANK_SHARED", TESTS.parents[1] / "shared" / "data"))
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    return folder
