"""Run stages in this process as a rule runs them: on files, with checksums and provenance."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from routing.data import pixel_values, probe_states
from routing.ensemble.gram_matrix import gram
from routing.workflow import artifacts
from routing.workflow.job import Job

ROOT = 7  # of the random streams

OUTPUTS = {
    "data": {"samples": "safetensors", "rows": "parquet", "rejected": "parquet"},
    "index": {"index": "parquet", "rejected": "parquet"},
    "latents": {"samples": "safetensors"},
    "text_embeddings": {"tokens": "safetensors", "captions": "parquet"},
    "fit_encoder": {"encoder": "safetensors"},
    "embed": {"features": "safetensors"},
    "clip_score_captions": {"features": "safetensors", "captions": "parquet"},
    "partition": {
        "assignments": "parquet",
        "centroids": "safetensors",
        "report": "parquet",
    },
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
        "cost": "parquet",
    },
    "lpips": {"scores": "parquet", "pairs": "parquet"},
    "classifier": {"weights": "safetensors", "loss": "parquet", "report": "parquet"},
    "sample_features": {"features": "safetensors"},
    "reference_statistics": {"references": "safetensors", "heldout": "safetensors"},
    "arm_metrics": {"replicates": "parquet", "bootstrap": "parquet", "scores": "parquet"},
    "metric_tables": {
        "metrics": "parquet",
        "differences": "parquet",
        "comparisons": "parquet",
        "replicates": "parquet",
        "scores": "parquet",
    },
}
DIGITS = {"name": "digits"}
WORLD = {
    "name": "mixture",
    "weights": [1.0, 2.0, 3.0, 4.0],
    "means": [[-3.0, 2.0], [2.5, 2.5], [-2.0, -2.5], [3.0, -1.5]],
    "stds": [0.5, 0.7, 0.6, 0.8],
    "num_points": 2000,
}


def run(stage: str, folder: Path, spec: dict, **inputs) -> dict[str, Path]:
    """Run `stage`; return its output files in `folder`, by name."""
    files = {n: [p] if isinstance(p, Path) else list(p) for n, p in inputs.items()}
    outputs = {name: folder / f"{name}.{kind}" for name, kind in OUTPUTS[stage].items()}
    with Job(stage, files, outputs, json.loads(json.dumps(spec))) as job:
        importlib.import_module(f"routing.stages.{stage}").run(job)
    return outputs


def read(
    folder: Path, source: dict, heldout=0.2, seed=ROOT, image=None, num_shards=1, rejects=0.01
) -> dict:
    """Read a source; return `samples` (one file, or a list of shards) and `index`."""
    spec = {"seed": seed, "source": source, "image": image, "num_shards": num_shards}
    shards = [run("data", folder / f"{i}", spec | {"shard": i}) for i in range(num_shards)]
    spec = {"seed": seed, "heldout_fraction": heldout, "max_rejected_fraction": rejects}
    tables = {name: [shard[name] for shard in shards] for name in ("rows", "rejected")}
    made = run("index", folder, spec, **tables)
    files = [shard["samples"] for shard in shards]
    return {"samples": files if num_shards > 1 else files[0], "index": made["index"]}


def embed(folder: Path, encoder: dict, data: dict, seed=ROOT) -> dict:
    """Fit an encoder on `data`; return the files `encoder` and `features`."""
    spec = {"seed": seed, "encoder": encoder}
    samples = [data["samples"]] if isinstance(data["samples"], Path) else data["samples"]
    fitted = run("fit_encoder", folder, spec, samples=samples, index=data["index"])["encoder"]
    shards = [
        run("embed", folder / f"{i}", spec | {"shard": i}, encoder=fitted, samples=shard)
        for i, shard in enumerate(samples)
    ]
    return {"encoder": fitted, "features": [shard["features"] for shard in shards]}


def make(stage: str, path: Path, content, **metadata) -> Path:
    """Write an artifact of `stage` with this content, a table or arrays."""
    with Job(stage, {}, {"made": path}, {}) as job:
        write = job.write_table if isinstance(content, pd.DataFrame) else job.write_arrays
        write("made", content, **metadata)
    return path


def make_data(
    folder: Path, stored, is_train, labels=None, clusters=None, levels=None
) -> dict[str, Path]:
    """Write inputs of the training stages: samples, index and assignments."""
    num = len(stored)
    labels = np.zeros(num, np.int64) if labels is None else np.asarray(labels)
    clusters = np.zeros(num, np.int64) if clusters is None else np.asarray(clusters, np.int64)
    split = np.where(is_train, "train", "heldout").astype(object)
    index = pd.DataFrame({"sample_id": np.arange(num), "split": split, "label": labels})
    index["caption"] = [f"label {label}" for label in labels]
    index["shard"], index["row"] = 0, np.arange(num)
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
    """Write a probe of `data` where expert k is `experts[k](x, t)`; conditions are ignored."""
    index = artifacts.read_table(data["index"])
    metadata, stored = (
        artifacts.read_provenance(data["samples"]),
        artifacts.read_arrays(data["samples"]),
    )
    values = pixel_values.to_values(stored["samples"], metadata["levels"])
    heldout = np.flatnonzero(index["split"] == "heldout")
    table = probe_states.table(heldout, num_states, ROOT, {"fit": 0.6, "calibrate": 0.2})
    files = {"gram": [], "states": []}
    for i, chosen in enumerate(np.array_split(np.arange(num_states), num_shards)):
        rows = table.iloc[chosen].reset_index(drop=True)
        shard = probe_states.states(rows, values[rows["row"]], ROOT)
        v = torch.stack([expert(shard.x, shard.t) for expert in experts])
        along = probe_states.directions(rows, num_directions, values.shape[1:], ROOT)
        arrays = {
            "gram": gram(v, shard.target).numpy(),
            "projections": torch.einsum("sj...,ks...->sjk", along, v).numpy(),
        }
        files["gram"].append(make("probe", folder / f"g{i}.safetensors", arrays))
        files["states"].append(make("probe", folder / f"s{i}.parquet", rows))
    return files


def content(path: Path) -> str:
    """Return the digest of the data of an artifact, without its metadata."""
    return artifacts.read_provenance(path)["content"]


def refused(message: str):
    """Expect a ValueError whose one line matches `message` and has a remedy."""
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
