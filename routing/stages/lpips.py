"""Stage lpips: LPIPS of an arm's samples, to those of the reference arm and to each other.

`scores` has a row per sample, in the order of trainings and seeds (training, seed, group,
to_baseline): its distance to the sample of the same seed of the reference arm, nan where there
is no baseline. `pairs` has a row per training and pair of seed blocks block_a <= block_b (total,
num_pairs): sum of the distances over the pairs of different samples of one group, and their
number, from which the mean over all pairs and its jackknife follow
(`routing.metrics.formulas.lpips_distance.diversity`).

A group is what two samples are compared within, `within`:

    all     everything: one group
    label   the label that both were asked for
    text    the caption that both were asked for, numbered in the order of the index

The rules take label or text from what the arm's experts are told, since samples always say both
the label and the place in the index of the image whose prompt they were given. An arm that asked
for nothing has no groups and is refused. The arm `heldout` are the held-out real images
(`routing.data.heldout`), whose seed is their position in the index and whose label or caption is
their own. Samples are read in the order of their groups, a batch at a time; in memory are one
batch and the sums of one group, blocks x dim.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from routing.data import heldout, pixel_values
from routing.data.shards import Shards
from routing.loading import sample_decoding
from routing.metrics.formulas.lpips_distance import BlockSums, paired_distances
from routing.pretrained.lpips_networks import PerceptualNet
from routing.statistics.intervals import seed_blocks
from routing.workflow.progress import progress_bar

HELDOUT = "heldout"
WITHIN = {"all": None, "label": "requested", "text": "prompts"}  # and what of the samples tells it
ROOM = 1 << 25  # floats of phi in a batch
MOST = 256  # images in a batch
Read = Callable[[np.ndarray], np.ndarray]  # positions in a set -> values [n, ...]


@dataclass(frozen=True)
class Set:
    """The samples of one training: how to read them, and the seed, group and block of each."""

    read: Read
    seeds: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    baseline: Read | None = None


def run(job) -> None:
    """Write `scores` and `pairs`."""
    options = job.spec["lpips"]
    if job.spec["within"] not in WITHIN:
        raise ValueError(
            f"lpips: wanted within {', '.join(WITHIN)}, got {job.spec['within']!r}; take one"
        )
    net = PerceptualNet.load(options["net"], options["weights"], options["sha256"])
    job.device = str(net.device)
    sets = [real(job)] if job.spec["arm"] == HELDOUT else list(drawn(job))
    progress = progress_bar("lpips", sum(len(one.seeds) for one in sets))
    scores, pairs = [], []
    for training, one in enumerate(sets):
        to_baseline, total, num_pairs = measured(net, one, job.spec["num_blocks"], progress)
        columns = {"seed": one.seeds, "group": one.groups, "to_baseline": to_baseline}
        scores.append(pd.DataFrame({"training_seed": training} | columns))
        pairs.append(pair_table(training, total, num_pairs))
    notes = {"lpips": net.note, "within": job.spec["within"]}
    job.write_table("scores", pd.concat(scores, ignore_index=True), **notes)
    job.write_table("pairs", pd.concat(pairs, ignore_index=True), **notes)


def measured(
    net: Callable, one: Set, num_blocks: int, progress: tqdm
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances to the baseline [samples]; sums over pairs and their numbers [blocks, blocks]."""
    to_baseline = np.full(len(one.seeds), np.nan)
    total, num_pairs = np.zeros((2, num_blocks, num_blocks))
    group, present, sums = None, np.zeros(0, int), None

    def close() -> None:
        if sums is not None:
            for table, more in zip((total, num_pairs), sums.pair_sums(), strict=True):
                table[np.ix_(present, present)] += more.numpy()

    for rows, phi in embedded(net, one):
        if one.baseline is not None:
            other = net(torch.from_numpy(one.baseline(rows))).cpu()
            to_baseline[rows] = paired_distances(phi, other).numpy()
        for mine in runs(one.groups[rows]):
            here = rows[mine]
            if one.groups[here[0]] != group:
                close()
                group = one.groups[here[0]]
                present = np.unique(one.blocks[one.groups == group])  # a small group has few
                sums = BlockSums.zeros(len(present), phi.shape[1])
            place = np.searchsorted(present, one.blocks[here])
            sums.add(phi[mine], torch.from_numpy(place))
        progress.update(len(rows))
    close()
    return to_baseline, total, num_pairs


