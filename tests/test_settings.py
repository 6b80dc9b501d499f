"""The numbers of a fit: what cannot be is refused with the mend, before anything begins."""

import math

import pytest

from nwb_lowrank import FitSettings
from nwb_lowrank.cli import build_parser
from nwb_lowrank.job import settings


@pytest.mark.parametrize("name, value, words", [
    ("particles", 0, "at least 1; got 0. Leave it out for 16"), ("batch_size", -1, "at least 1"), ("segment", 0, "at least 1"),
    ("steps", -3, "at least 0"), ("warm_rounds", -1, "at least 0"), ("learning_rate", 0.0, "above 0"), ("clip", math.nan, "above 0"),
    ("dropout", 1.0, "a share from 0 to below 1"), ("validation", -0.1, "a share"), ("resample_threshold", math.nan, "at least 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused(name, value, words):
    with pytest.raises(ValueError, match=f"FitSettings: {name} must be {words}"):
        FitSettings(**{name: value})


def test_the_ends_of_the_ranges_are_allowed():
    FitSettings(particles=1, batch_size=1, segment=1, steps=0, warm_rounds=0, dropout=0.0, validation=0.0, resample_threshold=1.0)


def test_the_command_line_sets_every_number():
    options = build_parser().parse_args(
        ["fit", "x.nwb", "--rank", "1", "--steps", "7", "--set", "multinomial=true", "resample_threshold=1", "resampling_gradient=False",
         "patience=9"]
    )  # fmt: skip
    wanted = FitSettings(steps=7, multinomial=True, resample_threshold=1.0, resampling_gradient=False, patience=9)
    assert settings(options) == wanted
