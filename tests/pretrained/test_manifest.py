"""The manifest, what it takes for a file to be what it is called, and the way files come."""

import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading

import pytest
import torch
import yaml
from safetensors.torch import save_file
from stages import refused

from routing.pretrained import manifest as weights
from routing.pretrained.manifest import __main__ as command
from routing.pretrained.manifest import entry, find_problem, locate, sha256_of
from routing.pretrained.manifest.download import fetch
from routing.pretrained.weight_files import read_tensors

CONTENT = bytes(range(256)) * 5000  # more than one piece
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROUTING_WEIGHTS", raising=False)
    return tmp_path / "cache"


# The manifest.

WANTED = (
    "dinov2-small dinov2-base dinov2-large dinov2-giant clip-vit-b-32 clip-vit-l-14 "
    "clip-vit-l-14-336 clip-text-l-14 inception-v3 lpips-alex lpips-vgg16 sd-vae-ft-mse paris"
)


def test_the_manifest_has_what_stages_load():
    assert list(weights.entries()) == WANTED.split()
    assert list(weights.entries("data")) == ["cifar-10", "imagenet", "laion-art", "cc3m-shard"]
    assert not weights.entries().keys() & weights.entries("data").keys()


@pytest.mark.parametrize("section", ["weights", "data"])
def test_entries_are_well_formed(section):
    names = [f.file for e in weights.entries(section).values() for f in e.files]
    assert len(set(names)) == len(names)
    for found in weights.entries(section).values():
        assert found.use and found.licence
        if len(found.files) > 1:  # they share a folder, which is what `locate` gives
            assert {file.file.split("/")[0] for file in found.files} == {found.name}
        for file in found.files:
            assert file.address.startswith("https://") and " " not in file.address
            assert file.address.split("/")[-1] == file.file.split("/")[-1]
            assert file.bytes is None or file.bytes > 0
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            if "huggingface" in file.address and file.sha256:
                assert re.search("/resolve/[0-9a-f]{40}/", file.address), "pinned to a commit"


def test_facts_that_the_files_names_repeat():
    """Torch's hub puts the first digits of the sha256 into names, OpenAI all into addresses."""
    seen = 0
    for found in weights.entries().values():
        for file in found.files:
            if digits := re.search(r"-([0-9a-f]{8})\.pth$", file.file):
                assert file.sha256.startswith(digits[1])
                seen += 1
            if "openaipublic" in file.address:
                assert file.sha256 in file.address
                seen += 1
    assert seen == 6


def test_only_paris_is_unverifiable_among_weights():
    unknown = {e.id for e in weights.entries().values() for f in e.files if f.sha256 is None}
    assert unknown == {"paris"}


