"""select-rank, restarts, generate, uncertainty and evaluate --generative, as a user types them, on a small written file."""

import numpy as np
import pytest
from test_cli import QUICK, record

from nwb_lowrank.cli import main

DATA = ["--bin", "0.1", "--held-out", "0.34", "--threads", "1", *QUICK]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return record(tmp_path_factory.mktemp("trust") / "session.nwb", trials=16)


@pytest.fixture(scope="module")
def fitted(recording):
    out = recording.with_name("fitted.nwb")
    assert main(["fit", str(recording), "--rank", "2", "--proposal", "laplace", "--output", str(out), *DATA]) == 0
    return out


def test_select_rank_prints_a_table_and_a_recommendation(recording, tmp_path, capsys):
    scores = tmp_path / "scores.csv"
    words = ["select-rank", str(recording), "--ranks", "1", "2", "--folds", "2", "--csv", str(scores), *DATA]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "co-bps SE" in text and "the smallest within one standard error of the best co-bps (2 folds, 100 ms bins)" in text
    assert len(scores.read_text().splitlines()) == 5


def test_restarts_print_spread_and_agreement(recording, tmp_path, capsys):
    best = tmp_path / "best.safetensors"
    words = [
        "restarts",
        str(recording),
        "--rank",
        "1",
        "--seeds",
        "0",
        "1",
        "--save-best",
        str(best),
        "--proposal",
        "encoder_laplace",
        *DATA,
    ]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "spread over the seeds: bound" in text and "latents" in text and best.exists()


def test_generate_prints_scores_beside_their_ceiling_and_writes(fitted, tmp_path, capsys):
    out = tmp_path / "generated.npz"
    for start in ("posterior", "prior"):
        assert main(["generate", str(fitted), "--draws", "2", "--start", start, "--output", str(out)]) == 0
        text = capsys.readouterr().out
        assert "D_stsp" in text and "ceiling" in text and "2 draws" in text
    with np.load(out) as arrays:
        assert arrays["latents"].shape[:1] == (2,) and arrays["observations"].shape[:3] == arrays["latents"].shape[:3]
    assert main(["evaluate", str(fitted), "--generative", "2"]) == 0
    text = capsys.readouterr().out
    assert "co-bps" in text and "gen-pop-H" in text


def test_uncertainty_prints_intervals(fitted, capsys):
    assert main(["uncertainty", str(fitted), "--refits", "2", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "the fit as it is, 3 test trials" in text and "co-bps" in text and "decay" in text


def test_what_cannot_be_is_refused_in_one_line(recording, capsys):
    assert main(["select-rank", str(recording), "--ranks", "0", *DATA]) == 2
    assert "ranks must lie between 1 and" in capsys.readouterr().err
    for words in (["restarts", str(recording), "--rank", "1", "--save-best", "/proc/no/best.safetensors", *DATA],
                  ["select-rank", str(recording), "--ranks", "1", "2", "--csv", "/proc/no/scores.csv", *DATA]):  # fmt: skip
        assert main(words) == 2  # before anything is fitted
        assert "cannot write '/proc/no/" in capsys.readouterr().err
    assert main(["restarts", str(recording), "--rank", "1", "--test", "0", *DATA]) == 2
    assert "fits are compared on test trials" in capsys.readouterr().err
    assert main(["fit", str(recording), "--rank", "1", "--proposal", "laplace", "--causal", *DATA]) == 2
    assert "--causal is for the encoders" in capsys.readouterr().err
