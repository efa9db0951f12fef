"""Stage lpips: LPIPS distances of an arm's samples, to the reference arm and to each other.

Writes two tables:

    scores   training_seed, seed, group, to_baseline: a row per sample, ordered by training seed
             and seed. `to_baseline` is the distance to the reference arm's sample of the same
             seed, nan if there is no baseline.
    pairs    training_seed, block_a, block_b, total, num_pairs: a row per pair of seed blocks
             block_a <= block_b. `total` is the sum of the distances over the pairs of different
             samples of the same group, `num_pairs` their number. The mean over all pairs and its
             jackknife follow (routing.metrics.formulas.lpips_distance.diversity).

`within` says which samples are in the same group:

    all     all samples: one group
    label   samples that are conditioned on the same label
    text    samples that are conditioned on the same caption; groups are numbered in the order in
            which captions appear in the index

The rules set `within` to the condition of the arm's experts, since the stored samples always have
both a label and the index row of the image that their prompt is from. An arm without condition has
no groups: `label` and `text` raise ValueError. The arm `heldout` are the held-out real images
(routing.data.heldout_arm); the seed of an image is its row in the index, its label and caption
are its own. Samples are read group by group, one batch at a time. In memory are one batch and the
sums of one group, [blocks, dim].
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from routing.loading.lpips_samples import WITHIN, SampleSet, heldout_set, sample_sets
from routing.metrics.formulas.lpips_distance import BlockSums, paired_distances
from routing.pretrained.lpips_networks import LPIPSNetwork
from routing.workflow.progress import progress_bar

HELDOUT = "heldout"
MAX_BATCH_FLOATS = 1 << 25  # numbers of phi in a batch
MAX_BATCH = 256  # images in a batch


def run(job) -> None:
    """Write `scores` and `pairs`."""
    options = job.spec["lpips"]
    if job.spec["within"] not in WITHIN:
        raise ValueError(
            f"lpips: wanted within {', '.join(WITHIN)}, got {job.spec['within']!r}; take one"
        )
    net = LPIPSNetwork.load(options["net"], options["weights"], options["sha256"])
    job.device = str(net.device)
    is_heldout = job.spec["arm"] == HELDOUT
    sets = [heldout_set(job)] if is_heldout else list(sample_sets(job))
    progress = progress_bar("lpips", sum(len(one.seeds) for one in sets))
    scores, pairs = [], []
    for training_seed, one in enumerate(sets):
        to_baseline, total, num_pairs = distances(net, one, job.spec["num_blocks"], progress)
        columns = {"seed": one.seeds, "group": one.groups, "to_baseline": to_baseline}
        scores.append(pd.DataFrame({"training_seed": training_seed} | columns))
        pairs.append(pair_table(training_seed, total, num_pairs))
    metadata = {"lpips": net.note, "within": job.spec["within"]}
    job.write_table("scores", pd.concat(scores, ignore_index=True), **metadata)
    job.write_table("pairs", pd.concat(pairs, ignore_index=True), **metadata)


def distances(
    net: Callable, one: SampleSet, num_blocks: int, progress: tqdm
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distances to the baseline [samples], sums and numbers of pairs [blocks, blocks]."""
    to_baseline = np.full(len(one.seeds), np.nan)
    total, num_pairs = np.zeros((2, num_blocks, num_blocks))
    group, present, sums = None, np.zeros(0, int), None

    def close_group() -> None:
        if sums is not None:
            for table, more in zip((total, num_pairs), sums.pair_sums(), strict=True):
                table[np.ix_(present, present)] += more.numpy()

    for rows, phi in embed(net, one):
        if one.read_baseline is not None:
            other = net(torch.from_numpy(one.read_baseline(rows))).cpu()
            to_baseline[rows] = paired_distances(phi, other).numpy()
        for stretch in stretches(one.groups[rows]):
            mine = rows[stretch]
            if one.groups[mine[0]] != group:
                close_group()
                group = one.groups[mine[0]]
                present = np.unique(one.blocks[one.groups == group])  # few for a small group
                sums = BlockSums.zeros(len(present), phi.shape[1])
            positions = np.searchsorted(present, one.blocks[mine])
            sums.add(phi[stretch], torch.from_numpy(positions))
        progress.update(len(rows))
    close_group()
    return to_baseline, total, num_pairs


def embed(net: Callable, one: SampleSet) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Iterate over rows and phi (on the CPU) of all samples, group by group, in batches."""
    order = np.argsort(one.groups, kind="stable")
    first, size = 0, 1  # the first batch shows how long phi is
    while first < len(order):
        rows = order[first : first + size]
        phi = net(torch.from_numpy(one.read(rows))).cpu()
        yield rows, phi
        first, size = first + size, min(MAX_BATCH, max(1, MAX_BATCH_FLOATS // phi.shape[1]))


def stretches(groups: np.ndarray) -> Iterator[slice]:
    """Iterate over the slices with equal groups."""
    ends = [0, *(np.flatnonzero(np.diff(groups)) + 1), len(groups)]
    yield from (slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))


def pair_table(training_seed: int, total: np.ndarray, num_pairs: np.ndarray) -> pd.DataFrame:
    """Return a row per pair of blocks block_a <= block_b."""
    a, b = np.triu_indices(len(total))
    columns = {"block_a": a, "block_b": b, "total": total[a, b]}
    counts = num_pairs[a, b].astype(np.int64)
    return pd.DataFrame({"training_seed": training_seed} | columns | {"num_pairs": counts})
