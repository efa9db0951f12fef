"""Stages run in this process as a rule runs them: through files, sealed and with provenance."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from routing import images, states, store
from routing.gram import gram
from routing.job import Job

ROOT = 7  # of the random streams

OUTPUTS = {
    "data": {"samples": "safetensors", "index": "parquet"},
    "embed": {"encoder": "safetensors", "features": "safetensors"},
    "partition": {"assignments": "parquet", "centroids": "safetensors"},
    "experts": {"weights": "safetensors", "loss": "parquet"},
    "probe": {"gram": "safetensors", "states": "parquet"},
    "router": {
        "weights": "safetensors",
        "loss": "parquet",
        "report": "parquet",
        "reliability": "parquet",
    },
    "samples": {
        "samples": "safetensors",
        "trace": "safetensors",
        "trajectories": "safetensors",
        "bill": "parquet",
    },
    "extractor": {"weights": "safetensors", "loss": "parquet", "report": "parquet"},
    "features": {"features": "safetensors"},
    "metrics": {"metrics": "parquet", "differences": "parquet", "replicates": "parquet"},
}
DIGITS = {"seed": ROOT, "source": {"name": "digits"}, "heldout": 0.2}


def run(stage: str, folder: Path, spec: dict, **inputs) -> dict[str, Path]:
    """Run `stage`; its output files by name, in `folder`."""
    files = {n: [p] if isinstance(p, Path) else list(p) for n, p in inputs.items()}
    outputs = {name: folder / f"{name}.{kind}" for name, kind in OUTPUTS[stage].items()}
    with Job(stage, files, outputs, json.loads(json.dumps(spec))) as job:
        importlib.import_module(f"routing.{stage}").run(job)
    return outputs


def make(stage: str, path: Path, content, **notes) -> Path:
    """A made-up artifact of `stage`: a table, or arrays."""
    with Job(stage, {}, {"made": path}, {}) as job:
        write = job.write_table if isinstance(content, pd.DataFrame) else job.write_arrays
        write("made", content, **notes)
    return path


def make_data(
    folder: Path, stored, is_train, labels=None, clusters=None, levels=None
) -> dict[str, Path]:
    """Made-up inputs of the training stages: samples, index and assignments."""
    num = len(stored)
    labels = np.zeros(num, np.int64) if labels is None else np.asarray(labels)
    clusters = np.zeros(num, np.int64) if clusters is None else np.asarray(clusters, np.int64)
    split = np.where(is_train, "train", "heldout").astype(object)
    index = pd.DataFrame({"sample_id": np.arange(num), "split": split, "label": labels})
    index["caption"] = [f"label {label}" for label in labels]
    assignments = pd.DataFrame({"sample_id": np.arange(num), "cluster": clusters})
    for k in range(clusters.max() + 1):
        assignments[f"distance_{k}"] = 1.5 * (clusters != k).astype(np.float32)
    return {
        "samples": make(
            "data", folder / "x.safetensors", {"samples": stored}, levels=levels, world=None
        ),
        "index": make("data", folder / "i.parquet", index),
        "assignments": make("partition", folder / "a.parquet", assignments),
    }


def make_probe(
    folder: Path, data: dict[str, Path], experts, num_states=400, num_shards=1, num_directions=2
) -> dict[str, list[Path]]:
    """A made-up probe of `data`: expert k says `experts[k](x, t)`, all conditions are ignored."""
    index = store.read_table(data["index"])
    notes, stored = store.read_provenance(data["samples"]), store.read_arrays(data["samples"])
    values = images.to_values(stored["samples"], notes["levels"])
    heldout = np.flatnonzero(index["split"] == "heldout")
    table = states.table(heldout, num_states, ROOT, {"fit": 0.6, "calibrate": 0.2})
    files = {"gram": [], "states": []}
    for i, chosen in enumerate(np.array_split(np.arange(num_states), num_shards)):
        rows = table.iloc[chosen].reset_index(drop=True)
        shard = states.states(rows, values, ROOT)
        said = torch.stack([expert(shard.x, shard.t) for expert in experts])
        along = states.directions(rows, num_directions, values.shape[1:], ROOT)
        arrays = {
            "gram": gram(said, shard.target).numpy(),
            "projections": torch.einsum("sj...,ks...->sjk", along, said).numpy(),
        }
        files["gram"].append(make("probe", folder / f"g{i}.safetensors", arrays))
        files["states"].append(make("probe", folder / f"s{i}.parquet", rows))
    return files


def content(path: Path) -> str:
    """The digest of the data alone."""
    return store.read_provenance(path)["content"]


def refused(message: str):
    """Expect a ValueError of one line that matches `message` and offers a remedy."""
    return _Refused(message)


class _Refused:
    def __init__(self, message):
        self.raises = pytest.raises(ValueError, match=message)

    def __enter__(self):
        self.error = self.raises.__enter__()
        return self.error

    def __exit__(self, *what):
        was_raised = self.raises.__exit__(*what)
        if was_raised:
            text = str(self.error.value)
            assert "\n" not in text and (text[0].islower() or text[0] == "/"), text
            assert "; " in text or ": " in text, text
        return was_raised
