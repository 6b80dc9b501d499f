"""RemoteFile against a plain file: the same bytes for any reads, and no more traffic than it promises."""

import io

import numpy as np
import pytest

from nwb_lowrank.sources import _ranges
from nwb_lowrank.sources._ranges import AHEAD, BLOCK, LARGE, MOST_AHEAD, RemoteFile

SIZE = 40 * BLOCK + 12_345


@pytest.fixture
def remote():
    """A RemoteFile whose server is an array."""
    content = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes()
    file = RemoteFile(lambda fresh: "http://nowhere", SIZE, "array")
    file.asked = []

    def answer(start, stop):
        file.asked.append((start, stop))
        return content[start:stop]

    file._answer = answer
    return file, content


def test_any_reads_give_the_bytes_of_the_file(remote):
    file, content = remote
    local, rng = io.BytesIO(content), np.random.default_rng(1)
    for _ in range(300):
        where, size = int(rng.integers(0, SIZE + 100)), int(rng.choice([1, 8, 512, BLOCK, BLOCK + 1, LARGE, 5 * BLOCK]))
        file.seek(where)
        local.seek(where)
        assert file.read(size) == local.read(size) and file.tell() == local.tell()
    file.seek(-10, io.SEEK_END)
    assert file.read() == content[-10:] and file.read() == b""


def test_large_reads_move_exactly_what_they_ask_for_and_once(remote):
    file, content = remote
    for _ in range(2):
        file.seek(1000)
        assert file.read(10 * BLOCK) == content[1000 : 1000 + 10 * BLOCK]
    assert file.asked[0] == (1000, 1000 + 10 * BLOCK)
    assert sum(stop - start for start, stop in file.asked[1:]) <= 2 * BLOCK  # the second time only the blocks at the two ends


def test_reading_on_in_small_steps_takes_few_requests_and_little_too_much(remote):
    """Chunk after chunk of 16 kB, as HDF5 reads small chunks: the run ahead grows with the run, by a quarter of it."""
    file, content = remote
    stop = 20 * BLOCK
    assert b"".join(file.read(16 << 10) for _ in range(stop // (16 << 10))) == content[:stop]
    moved = sum(stop - start for start, stop in file.asked)
    assert len(file.asked) < 14 and moved <= stop * (1 + 1 / AHEAD) + BLOCK
    assert max(stop - start for start, stop in file.asked) <= (MOST_AHEAD + 1) * BLOCK


def test_a_small_file_is_one_request(remote):
    file, content = remote
    file.size = 20 * BLOCK + 5
    for where in (100, 3 * BLOCK, 0):
        file.seek(where)
        assert file.read(4 * BLOCK) == content[where : where + 4 * BLOCK]
    file.seek(-3, io.SEEK_END)
    assert file.read(10) == content[file.size - 3 : file.size] and file.asked == [(0, file.size)]


def test_memory_is_bounded(remote, monkeypatch):
    file, content = remote
    monkeypatch.setattr(_ranges, "KEPT", 8)
    for where in range(0, SIZE, BLOCK):
        file.seek(where)
        assert file.read(10) == content[where : where + 10] and len(file._blocks) <= 8 + MOST_AHEAD


def test_a_short_answer_is_asked_for_again(remote, monkeypatch):
    file, content = remote
    monkeypatch.setattr(_ranges, "WAITS", (0.001,))
    whole, cuts = file._answer, [10, None]
    file._answer = lambda start, stop: whole(start, stop)[: cuts.pop(0)]
    assert file.read(100) == content[:100]
    cuts[:] = [10, 10]
    file.seek(5 * BLOCK)
    with pytest.raises(ConnectionError, match="ended after 10 of .* bytes, 2 times"):
        file.read(100)
