"""Stage index: the rows of all shards become one index, the rejected ones one list.

The index has a row per sample: sample_id, split (train / heldout), label, caption, licence,
source_id, shard, row (where it is stored) and, in a world of components, component. A sample
whose source_id has been seen in an earlier shard is rejected. The held-out split is drawn per
label, so that both splits have the same mixture; no expert, router, encoder or classifier is ever
fitted on it. More rejects than the configured share stop the run.
"""

import math

import numpy as np
import pandas as pd

from routing.workflow import seeds

KEPT = ("label", "caption", "licence", "source_id")


def run(job) -> None:
    """Write `index` and `rejected`."""
    spec, num = job.spec, job.count("rows")
    heads = [job.table("rows", i, ["source_id", "label"]) for i in range(num)]
    sizes = [len(head) for head in heads]
    ids = pd.concat([head["source_id"] for head in heads], ignore_index=True)
    is_again = repeated(ids)
    rejected = [job.table("rejected", i).assign(shard=i) for i in range(num)]
    again = pd.DataFrame({"source_id": ids[is_again], "reason": "duplicate id"})
    again["shard"] = np.repeat(np.arange(num), sizes)[is_again]
    rejected = pd.concat([*rejected, again], ignore_index=True)
    refuse_rejects(
        rejected, len(ids) - len(again), spec["max_rejected_fraction"], job.inputs["rejected"]
    )
    labels = np.concatenate([head["label"].to_numpy() for head in heads])[~is_again]
    split = split_by_label(labels, spec["heldout_fraction"], spec["seed"])
    del heads, ids, labels

    def frames():
        read, written = 0, 0
        for shard, size in enumerate(sizes):
            rows = job.table("rows", shard)[~is_again[read : read + size]]
            read += size
            if rows.empty:  # what its columns would have held, it cannot say
                continue
            numbers = np.arange(written, written + len(rows))
            frame = pd.DataFrame({"sample_id": numbers, "split": split[numbers]})
            for name in KEPT:
                frame[name] = rows[name].to_numpy()
            frame["shard"], frame["row"] = shard, rows["row"].to_numpy()
            if "component" in rows:
                frame["component"] = rows["component"].to_numpy()
            written += len(rows)
            yield frame

    job.write_table_blocks("index", frames())
    job.write_table("rejected", rejected)


def repeated(ids: pd.Series) -> np.ndarray:
    """Whether each id has been seen before; by 128 bits of each, so that no text is kept."""
    keys = ("0123456789abcdef", "fedcba9876543210")
    first, second = (pd.util.hash_array(ids.to_numpy(object), hash_key=key) for key in keys)
    return pd.DataFrame({"first": first, "second": second}).duplicated().to_numpy()


def refuse_rejects(rejected: pd.DataFrame, num_kept: int, limit: float, paths: list) -> None:
    """Raise ValueError if nothing was kept, or less than the run may lose."""
    num = len(rejected)
    if num_kept and num <= limit * (num + num_kept):
        return
    counts = rejected["reason"].value_counts()
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts.head(4).items()) or "none at all"
    raise ValueError(
        f"data.max_rejected_fraction: wanted at most {limit:g} of the images rejected, got "
        f"{num} of "
        f"{num + num_kept} ({reasons}); they are listed in {paths[0].parent}: mend them or raise "
        f"the limit"
    )


def split_by_label(labels: np.ndarray, heldout: float, root: int) -> np.ndarray:
    """ "train" or "heldout" for each label; the nearest whole share of every label is held out."""
    split = np.full(len(labels), "train", dtype=object)
    rng = seeds.stream(root, "split")
    _, rank = np.unique(labels, return_inverse=True)
    order, ends = np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))
    for rows in np.split(order, ends[:-1]):
        rows = rng.permutation(rows)
        split[rows[: math.floor(heldout * len(rows) + 0.5)]] = "heldout"
    if "heldout" not in split or "train" not in split:
        raise ValueError(
            f"data.heldout_fraction: wanted a share that leaves both splits some images, got "
            f"{heldout} of "
            f"{len(labels)}; change it"
        )
    return split
