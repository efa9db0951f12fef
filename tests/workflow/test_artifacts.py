"""Artifacts: what goes in comes out, what is damaged is known, what fails leaves nothing."""

import errno
import json
import os
import resource
import subprocess

import numpy as np
import pandas as pd
import pytest
from stages import refused

from routing.workflow import artifacts

FRAME = pd.DataFrame(
    {
        "run": ["digits", "digits", "d\u00e9j\u00e0"],
        "count": np.array([1, -2, 2**62]),
        "small": np.array([1, 2, 3], np.int32),
        "value": [0.1, np.inf, -0.0],
        "single": np.array([0.1, np.nan, 3], np.float32),
        "good": [True, False, True],
        "missing": ["a", None, "c"],
    }
)
ARRAYS = {
    "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2),
    "weights": np.array([0.1, np.nan, np.inf], np.float32),
    "double": np.array([[1e-300], [-0.0]]),
    "seeds": np.array([-1, 2**62]),
    "kept": np.array([True, False]),
    "scalar": np.array(3.5),
    "none": np.zeros((0, 4), np.float32),
    "strided": np.arange(12.0).reshape(3, 4).T[::2],
}
KINDS = {
    ".parquet": (artifacts.table_bytes, FRAME),
    ".safetensors": (artifacts.arrays_bytes, ARRAYS),
}
kinds = pytest.mark.parametrize("suffix", KINDS)


def artifact(folder, suffix, **note):
    make, content = KINDS[suffix]
    path = folder / f"artifact{suffix}"
    path.write_bytes(artifacts.with_checksum(make(content, {"stage": "data"} | note)))
    return path


def test_tables_come_back(tmp_path):
    found = artifacts.read_table(artifact(tmp_path, ".parquet"))
    pd.testing.assert_frame_equal(found, FRAME)
    assert np.signbit(found["value"][2])
    empty = pd.DataFrame(
        {"step": pd.Series([], dtype=np.int64), "loss": pd.Series([], dtype=float)}
    )
    (tmp_path / "empty.parquet").write_bytes(
        artifacts.with_checksum(artifacts.table_bytes(empty, {}))
    )
    pd.testing.assert_frame_equal(artifacts.read_table(tmp_path / "empty.parquet"), empty)


def test_arrays_come_back(tmp_path):
    found = artifacts.read_arrays(artifact(tmp_path, ".safetensors"))
    assert found.keys() == ARRAYS.keys()
    for name, a in ARRAYS.items():
        assert found[name].dtype == a.dtype and found[name].shape == a.shape, name
        assert found[name].tobytes() == a.tobytes(), name


@kinds
def test_provenance_comes_back(tmp_path, suffix):
    spec = {"levels": None, "text": 'quotes " and \u00e9', "nested": {"a": [1, 2.5]}}
    note = artifacts.read_provenance(artifact(tmp_path, suffix, spec=spec))
    content = note.pop("content")
    assert note == {"stage": "data", "spec": spec}
    read, digest = (
        (artifacts.read_table, artifacts.table_digest)
        if suffix == ".parquet"
        else (artifacts.read_arrays, artifacts.arrays_digest)
    )
    assert content == digest(read(tmp_path / f"artifact{suffix}")) == digest(KINDS[suffix][1])


@kinds
def test_a_sound_file_is_sound(tmp_path, suffix):
    path = artifact(tmp_path, suffix)
    found = artifacts.check(path)
    assert found.problem is None
    shell = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert shell.stdout.split()[0] == found.sha256


@kinds
@pytest.mark.parametrize("chunk", [1, 37, 64, 1000])
def test_the_checksum_may_lie_across_chunks(tmp_path, suffix, chunk, monkeypatch):
    path = artifact(tmp_path, suffix)
    whole = artifacts.check(path)
    monkeypatch.setattr(artifacts, "CHUNK", chunk)
    assert artifacts.check(path) == whole


