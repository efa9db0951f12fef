"""Stage index: join the rows of all shards into one index, and draw the held-out split.

The index has a row per sample: sample_id, split (train / heldout), label, caption, licence,
source_id, the shard and row where it is stored and, for points of a Gaussian mixture, component. A
sample whose source_id occurs in an earlier shard is rejected. The held-out split is drawn per
label, so that both splits have the same proportions of labels; no expert, router, encoder or
classifier is fitted on it. The stage fails if more than the fraction max_rejected_fraction of the
images is rejected.
"""

import numpy as np
import pandas as pd

from routing.data.train_heldout_split import split_by_label

COPIED = ("label", "caption", "licence", "source_id")


def run(job) -> None:
    """Write `index` and `rejected`."""
    spec, num = job.spec, job.count("rows")
    heads = [job.table("rows", i, ["source_id", "label"]) for i in range(num)]
    sizes = [len(head) for head in heads]
    ids = pd.concat([head["source_id"] for head in heads], ignore_index=True)
    is_repeated = duplicated_ids(ids)
    rejected = [job.table("rejected", i).assign(shard=i) for i in range(num)]
    repeated = pd.DataFrame({"source_id": ids[is_repeated], "reason": "duplicate id"})
    repeated["shard"] = np.repeat(np.arange(num), sizes)[is_repeated]
    rejected = pd.concat([*rejected, repeated], ignore_index=True)
    check_rejected(
        rejected, len(ids) - len(repeated), spec["max_rejected_fraction"], job.inputs["rejected"]
    )
    check_label_kinds(heads)
    labels = np.concatenate([head["label"].to_numpy() for head in heads])[~is_repeated]
    split = split_by_label(labels, spec["heldout_fraction"], spec["seed"])
    del heads, ids, labels

    def frames():
        read, written = 0, 0
        for shard, size in enumerate(sizes):
            rows = job.table("rows", shard)[~is_repeated[read : read + size]]
            read += size
            if rows.empty:  # the types of its columns are unknown
                continue
            numbers = np.arange(written, written + len(rows))
            frame = pd.DataFrame({"sample_id": numbers, "split": split[numbers]})
            for name in COPIED:
                frame[name] = rows[name].to_numpy()
            frame["shard"], frame["row"] = shard, rows["row"].to_numpy()
            if "component" in rows:
                frame["component"] = rows["component"].to_numpy()
            written += len(rows)
            yield frame

    job.write_table_blocks("index", frames())
    job.write_table("rejected", rejected)


def duplicated_ids(ids: pd.Series) -> np.ndarray:
    """Return whether each id occurs earlier; compares 128-bit hashes, to keep no text."""
    keys = ("0123456789abcdef", "fedcba9876543210")
    first, second = (pd.util.hash_array(ids.to_numpy(object), hash_key=key) for key in keys)
    return pd.DataFrame({"first": first, "second": second}).duplicated().to_numpy()


def check_label_kinds(heads: list[pd.DataFrame]) -> None:
    """Raise ValueError unless the labels of all shards are numbers, or all are text.

    A shard without rows has labels of no kind.
    """
    kinds = {}  # is text: the number of the first such shard
    for shard, head in enumerate(heads):
        if len(head):
            kinds.setdefault(not pd.api.types.is_integer_dtype(head["label"]), shard)
    if len(kinds) == 2:
        first = [(shard, heads[shard].head(1).to_dict("records")[0]) for shard in kinds.values()]
        got = " and ".join(
            f"{row['label']!r} (of {row['source_id']}, shard {shard})" for shard, row in first
        )
        raise ValueError(
            f"data.source: wanted labels that are all whole numbers or all text, got {got}; name "
            f"another label"
        )


def check_rejected(rejected: pd.DataFrame, num_kept: int, limit: float, paths: list) -> None:
    """Raise ValueError if no image was kept, or a larger fraction than `limit` rejected."""
    num = len(rejected)
    if num_kept and num <= limit * (num + num_kept):
        return
    counts = rejected["reason"].value_counts()
    reasons = (
        ", ".join(f"{n} {reason}" for reason, n in counts.head(4).items()) or "no image was read"
    )
    raise ValueError(
        f"data.max_rejected_fraction: wanted at most {limit:g} of the images rejected, got "
        f"{num} of {num + num_kept} ({reasons}); they are listed in {paths[0].parent}: fix them "
        f"or raise the limit"
    )