def embedded(net: Callable, one: Set) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Positions and phi (on the CPU) of all samples, group by group, a batch at a time."""
    order = np.argsort(one.groups, kind="stable")
    first, size = 0, 1  # the first one shows how long phi is
    while first < len(order):
        rows = order[first : first + size]
        phi = net(torch.from_numpy(one.read(rows))).cpu()
        yield rows, phi
        first, size = first + size, min(MOST, max(1, ROOM // phi.shape[1]))


def runs(groups: np.ndarray) -> Iterator[slice]:
    """The stretches of one group each."""
    ends = [0, *(np.flatnonzero(np.diff(groups)) + 1), len(groups)]
    yield from (slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))


def pair_table(training: int, total: np.ndarray, num_pairs: np.ndarray) -> pd.DataFrame:
    """A row per pair of blocks block_a <= block_b."""
    a, b = np.triu_indices(len(total))
    columns = {"block_a": a, "block_b": b, "total": total[a, b]}
    counts = num_pairs[a, b].astype(np.int64)
    return pd.DataFrame({"training_seed": training} | columns | {"num_pairs": counts})


def drawn(job) -> Iterator[Set]:
    """The samples of the arm, a set per training, each with its baseline if there is one."""
    num, trainings = job.count("samples"), job.spec["num_training_seeds"]
    captions = caption_groups(job) if job.spec["within"] == "text" else None
    if num % trainings or not num:
        raise ValueError(
            f"perceptual: wanted samples of {trainings} trainings, got {num} files; give as many "
            f"shards of each"
        )
    paths = job.inputs["samples"]
    arm = [job.mapped("samples", i) for i in range(num)]
    notes = job.metadata("samples")
    see, levels = _see(notes), notes["levels"]
    paths_base = job.inputs.get("baseline", [])
    base = [job.mapped("baseline", i) for i in range(job.count("baseline"))]
    if base:
        notes = job.metadata("baseline")
        see_base, levels_base = _see(notes), notes["levels"]
    of_arm, of_base = (sum(len(part["seeds"]) for part in parts) for parts in (arm, base))
    if base and of_base != of_arm:
        raise ValueError(
            f"perceptual: wanted as many samples of the reference arm as of {job.spec['arm']}, "
            f"got {of_base} and {of_arm}; draw the same seeds for both"
        )
    for first in range(0, num, num // trainings):
        mine = slice(first, first + num // trainings)
        seeds = np.concatenate([part["seeds"] for part in arm[mine]])
        if base and not np.array_equal(seeds, np.concatenate([p["seeds"] for p in base[mine]])):
            raise ValueError(
                f"perceptual: wanted the same seeds of the reference arm as of {job.spec['arm']}, "
                f"got others; draw the same for both"
            )
        yield Set(
            reader(arm[mine], paths[mine], see, levels),
            seeds,
            groups_of(arm[mine], job.spec["within"], captions),
            seed_blocks(len(seeds), job.spec["num_blocks"]).numpy(),
            reader(base[mine], paths_base[mine], see_base, levels_base) if base else None,
        )


def groups_of(
    parts: list[dict[str, np.ndarray]], within: str, captions: np.ndarray | None = None
) -> np.ndarray:
    """What each sample is compared within; ValueError if nothing was asked for and should be.

    `captions` has the group of every image of the index.
    """
    word = WITHIN[within]
    if word is None:
        return np.zeros(sum(len(part["seeds"]) for part in parts), np.int64)
    if word not in parts[0]:
        raise ValueError(
            "lpips: wanted samples that were asked for something, got an arm without guidance; "
            "set within to 'all'"
        )
    requested = np.concatenate([part[word] for part in parts]).astype(np.int64)
    return requested if captions is None else captions[requested]


def caption_groups(job) -> np.ndarray:
    """For every image of the index, the number of its caption; equal captions are one prompt."""
    return pd.factorize(job.table("index", columns=["caption"])["caption"])[0].astype(np.int64)


def reader(
    parts: list[dict[str, np.ndarray]], paths: list, see: Callable, levels: int | None
) -> Read:
    """Values of samples by their position in the files, one after the other."""
    starts = np.cumsum([0, *(len(part["samples"]) for part in parts)])
    for part, path in zip(parts, paths, strict=True):  # a batch may be one sample
        pixel_values.refuse_broken(part["samples"][:MOST], levels, path)
        pixel_values.refuse_scale(part["samples"][:MOST], levels, path)

    def read(rows: np.ndarray) -> np.ndarray:
        stored = np.empty((len(rows), *parts[0]["samples"].shape[1:]), parts[0]["samples"].dtype)
        file = np.searchsorted(starts, rows, side="right") - 1
        for i in np.unique(file):
            mine = np.flatnonzero(file == i)
            stored[mine] = parts[i]["samples"][rows[mine] - starts[i]]
            pixel_values.refuse_broken(stored[mine], levels, paths[i])
        return see(stored)

    return read


def real(job) -> Set:
    """The held-out real images, at most as many as `num_samples`."""
    index = job.table("index", columns=["split", "label", "shard", "row"])
    split = index["split"].to_numpy()
    wanted, within = job.spec["num_blocks"], job.spec["within"]
    rows = heldout.rows(split, job.spec["seed"], wanted, job.spec["num_samples"])
    stored = Shards(job, "samples", index.iloc[rows], "samples")
    see = _see(job.metadata("samples"))
    groups = np.zeros(len(rows), np.int64)
    if within != "all":
        labels = np.unique(index["label"], return_inverse=True)[1]
        groups = (labels if within == "label" else caption_groups(job))[rows]
    blocks = np.zeros(len(rows), np.int64)  # of one image, which has no pairs
    if len(rows) > 1:
        blocks = seed_blocks(len(rows), min(wanted, len(rows))).numpy()
    return Set(lambda chosen: see(stored.take(chosen)), rows, groups, blocks)


def _see(notes: dict) -> Callable[[np.ndarray], np.ndarray]:
    if notes["levels"] is None and not notes.get("autoencoder"):
        raise ValueError("lpips: wanted images, got points of a closed form; leave lpips out")
    return sample_decoding.make_decoder(notes, bool(notes.get("autoencoder")))