@kinds
def test_every_altered_byte_is_noticed(tmp_path, suffix):
    path = artifact(tmp_path, suffix)
    data = bytearray(path.read_bytes())
    seen = set()
    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(data):  # header, data, footer, mark and checksum
            os.pwrite(file.fileno(), bytes([byte ^ (1 << i % 8)]), i)
            found = artifacts.check(path)
            assert found.problem, f"byte {i} of {len(data)}"
            seen.add(found.sha256)
            os.pwrite(file.fileno(), bytes([byte]), i)
    assert artifacts.check(path).problem is None and len(seen) == len(data)


@kinds
def test_every_cut_is_noticed(tmp_path, suffix):
    path = artifact(tmp_path, suffix)
    size = path.stat().st_size
    with open(path, "ab") as file:
        file.write(b"\0")
    assert "truncated or altered" in artifacts.check(path).problem
    for length in reversed(range(size)):
        os.truncate(path, length)
        assert artifacts.check(path).problem, f"cut to {length} of {size} bytes"
    assert artifacts.check(path).problem == "the file is empty"


@kinds
def test_a_checksum_in_the_data_is_not_taken_for_that_of_the_file(tmp_path, suffix):
    text = f'"checksum":"{(artifacts.MARK + artifacts.BLANK).decode()}"'
    make, content = (
        (artifacts.table_bytes, pd.DataFrame({"text": [text, "a"]}))
        if suffix == ".parquet"
        else (artifacts.arrays_bytes, {"text": np.frombuffer(text.encode(), np.uint8)})
    )
    path = tmp_path / f"artifact{suffix}"
    for note in ({"stage": "data"}, {"spec": text}, {"zzz": text}):
        path.write_bytes(artifacts.with_checksum(make(content, note)))
        assert artifacts.check(path).problem is None
        if suffix == ".parquet":
            assert artifacts.read_table(path)["text"][0] == text
        else:
            assert artifacts.read_arrays(path)["text"].tobytes() == text.encode()


def test_a_file_without_a_blank_checksum_gets_none():
    with pytest.raises(AssertionError, match="blank checksum"):
        artifacts.with_checksum(b"no checksum")


@kinds
def test_damage_is_one_line(tmp_path, suffix):
    """Whatever a reader trips over, a user sees one ValueError and no traceback of a library."""
    path = artifact(tmp_path, suffix)
    data = path.read_bytes()
    read = artifacts.read_table if suffix == ".parquet" else artifacts.read_arrays
    raised = 0
    for cut in range(0, len(data), 97):
        for damaged in (data[:cut], data[:cut] + b"\xff\xff" + data[cut + 2 :]):
            path.write_bytes(damaged)
            for reader in (read, artifacts.read_provenance):
                try:
                    reader(path)
                except ValueError as error:
                    raised += 1
                    assert str(path) in str(error) and "\n" not in str(error)
                    assert "delete it and run the same command again" in str(error)
    assert raised > len(data) // 97


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"__metadata__": 3}', b"\xff"])
def test_a_foreign_header_has_no_provenance(tmp_path, text):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="no readable provenance"):
        artifacts.read_provenance(path)


@kinds
def test_content_does_not_know_when_or_by_whom(tmp_path, suffix):
    first = artifacts.read_provenance(artifact(tmp_path, suffix, seconds=1.0, commit="a"))
    second = artifacts.read_provenance(
        artifact(tmp_path, suffix, seconds=2.0, commit="b", device="x")
    )
    assert first["content"] == second["content"] and first != second


