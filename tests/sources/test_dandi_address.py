"""Everything that people write for a place on DANDI."""

import pytest

from nwb_lowrank.sources._dandi_address import Address, is_dandi, parse, spelled

FILE = "sub-J/sub-J_ses-small_desc-train_behavior+ecephys.nwb"


@pytest.mark.parametrize("text, wanted", [
    ("DANDI:000140", Address("000140")),
    ("dandi:000140/draft", Address("000140", "draft")),
    ("DANDI:000140/0.220113.0408", Address("000140", "0.220113.0408")),
    (f"DANDI:000140/0.220113.0408/{FILE}", Address("000140", "0.220113.0408", FILE)),
    ("000140", Address("000140")),
    ("000140/0.220113.0408", Address("000140", "0.220113.0408")),
    ("dandi://dandi/000140/0.220113.0408", Address("000140", "0.220113.0408", instance="dandi")),
    (f"dandi://dandi/000140/0.220113.0408/{FILE}", Address("000140", "0.220113.0408", FILE, "dandi")),
    (f"dandi://dandi/000140@0.220113.0408/{FILE}", Address("000140", "0.220113.0408", FILE, "dandi")),
    ("dandi://dandi/000140/sub-J/", Address("000140", None, "sub-J/", "dandi")),
    ("dandi://dandi-sandbox/000140@draft/sub-*/*.nwb", Address("000140", "draft", "sub-*/*.nwb", "dandi-sandbox")),
    ("dandi://000140/draft", Address("000140", "draft")),
    ("dandi://127.0.0.1:8000/000140", Address("000140", instance="127.0.0.1:8000")),
    ("https://dandiarchive.org/dandiset/000140/0.220113.0408", Address("000140", "0.220113.0408", instance="dandi")),
    ("https://gui.dandiarchive.org/#/dandiset/000140", Address("000140", instance="dandi")),
    ("https://dandiarchive.org/dandiset/000140/draft/files?location=sub-J&page=1", Address("000140", "draft", "sub-J/", "dandi")),
])  # fmt: skip
def test_spellings(text, wanted):
    assert parse(text) == wanted


def test_what_is_stored_is_read_again_here_and_by_the_client():
    """The client takes `dandi://dandi/ID/VERSION` for a path; what we store names the version after @, as it wants it."""
    from dandi.dandiarchive import _dandi_url_parser

    url = spelled("dandi", "000140", "0.220113.0408", FILE)
    assert parse(url) == Address("000140", "0.220113.0408", FILE, "dandi")
    groups = next(m for regex, *_ in _dandi_url_parser.known_urls if (m := regex.fullmatch(url))).groupdict()
    assert (groups["dandiset_id"], groups["version"], groups["location"]) == ("000140", "0.220113.0408", FILE)


def test_only_places_on_dandi_are_taken_for_one():
    api = "https://api.dandiarchive.org/api/"
    assert all(map(is_dandi, ["DANDI:000140", "dandi://dandi/000140", f"{api}dandisets/000140/versions/draft/assets/?path=sub-1",
                              f"{api}assets/7821971e-c6a4-4568-8773-1bfa205c13f8/download/"]))  # fmt: skip
    assert not any(map(is_dandi, ["000140", "dandi.nwb", "data/dandisets/000140.nwb", "https://some.org/session.nwb", "C:\\a.nwb"]))


@pytest.mark.parametrize("text", ["", "140", "DANDI:abc", "dandi://dandi/12", "https://some.org/session.nwb", "sub-1/file.nwb"])
def test_anything_else_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match=r"expected a place such as .* got .* Write one of these"):
        parse(text)
