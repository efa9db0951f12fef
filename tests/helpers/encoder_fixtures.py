"""Fixtures of feature encoders: digits in shards, and a network with random weights."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from stages import make

from routing.workflow.job import Job

LEVELS = 16


def sharded_data(folder, stored, train, levels=LEVELS, num_shards=1):
    """Shards of samples, of about equal size, and their index."""
    num = len(stored)
    pieces = np.array_split(np.arange(num), num_shards)
    index = pd.DataFrame({"sample_id": [str(i) for i in range(num)]})
    index["split"] = np.where(train, "train", "heldout").astype(object)
    index["shard"] = np.concatenate([np.full(len(p), s) for s, p in enumerate(pieces)])
    index["row"] = np.concatenate([np.arange(len(p)) for p in pieces])
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        make("data", folder / f"s{s}.safetensors", {"samples": stored[p]}, levels=levels)
        for s, p in enumerate(pieces)
    ]
    return {"samples": samples, "index": [make("index", folder / "index.parquet", index)]}


def stage(name, path, spec, **inputs):
    """Run a stage with one output; its file."""
    output = {"fit_encoder": "encoder", "embed": "features"}[name]
    with Job(name, inputs, {output: path}, spec) as job:
        importlib.import_module(f"routing.stages.{name}").run(job)
    return path


def fitted(folder, encoder, seed=7, **inputs):
    spec = {"seed": seed, "encoder": encoder}
    return stage("fit_encoder", folder / "encoder.safetensors", spec, **inputs)


@pytest.fixture(scope="session")
def digits():
    """Stored digits, and which of them are training images."""
    stored = load_digits().images.astype(np.uint8)[:, None]
    return stored, np.random.default_rng(3).random(len(stored)) < 0.8


@pytest.fixture(scope="session")
def shards(digits, tmp_path_factory):
    return sharded_data(tmp_path_factory.mktemp("digits"), *digits, num_shards=4)


def save_resnet(path):
    """Save a small network of timm with random weights; return the options of its encoder."""
    import timm

    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t", num_classes=3).state_dict(), path)
    return {
        "name": "timm",
        "model": "resnet10t",
        "weights": str(path),
        "image_size": 32,
        "options": {"num_classes": 3},
    }


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    """Options of an encoder by a small network with random weights."""
    return save_resnet(tmp_path_factory.mktemp("net") / "net.safetensors")


@pytest.fixture(scope="session")
def few(digits, tmp_path_factory):
    """Ninety digits in three shards."""
    stored, train = digits
    return sharded_data(tmp_path_factory.mktemp("few"), stored[:90], train[:90], num_shards=3)