def test_content_of_a_table_is_names_types_values_and_their_order():
    base = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]})
    others = {
        "value": base.assign(a=[1, 3]),
        "tiny": base.assign(b=[0.5, np.nextafter(1.5, 2)]),
        "sign of zero": base.assign(b=[0.0, 1.5]),
        "minus zero": base.assign(b=[-0.0, 1.5]),
        "nan": base.assign(b=[np.nan, 1.5]),
        "text": base.assign(c=["x", "z"]),
        "name": base.rename(columns={"a": "d"}),
        "dtype": base.astype({"a": np.int32}),
        "order of columns": base[["b", "a", "c"]],
        "order of rows": base.iloc[::-1],
        "rows": base.iloc[:1],
        "columns": base[["a", "b"]],
    }
    digests = {name: artifacts.table_digest(frame) for name, frame in others.items()}
    assert len({artifacts.table_digest(base), *digests.values()}) == len(others) + 1
    shuffled_index = base.set_index(pd.Index([7, 3]))
    pieces = pd.concat([base.iloc[:1], base.iloc[1:]])
    assert artifacts.table_digest(shuffled_index) == artifacts.table_digest(base)
    assert artifacts.table_digest(pieces) == artifacts.table_digest(base)


def test_content_of_arrays_is_names_types_shapes_and_values():
    base = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1])}
    others = {
        "value": base | {"a": base["a"] + 1e-9},
        "name": {"c": base["a"], "b": base["b"]},
        "swapped names": {"a": base["b"], "b": base["a"]},
        "dtype": base | {"b": np.array([1], np.int32)},
        "same bytes, other dtype": base | {"b": np.array([1]).view(np.float64)},
        "shape": base | {"a": base["a"].reshape(3, 2)},
        "scalar": base | {"b": np.array(1)},
        "transposed": base | {"a": np.ascontiguousarray(base["a"].T)},
        "fewer": {"a": base["a"]},
    }
    digests = {name: artifacts.arrays_digest(arrays) for name, arrays in others.items()}
    assert len({artifacts.arrays_digest(base), *digests.values()}) == len(others) + 1
    turned = {"b": base["b"], "a": np.asfortranarray(base["a"])}
    assert artifacts.arrays_digest(turned) == artifacts.arrays_digest(base)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writing_replaces_whole_files(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for data in (b"one", b"two"):
        artifacts.write_atomically(path, data)
        assert path.read_bytes() == data and names(path.parent) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "no"), KeyboardInterrupt()], ids=["io", "^C"]
)
def test_a_failing_write_leaves_the_old_file_alone(tmp_path, monkeypatch, call, error):
    path = tmp_path / "file"
    artifacts.write_atomically(path, b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        artifacts.write_atomically(path, b"new")
    if isinstance(error, OSError) and call == "fsync":
        assert caught.value.filename == str(path)  # who shall know which file, if not the error
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def write_too_much(path):
    path.write_bytes(b"old")
    with pytest.raises(OSError) as caught:
        artifacts.write_atomically(path, b"x" * (1 << 20))
    assert path.read_bytes() == b"old" and names(path.parent) == ["file"]
    assert caught.value.filename == str(path)  # the system does not say which file
    return caught.value.errno


def test_a_file_over_the_limit(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        assert write_too_much(tmp_path / "file") == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        assert write_too_much(tmp_path / "file") == errno.ENOSPC
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_provenance_is_plain_json(tmp_path):
    """Another program can read it: no header of ours but JSON in the format's own metadata."""
    path = artifact(tmp_path, ".safetensors", seed=3)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["provenance"])["seed"] == 3


@pytest.mark.parametrize("read", [artifacts.read_arrays, artifacts.map_arrays])
def test_an_array_that_is_not_there_is_damage(read, tmp_path):
    found = read(artifact(tmp_path, ".safetensors"))
    with refused("damaged .it has no array 'nothing'.; delete it and run the same command"):
        found["nothing"]
    assert "nothing" not in found and found.get("nothing") is None


@kinds
def test_a_note_that_is_not_there_is_damage(suffix, tmp_path):
    """At any depth; what may be there or not is asked for with `get` or `in`."""
    note = artifacts.read_provenance(artifact(tmp_path, suffix, spec={"arm": {"router": "x"}}))
    for found, name in (
        (note, "feature_space"),
        (note["spec"], "run"),
        (note["spec"]["arm"], "policy"),
    ):
        with refused(f"^artifact .* is damaged .it has no metadata {name!r}.; delete it and"):
            found[name]
        assert name not in found and found.get(name) is None
    assert json.loads(json.dumps(note)) == note
