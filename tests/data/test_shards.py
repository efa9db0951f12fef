"""Rows over shards: what the index says, in its order, however it is cut."""

import numpy as np
import pandas as pd
import pytest
from stages import make, refused

from routing.data import pixel_values, shards
from routing.data.shards import Shards
from routing.workflow.job import Job

X = np.random.default_rng(0).integers(256, size=(10, 3, 2, 2)).astype(np.uint8)
# Ten rows in three shards; rows 1 of the first and 0 of the last are in no index.
INDEX = pd.DataFrame({"shard": [0, 0, 1, 1, 1, 2, 2, 2], "row": [0, 2, 0, 1, 2, 1, 2, 3]})
HELD = [0, 2, 3, 4, 5, 7, 8, 9]  # of X


@pytest.fixture
def job(tmp_path):
    parts = np.split(X, [3, 6])
    files = [
        make("data", tmp_path / f"{i}.safetensors", {"samples": part}, levels=255)
        for i, part in enumerate(parts)
    ]
    return Job("experts", {"samples": files}, {}, {})


def test_rows_come_in_the_order_asked_for(job):
    held = Shards(job, "samples", INDEX, "samples")
    assert len(held) == 8 and held.shape == (3, 2, 2)
    for numbers in ([0, 1, 2], [7, 0, 3, 3], range(8), []):
        assert (held.take(numbers) == X[HELD][list(numbers)]).all()
    assert held.take(np.array([5], np.uint8)).dtype == np.uint8


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_blocks_are_everything_once(job, size):
    found = list(Shards(job, "samples", INDEX, "samples").blocks(size))
    assert (np.concatenate([rows for _, rows in found]) == X[HELD]).all()
    assert [n for here, _ in found for n in range(8)[here]] == list(range(8))
    assert max(len(rows) for _, rows in found) <= size


def test_some_rows_of_an_index_are_an_index(job):
    some = Shards(job, "samples", INDEX[INDEX["row"] == 2], "samples")
    assert (some.take([2, 0]) == X[[8, 2]]).all()


def test_some_files_can_be_all_the_shards(job):
    index = pd.DataFrame({"shard": [0, 1], "row": [1, 3]})
    found = Shards(job, "samples", index, "samples", files=range(1, 3))
    assert (found.take([0, 1]) == X[[4, 9]]).all()
    with refused("wanted 2 shards, as in the index, got 1"):
        Shards(job, "samples", index, "samples", files=[2])


def test_values_are_what_networks_see(job):
    found = shards.values(job, INDEX).take([1, 6])
    assert found.dtype == np.float32 and (found == pixel_values.to_values(X[[2, 8]], 255)).all()


def test_one_shard_is_read_as_several(tmp_path):
    whole = make("data", tmp_path / "w.safetensors", {"samples": X}, levels=255)
    one = Job("experts", {"samples": [whole]}, {}, {})
    index = pd.DataFrame({"shard": 0, "row": HELD})
    assert (shards.values(one, index).take([4, 1]) == pixel_values.to_values(X[[5, 2]], 255)).all()


def test_wrong_files_are_refused(job):
    with refused("wanted 4 shards, as in the index, got 3"):
        Shards(job, "samples", INDEX.assign(shard=3), "samples")
    with refused("wanted a row of 'samples' for every row"):
        Shards(job, "samples", INDEX.assign(row=4), "samples")
    with refused("wanted file number 1, got 0"):
        Shards(Job("experts", {}, {}, {}), "samples", INDEX, "samples")
