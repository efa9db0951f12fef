"""Artifacts written in parts are those written at once: the same arrays, digests and seals."""

import numpy as np
import pandas as pd
import pytest
from stages import refused

from routing.workflow import artifacts, streamed_artifacts

ARRAYS = {
    "x": np.arange(42, dtype=np.uint8).reshape(7, 2, 3),
    "wide": np.linspace(0, 1, 7),
    "half": np.arange(14, dtype=np.float16).reshape(7, 2),
    "is_odd": np.arange(7) % 2 == 1,
    "n": np.arange(7),
}
FRAME = pd.DataFrame({"n": range(7), "text": ["a", "bc", "", "é", "d\n", "e", "f"]})


def blocks(*ends):
    for first, end in zip((0, *ends), (*ends, 7), strict=True):
        yield {name: a[first:end] for name, a in ARRAYS.items()}


def frames(*ends):
    for first, end in zip((0, *ends), (*ends, 7), strict=True):
        yield FRAME[first:end]


def written(path, stage, parts, note=lambda: {"who": "me"}):
    stage(path, parts, note).rename(path)
    return path


@pytest.mark.parametrize("ends", [(), (1,), (3, 4), (0, 7)], ids=str)
def test_arrays_are_those_written_at_once(ends, tmp_path):
    path = written(
        tmp_path / "a.safetensors", streamed_artifacts.write_array_blocks, blocks(*ends)
    )
    assert artifacts.check(path).problem is None
    note = artifacts.read_provenance(path)
    assert note["who"] == "me" and note["content"] == artifacts.arrays_digest(ARRAYS)
    for found in (artifacts.read_arrays(path), artifacts.map_arrays(path)):
        assert found.keys() == ARRAYS.keys()
        for name, a in ARRAYS.items():
            assert found[name].dtype == a.dtype and (found[name] == a).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_written_at_once_can_be_mapped(tmp_path):
    path = tmp_path / "b.safetensors"
    artifacts.write_atomically(path, artifacts.with_checksum(artifacts.arrays_bytes(ARRAYS, {})))
    found = artifacts.map_arrays(path)
    assert all((found[name] == a).all() for name, a in ARRAYS.items())
    with pytest.raises(ValueError):
        found["x"][0] = 1


def test_no_rows_are_rows_too(tmp_path):
    path = written(tmp_path / "a.safetensors", streamed_artifacts.write_array_blocks, blocks(0, 0))
    path = written(
        path,
        streamed_artifacts.write_array_blocks,
        iter([{"x": np.empty((0, 3, 2, 2), np.uint8)}]),
    )
    assert artifacts.map_arrays(path)["x"].shape == (0, 3, 2, 2)
    assert artifacts.read_arrays(path)["x"].shape == (0, 3, 2, 2)


def test_arrays_begin_where_their_type_wants(tmp_path):
    path = written(tmp_path / "a.safetensors", streamed_artifacts.write_array_blocks, blocks(2))
    for name, a in artifacts.map_arrays(path).items():
        assert a.__array_interface__["data"][0] % a.itemsize == 0, name


def test_the_note_is_asked_for_at_the_end(tmp_path):
    seen = []

    def parts():
        for block in blocks(3):
            seen.append(len(block["x"]))
            yield block

    path = written(
        tmp_path / "a.safetensors",
        streamed_artifacts.write_array_blocks,
        parts(),
        lambda: {"seen": seen},
    )
    assert artifacts.read_provenance(path)["seen"] == [3, 4]


@pytest.mark.parametrize("broken", ["names", "type", "shape"])
def test_blocks_that_differ_are_refused(broken, tmp_path):
    other = {
        "names": {"y": np.zeros((1, 2), np.uint8)},
        "type": {"x": np.zeros((1, 2), np.int64)},
        "shape": {"x": np.zeros((1, 3), np.uint8)},
    }[broken]
    with refused("wanted (blocks of|rows of)"):
        streamed_artifacts.write_array_blocks(
            tmp_path / "a", iter([{"x": np.zeros((1, 2), np.uint8)}, other]), dict
        )
    assert not list(tmp_path.iterdir())


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def parts():
        yield from blocks()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streamed_artifacts.write_array_blocks(tmp_path / "a", parts(), dict)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ends", [(), (1,), (3, 4)], ids=str)
def test_a_table_is_the_same_however_it_is_cut(ends, tmp_path):
    path = written(tmp_path / "t.parquet", streamed_artifacts.write_table_blocks, frames(*ends))
    whole = written(tmp_path / "w.parquet", streamed_artifacts.write_table_blocks, frames())
    assert artifacts.check(path).problem is None
    pd.testing.assert_frame_equal(artifacts.read_table(path), artifacts.read_table(whole))
    assert artifacts.read_table(path, ["text"])["text"].tolist() == FRAME["text"].tolist()
    notes = [artifacts.read_provenance(p) for p in (path, whole)]
    assert notes[0] == notes[1] and notes[0]["who"] == "me"


@pytest.mark.parametrize("change", [{"n": 9}, {"text": "x"}, "order", "name"], ids=str)
def test_another_table_has_another_digest(change, tmp_path):
    other = FRAME.copy()
    if change == "order":
        other = other[::-1]
    elif change == "name":
        other = other.rename(columns={"n": "m"})
    else:
        for name, value in change.items():
            other.loc[3, name] = value
    digests = []
    for frame in (FRAME, other):
        digest = streamed_artifacts.FramesDigest()
        digest.update(frame)
        digests.append(digest.hexdigest())
    assert digests[0] != digests[1]


def test_a_cut_file_is_known_from_the_file_alone(tmp_path):
    for stage, parts in (
        (streamed_artifacts.write_array_blocks, blocks(3)),
        (streamed_artifacts.write_table_blocks, frames(3)),
    ):
        path = written(tmp_path / f"{stage.__name__}.parquet", stage, parts)
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        assert artifacts.check(path).problem
