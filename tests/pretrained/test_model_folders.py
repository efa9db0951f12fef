"""Folders of pretrained networks: what libraries are asked, and what becomes of the answer."""

import hashlib
import json

import pytest
import torch
from stages import refused

from routing.pretrained import model_folders


class Kind:
    """A class that loads in its own way, and says how it was asked to."""

    def __init__(self, missing=(), error=None):
        self.__name__, self.missing, self.error = "Kind", missing, error

    def from_pretrained(self, folder, **options):
        if self.error:
            raise self.error
        self.requested = folder, options
        return torch.nn.Linear(2, 2).half().train(), {"missing_keys": set(self.missing)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_nothing_is_fetched_or_unpickled(folder):
    kind = Kind()
    net, sha256 = model_folders.load_network(kind, folder, "model.safetensors", width=3)
    assert kind.requested == (
        str(folder),
        {
            "local_files_only": True,
            "use_safetensors": True,
            "output_loading_info": True,
            "width": 3,
        },
    )
    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_what_a_library_says_is_one_short_line(folder):
    error = RuntimeError("a size mismatch:\n  " + "of many weights " * 99)
    with refused(
        r"wanted Kind, which cannot be loaded .*\(a size mismatch: of many .*\); use a"
    ) as found:
        model_folders.load_network(Kind(error=error), folder, "model.safetensors")
    assert len(str(found.value)) < 400 + len(str(folder))
    with refused(r"\(KeyError\); use a folder"):
        model_folders.from_pretrained(Kind(error=KeyError()), folder)


def test_weights_at_random_are_refused(folder):
    with refused(r"\(2 weights are missing: a.bias\)"):
        model_folders.load_network(Kind(missing=["b", "a.bias"]), folder, "model.safetensors")


def test_weights_that_are_not_finite_are_refused(folder, monkeypatch):
    broken = torch.nn.Linear(2, 2)
    broken.bias.data[1] = torch.inf
    monkeypatch.setattr(
        model_folders, "from_pretrained", lambda *_, **__: (broken, {"missing_keys": set()})
    )
    with refused(
        "model.safetensors: wanted finite weights, got nan or inf in 1 of 2 .*, for example bias"
    ):
        model_folders.load_network(Kind(), folder, "model.safetensors")


def test_one_of_several_files_is_enough(folder):
    assert model_folders.require_file(folder, "vocab.txt", "config.json") == folder / "config.json"
    first = model_folders.require_file(folder, "model.safetensors", "config.json")
    assert first == folder / "model.safetensors"
    with refused("wanted vocab.txt or vocab.json in "):
        model_folders.require_file(folder, "vocab.txt", "vocab.json")
    (folder / "model.bin").write_bytes(b"x")
    with refused("wanted other.safetensors in .*, got model.bin, which is pickled"):
        model_folders.require_file(folder, "other.safetensors")
    with refused("wanted vocab.txt in .*, got none"):  # nor is it what was looked for
        model_folders.require_file(folder, "vocab.txt")


def test_a_path_is_a_folder(folder):
    assert model_folders.locate_folder(str(folder)) == folder
    for other in (folder / "config.json", folder / "nowhere"):
        with refused("wanted a folder on this machine"):
            model_folders.locate_folder(str(other))
