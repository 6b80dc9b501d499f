"""Submissions: refused before anything is written, read back as written, merged, scored from files."""

import hashlib

import h5py
import nlb_cases
import numpy as np
import pytest

from nwb_lowrank.metrics.nlb import evaluate_nlb
from nwb_lowrank.sinks.nlb import (
    FORWARD,
    RELEASED,
    REQUIRED,
    merge_submissions,
    read_groups,
    score_submission,
    target_shapes,
    write_submission,
    write_target,
)


@pytest.fixture
def case():
    target, rates = nlb_cases.score_case("velocity")
    rates["mc_maze_20"]["eval_rates_heldout"][2, 3] = 0.01
    for x in rates["mc_maze_20"].values():
        np.maximum(x, 0.01, out=x)
    return target, rates, target_shapes(target)


def test_layout_is_the_servers(tmp_path, case):
    target, rates, shapes = case
    path = write_submission(tmp_path / "mine.h5", rates, shapes)
    with h5py.File(path) as file:
        assert list(file) == ["mc_maze_20"] and set(file["mc_maze_20"]) == {*REQUIRED, *FORWARD}
        for name, data in file["mc_maze_20"].items():
            assert data.dtype == np.float32 and data.shape == rates["mc_maze_20"][name].shape and data.compression == "gzip"
            assert np.array_equal(data[()], rates["mc_maze_20"][name].astype(np.float32))


def test_shapes_of_the_target_are_those_of_the_dataset(tmp_path):
    from nwb_lowrank.sources.nlb import read_nlb

    benchmark = read_nlb("mc_rtt", nlb_cases.write_case(tmp_path / "train.nwb", "mc_rtt"))
    (wanted,), (told,) = benchmark.submission_shapes().values(), target_shapes({benchmark.group: benchmark.target()}).values()
    assert wanted == told and set(wanted) == {*REQUIRED, *FORWARD}


def test_same_rates_same_bytes(tmp_path, case):
    _, rates, shapes = case
    digests = {hashlib.sha256(write_submission(tmp_path / name, rates, shapes).read_bytes()).hexdigest() for name in ("a.h5", "b.h5")}
    assert len(digests) == 1


def test_scores_from_files_are_those_of_the_arrays(tmp_path, case):
    target, rates, shapes = case
    where = write_target(tmp_path / "target.h5", target), write_submission(tmp_path / "mine.h5", rates, shapes)
    values, expected = score_submission(*where)["mc_maze_20_split"], evaluate_nlb(target, rates)["mc_maze_20_split"]
    assert values == pytest.approx(expected, rel=1e-4)  # files are float32


@pytest.mark.parametrize("spoil, message", [
    (lambda r: r.update(mc_maze=r.pop("mc_maze_20")), "expected the group 'mc_maze_20'; got mc_maze"),
    (lambda r: r["mc_maze_20"].pop("train_rates_heldin"), "must hold 'train_rates_heldin'"),
    (lambda r: r["mc_maze_20"].pop("eval_rates_heldin_forward"), "must hold 'eval_rates_heldin_forward'"),
    (lambda r: r["mc_maze_20"].update(eval_rates_heldout=np.ones((8, 11, 3))), r"must have the shape .*\(8, 12, 3\)"),
    (lambda r: r["mc_maze_20"].update(rates=np.ones(3)), "no place for 'rates'"),
    (lambda r: r["mc_maze_20"]["eval_rates_heldin"].__setitem__((0, 0, 0), np.nan), "NaN or infinity"),
    (lambda r: r["mc_maze_20"]["eval_rates_heldin"].__setitem__((0, 0, 0), np.inf), "NaN or infinity"),
    (lambda r: r["mc_maze_20"]["train_rates_heldout"].__setitem__((0, 0, 0), -0.1), "negative rate"),
    (lambda r: r["mc_maze_20"]["train_rates_heldout"].__setitem__((0, 0, 0), 0.0), "rate of zero"),
    (lambda r: r.update(mc_rtt=r["mc_maze_20"]), "no group 'mc_rtt'"),
])  # fmt: skip
def test_what_would_not_be_scored_is_not_written(tmp_path, case, spoil, message):
    _, rates, shapes = case
    spoil(rates)
    with pytest.raises(ValueError, match=message) as error:
        write_submission(tmp_path / "mine.h5", rates, shapes)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_scaling_datasets_go_into_one_file(tmp_path, case):
    _, rates, shapes = case
    paths = []
    for size in ("small", "medium", "large"):
        group = f"mc_maze_{size}_20"
        paths.append(write_submission(tmp_path / f"{size}.h5", {group: rates["mc_maze_20"]}, {group: shapes["mc_maze_20"]}))
    merged = read_groups(merge_submissions(paths, tmp_path / "all.h5"))
    assert set(merged) == {"mc_maze_small_20", "mc_maze_medium_20", "mc_maze_large_20"}
    with pytest.raises(ValueError, match="more than one file"):
        merge_submissions([paths[0], paths[0]], tmp_path / "twice.h5")


def test_the_released_target_is_verified(tmp_path, case):
    path = write_target(tmp_path / RELEASED[0], case[0])
    with pytest.raises(ValueError, match="must be the benchmark's released test target"):
        read_groups(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_groups(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("rates")
    with pytest.raises(ValueError, match="is something else"):
        read_groups(tmp_path / "text.h5")
