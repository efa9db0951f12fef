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
(routing.data.heldout); the seed of an image is its row in the index, its label and caption are its
own. Samples are read group by group, one batch at a time. In memory are one batch and the sums of
one group, [blocks, dim].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from routing.data import heldout, pixel_values
from routing.data.shards import Shards
from routing.loading import sample_decoding
from routing.metrics.formulas.lpips_distance import BlockSums, paired_distances
from routing.pretrained.lpips_networks import PerceptualNet
from routing.statistics.jackknife import seed_blocks
from routing.workflow.progress import Progress

HELDOUT = "heldout"
WITHIN = {"all": None, "label": "requested", "text": "prompts"}  # array of samples with the groups
MAX_BATCH_FLOATS = 1 << 25  # numbers of phi in a batch
MAX_BATCH = 256  # images in a batch
Reader = Callable[[np.ndarray], np.ndarray]  # rows of a sample set -> values [n, ...]


@dataclass(frozen=True)
class SampleSet:
    """The samples of one training seed: how to read them; seed, group and block of each."""

    read: Reader
    seeds: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    read_baseline: Reader | None = None


def run(job) -> None:
    """Write `scores` and `pairs`."""
    options = job.spec["lpips"]
    if job.spec["within"] not in WITHIN:
        raise ValueError(
            f"lpips: wanted within {', '.join(WITHIN)}, got {job.spec['within']!r}; take one"
        )
    net = PerceptualNet.load(options["net"], options["weights"], options["sha256"])
    job.device = str(net.device)
    is_heldout = job.spec["arm"] == HELDOUT
    sets = [heldout_set(job)] if is_heldout else list(sample_sets(job))
    progress = Progress("lpips", sum(len(one.seeds) for one in sets))
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
    net: Callable, one: SampleSet, num_blocks: int, progress: Progress
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
        progress.advance(len(rows))
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


@dataclass(frozen=True)
class Files:
    """The files of an arm's samples, one after the other, and what decodes them."""

    parts: list[dict[str, np.ndarray]]
    paths: list
    decode: Callable[[np.ndarray], np.ndarray]
    levels: int | None

    @classmethod
    def of_input(cls, job, name: str) -> "Files | None":
        """Return the files of an input of the job; None if it has none."""
        if not job.count(name):
            return None
        parts = [job.mapped(name, i) for i in range(job.count(name))]
        metadata = job.metadata(name)
        return cls(parts, job.inputs[name], make_decoder(metadata), metadata["levels"])

    def __getitem__(self, some: slice) -> "Files":
        """Return some of the files."""
        return Files(self.parts[some], self.paths[some], self.decode, self.levels)

    def joined(self, name: str) -> np.ndarray:
        """Return an array of all files."""
        return np.concatenate([part[name] for part in self.parts])

    def reader(self) -> Reader:
        """Return the function from rows to float images. Raise ValueError on damaged samples."""
        starts = np.cumsum([0, *(len(part["samples"]) for part in self.parts)])
        for part, path in zip(self.parts, self.paths, strict=True):  # a batch may be one sample
            pixel_values.refuse_broken(part["samples"][:MAX_BATCH], self.levels, path)
            pixel_values.refuse_scale(part["samples"][:MAX_BATCH], self.levels, path)

        def read(rows: np.ndarray) -> np.ndarray:
            samples = self.parts[0]["samples"]
            stored = np.empty((len(rows), *samples.shape[1:]), samples.dtype)
            file = np.searchsorted(starts, rows, side="right") - 1
            for i in np.unique(file):
                mine = np.flatnonzero(file == i)
                stored[mine] = self.parts[i]["samples"][rows[mine] - starts[i]]
                pixel_values.refuse_broken(stored[mine], self.levels, self.paths[i])
            return self.decode(stored)

        return read


def sample_sets(job) -> Iterator[SampleSet]:
    """Iterate over the training seeds: the samples of the arm, with the baseline if any."""
    num, num_training_seeds = job.count("samples"), job.spec["num_training_seeds"]
    captions = caption_groups(job) if job.spec["within"] == "text" else None
    if num % num_training_seeds or not num:
        raise ValueError(
            f"lpips: wanted samples of {num_training_seeds} training seeds, got {num} files; give "
            f"as many shards of each"
        )
    arm, baseline = (Files.of_input(job, name) for name in ("samples", "baseline"))
    if baseline and (got := len(baseline.joined("seeds"))) != (wanted := len(arm.joined("seeds"))):
        raise ValueError(
            f"lpips: wanted as many samples of the reference arm as of {job.spec['arm']}, got "
            f"{got} and {wanted}; draw the same seeds for both"
        )
    for first in range(0, num, num // num_training_seeds):
        some = slice(first, first + num // num_training_seeds)
        seeds = arm[some].joined("seeds")
        if baseline and not np.array_equal(seeds, baseline[some].joined("seeds")):
            raise ValueError(
                f"lpips: wanted the same seeds of the reference arm as of {job.spec['arm']}, got "
                f"others; draw the same for both"
            )
        yield SampleSet(
            arm[some].reader(),
            seeds,
            condition_groups(arm[some], job.spec["within"], captions),
            seed_blocks(len(seeds), job.spec["num_blocks"]).numpy(),
            baseline[some].reader() if baseline else None,
        )


def condition_groups(files: Files, within: str, captions: np.ndarray | None = None) -> np.ndarray:
    """Return the group of each sample. Raise ValueError if the arm has no condition to group by.

    `captions` has the group of every image of the index.
    """
    name = WITHIN[within]
    if name is None:
        return np.zeros(sum(len(part["seeds"]) for part in files.parts), np.int64)
    if name not in files.parts[0]:
        raise ValueError(
            "lpips: wanted samples with a condition, got an arm without guidance; set within to "
            "'all'"
        )
    requested = files.joined(name).astype(np.int64)
    return requested if captions is None else captions[requested]


def caption_groups(job) -> np.ndarray:
    """Return the group of every image of the index: the number of its caption."""
    return pd.factorize(job.table("index", columns=["caption"])["caption"])[0].astype(np.int64)


def heldout_set(job) -> SampleSet:
    """Return the held-out real images, at most `num_samples` of them."""
    index = job.table("index", columns=["split", "label", "shard", "row"])
    split = index["split"].to_numpy()
    num_blocks, within = job.spec["num_blocks"], job.spec["within"]
    rows = heldout.rows(split, job.spec["seed"], num_blocks, job.spec["num_samples"])
    stored = Shards(job, "samples", index.iloc[rows], "samples")
    decode = make_decoder(job.metadata("samples"))
    groups = np.zeros(len(rows), np.int64)
    if within != "all":
        labels = np.unique(index["label"], return_inverse=True)[1]
        groups = (labels if within == "label" else caption_groups(job))[rows]
    blocks = np.zeros(len(rows), np.int64)  # of a single image, which has no pairs
    if len(rows) > 1:
        blocks = seed_blocks(len(rows), min(num_blocks, len(rows))).numpy()
    return SampleSet(lambda chosen: decode(stored.take(chosen)), rows, groups, blocks)


def make_decoder(metadata: dict) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from stored samples to float images. Raise ValueError on points."""
    if metadata["levels"] is None and not metadata.get("autoencoder"):
        raise ValueError("lpips: wanted images, got points of a closed form; leave lpips out")
    return sample_decoding.make_decoder(metadata, bool(metadata.get("autoencoder")))