# A manifest of the tests.


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Ids `one` (a file), `two` (a folder of two) and `free` (of unknown sha256)."""

    def write(address="https://host.example"):
        file = lambda name, sha256=SHA256: {  # noqa: E731
            "file": name,
            "address": f"{address}/{name}",
            "bytes": len(CONTENT) if sha256 else None,
            "sha256": sha256,
        }
        about = {"licence": "Apache-2.0", "use": "tests"}
        made = {
            "one": about | {"files": [file("one.pth")]},
            "two": about | {"files": [file("two/a.bin"), file("two/b.bin")]},
            "free": {"licence": None, "use": "tests", "files": [file("free.bin", None)]},
        }
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump({"weights": made, "data": {}}))
        monkeypatch.setattr(weights, "MANIFEST", path)
        weights.entries.cache_clear()

    write()
    yield write
    weights.entries.cache_clear()


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_found_by_id_in_the_folder_and_by_path(manifest, tmp_path, monkeypatch):
    path = put(tmp_path / "w" / "one.pth")
    assert locate("one", tmp_path / "w") == path
    monkeypatch.setenv("ROUTING_WEIGHTS", str(tmp_path / "w"))
    assert locate("one") == path and locate(str(path), sha256=SHA256) == path
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROUTING_WEIGHTS")
    put(tmp_path / "weights" / "one.pth")
    assert locate("one") == weights.Path("weights/one.pth")
    put(tmp_path / "w/two/a.bin"), put(tmp_path / "w/two/b.bin")
    assert locate("two", tmp_path / "w") == tmp_path / "w" / "two"
    (tmp_path / "w/two/b.bin").unlink()
    with refused("weights 'two': absent; file two/b.bin"):
        locate("two", tmp_path / "w")


def test_what_is_absent_or_wrong_is_one_line_with_all_there_is_to_know(manifest, tmp_path):
    said = (
        f"; file one.pth, address https://host.example/one.pth, {len(CONTENT)} bytes, sha256 "
        f"{SHA256}, licence Apache-2.0, expected at {tmp_path}/one.pth: python -m "
        f"routing.pretrained.manifest fetch one"
    )
    with refused("^weights 'one': absent" + re.escape(said) + "$"):
        locate("one", tmp_path)
    put(tmp_path / "one.pth", CONTENT[:-1])
    with refused(f"^weights 'one': wanted {len(CONTENT)} bytes, got {len(CONTENT) - 1}"):
        locate("one", tmp_path)
    put(tmp_path / "one.pth", CONTENT[:-1] + b"?")
    with refused(f"^weights 'one': wanted sha256 {SHA256}, got [0-9a-f]{{64}}; file one.pth"):
        locate("one", tmp_path)
    with refused("^weights 'free': absent; .* unknown bytes, sha256 unknown, licence unknown"):
        locate("free", tmp_path)
    with refused("wanted a path or one of free, one, two, got 'nowhere.pth', which is neither"):
        locate("nowhere.pth")
    with refused("weights: unknown id 'on'; did you mean 'one'"):
        entry("on")


def test_a_sha256_is_demanded_of_paths_and_of_ids(manifest, tmp_path):
    path = put(tmp_path / "one.pth")
    with refused(f"wanted sha256 {'0' * 64}, got {SHA256}; use the right file"):
        locate(str(path), sha256="0" * 64)
    with refused(f"weights 'one': wanted sha256 {'0' * 64}, got {SHA256}; "):
        locate("one", tmp_path, sha256="0" * 64)


def test_a_file_is_read_once(manifest, tmp_path, cache):
    path = put(tmp_path / "one.pth")
    assert sha256_of(path) == SHA256 and len(list(cache.rglob("*.json"))) == 1
    state = path.stat()
    other = CONTENT[:-1] + b"?"
    put(path, other)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sha256_of(path) == SHA256  # of the same path, size and time: not read again
    assert sha256_of(path, anew=True) == hashlib.sha256(other).hexdigest() == sha256_of(path)
    put(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert sha256_of(path) == SHA256  # of another time: read again
    copy = put(tmp_path / "copy.pth", other)
    os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert sha256_of(copy) != SHA256


def test_a_broken_memory_is_none(tmp_path, cache, monkeypatch):
    path = put(tmp_path / "x")
    assert sha256_of(path) == SHA256
    for text in ("", "[]", '{"key": 3}', "{"):
        next(cache.rglob("*.json")).write_text(text)
        assert sha256_of(path) == SHA256
    put(tmp_path / "file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nothing can be written there
    assert sha256_of(path) == SHA256


def test_sizes_are_looked_at_first(manifest, tmp_path, monkeypatch):
    path = put(tmp_path / "one.pth", b"short")
    monkeypatch.setattr(weights, "sha256_of", lambda *_: pytest.fail("read for nothing"))
    assert "bytes" in find_problem(entry("one").files[0], path)


# Fetching, from a server of our own.


class Server:
    """Serves `content` at any path but those of `status`; may break off, or know no ranges."""

    def __init__(self):
        self.content, self.ranges, self.status, self.breaks_after = CONTENT, True, {}, None
        self.requested = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requested.append(self.headers.get("Range"))
                if code := server.status.get(self.path):
                    return self.send_error(code)
                first, wanted = 0, self.headers.get("Range")
                if wanted and server.ranges:
                    first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                    if first >= len(server.content):
                        return self.send_error(416)
                self.send_response(206 if first else 200)
                rest = server.content[first:]
                if first:
                    last = len(server.content) - 1
                    span = f"bytes {first}-{last}/{len(server.content)}"
                    self.send_header("Content-Range", span)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                self.wfile.write(rest[: server.breaks_after])

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def get(server, path, size=SIZE, sha256=SHA256):
    return fetch(f"{server.address}/x", path, size, sha256)


def test_a_file_comes_whole(server, tmp_path):
    path = tmp_path / "deep" / "x"
    assert get(server, path) == SHA256 and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["x"] and server.requested == [None]
    assert fetch(f"{server.address}/x", tmp_path / "y") == SHA256  # nothing known of it


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [SIZE, None])
def test_an_interrupted_one_goes_on(server, tmp_path, ranges, size):
    path, part = tmp_path / "x", tmp_path / "x.part"
    server.breaks_after = 700_001
    with refused("the connection broke after 700001 of 1280000 bytes; run the same command to"):
        get(server, path, size)
    assert part.stat().st_size == 700_001 and not path.exists()
    server.breaks_after, server.ranges = None, ranges
    assert get(server, path, size) == SHA256 and path.read_bytes() == CONTENT
    assert server.requested == [None, "bytes=700001-"] and not part.exists()


def test_a_whole_part_needs_no_server(server, tmp_path):
    put(tmp_path / "x.part")
    assert get(server, tmp_path / "x") == SHA256 and server.requested == []
    put(tmp_path / "y.part")
    assert get(server, tmp_path / "y", size=None) == SHA256  # 416: nothing is left
    put(tmp_path / "z.part", CONTENT + b"more")
    assert get(server, tmp_path / "z") == SHA256  # not of this file


def test_what_is_wrong_never_gets_the_name(server, tmp_path):
    path = tmp_path / "x"
    with refused(f"wanted sha256 {'0' * 64}, got {SHA256}; the download was removed"):
        get(server, path, sha256="0" * 64)
    with refused("wanted 7 bytes, got 1280000; "):
        get(server, path, size=7)
    put(tmp_path / "x.part", b"other" * 100)  # the beginning of something else
    with refused(f"wanted sha256 {SHA256}, got "):
        get(server, path)
    assert not list(tmp_path.iterdir())
    assert get(server, path) == SHA256


def test_a_server_may_refuse_or_be_away(server, tmp_path):
    server.status = {"/x": 404, "/secret": 401}
    with refused("/x: the server reports 404 Not Found; correct the address"):
        get(server, tmp_path / "x")
    with refused("the server reports 401 .* download the file by hand if it needs a login"):
        fetch(f"{server.address}/secret", tmp_path / "x")
    server.http.server_close()
    with refused("refused.*; run the same command to resume"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x")
    assert not list(tmp_path.iterdir())


# The command.


def told(capsys):
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    return {row[3]: row[1] for row in rows}


def test_the_command_lists_checks_and_fetches(manifest, server, tmp_path, capsys):
    manifest(server.address)
    here = ["--folder", str(tmp_path / "w")]
    assert command.main(["list", *here]) == 0
    assert set(told(capsys).values()) == {"absent"} and server.requested == []
    assert command.main(["check", *here]) == 0
    assert command.main(["check", "one", *here]) == 1
    assert command.main(["fetch", "one", "two", *here]) == 0
    capsys.readouterr()
    assert command.main(["list", *here]) == 0
    found = {"one.pth": "present", "two/a.bin": "present", "two/b.bin": "present"}
    assert told(capsys) == found | {"free.bin": "absent"}
    assert len(server.requested) == 3
    assert command.main(["fetch", "one", *here]) == 0 and len(server.requested) == 3
    path = tmp_path / "w" / "one.pth"
    state = path.stat()
    put(path, CONTENT[:-1] + b"?")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert command.main(["list", "one", *here]) == 0  # remembered
    capsys.readouterr()
    assert command.main(["check", *here]) == 1  # read
    assert told(capsys)["one.pth"] == "wrong"
    assert command.main(["fetch", "one", *here]) == 0 and path.read_bytes() == CONTENT


def test_what_cannot_be_verified_is_accepted_once(manifest, server, tmp_path, capsys):
    manifest(server.address)
    here = ["--folder", str(tmp_path)]
    assert command.main(["fetch", "free", *here]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("weights: free: the sha256 of free.bin is unknown")
    assert "--accept" in error and "\n" not in error and not server.requested
    put(tmp_path / "free.bin", b"by hand")
    assert command.main(["list", *here]) == 0
    assert told(capsys)["free.bin"] == "unverifiable"
    assert locate("free", tmp_path) == tmp_path / "free.bin"
    assert command.main(["fetch", "free", "--accept", *here]) == 0
    assert (tmp_path / "free.bin.sha256").read_text() == f"{SHA256}  free.bin\n"
    assert command.main(["list", *here]) == 0
    assert told(capsys)["free.bin"] == "present"
    put(tmp_path / "free.bin", b"another")
    with refused(f"weights 'free': wanted sha256 {SHA256}, got "):
        locate("free", tmp_path)


def test_wrong_commands_are_one_line(manifest, tmp_path, capsys):
    for words, said in {
        ("fetch",): "weights: fetch: wanted ids, got none; ",
        ("fetch", "on"): "weights: unknown id 'on'; ",
        ("list", "on"): "weights: unknown id 'on'; ",
    }.items():
        assert command.main([*words]) == 1
        error = capsys.readouterr().err
        assert error.startswith(said) and error.count("\n") == 1


# The tensors.


def test_three_formats_are_read(tmp_path):
    state = {"a": torch.arange(3.0), "b.c": torch.ones(2, 2).half()}
    save_file(state, tmp_path / "x.safetensors")
    torch.save(state, tmp_path / "x.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "y.pth")
    torch.save({"model": state}, tmp_path / "z.pth")
    net = torch.nn.Linear(2, 1)
    torch.jit.trace(net, torch.ones(1, 2)).save(tmp_path / "x.pt")
    for name in ("x.safetensors", "x.pth", "y.pth", "z.pth"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == state.keys() and torch.equal(found["b.c"], state["b.c"])
    found = read_tensors(tmp_path / "x.pt")
    assert torch.equal(found["weight"], net.weight) and found.keys() == {"weight", "bias"}


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("trap",))


def test_no_code_is_run_and_no_nonsense_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "trap.pth")
    with refused("weights: trap.pth cannot be read .*; fetch it again"):
        read_tensors(weights.Path("trap.pth"))
    assert not (tmp_path / "trap").exists()
    torch.save([torch.ones(1)], "list.pth")
    with refused("wanted named tensors, got list; use a state dict"):
        read_tensors(weights.Path("list.pth"))
    for text in (b"hello\n", b""):
        (tmp_path / "text.pth").write_bytes(text)
        start = "".join(chr(c) for c in text[:5])
        with refused(f"text.pth: wanted a file saved by torch, got .* begins with b'{start}"):
            read_tensors(weights.Path("text.pth"))


def test_a_reader_that_has_seen_enough_ends_the_list(tmp_path):
    """As `head` does; also where all had been written before the line broke."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "routing.pretrained.manifest", "list", "--folder", tmp_path]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1 and not done.stderr
