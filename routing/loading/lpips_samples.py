"""The samples whose LPIPS distances are computed, by training seed: images, groups and blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing.data import heldout_arm, pixel_values
from routing.data.shards import Shards
from routing.loading import sample_decoding
from routing.statistics.jackknife import seed_blocks

WITHIN = {"all": None, "label": "requested", "text": "prompts"}  # array of samples with the groups
MAX_BATCH = 256  # images that are checked together
Reader = Callable[[np.ndarray], np.ndarray]  # rows of a sample set -> values [n, ...]


@dataclass(frozen=True)
class SampleSet:
    """The samples of one training seed: how to read them; seed, group and block of each."""

    read: Reader
    seeds: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    read_baseline: Reader | None = None


@dataclass(frozen=True)
class SampleFiles:
    """The files of an arm's samples, one after the other, and what decodes them."""

    parts: list[dict[str, np.ndarray]]
    paths: list
    decode: Callable[[np.ndarray], np.ndarray]
    levels: int | None

    @classmethod
    def of_input(cls, job, name: str) -> "SampleFiles | None":
        """Return the files of an input of the job; None if it has none."""
        if not job.count(name):
            return None
        parts = [job.mapped(name, i) for i in range(job.count(name))]
        metadata = job.metadata(name)
        return cls(parts, job.inputs[name], make_decoder(metadata), metadata["levels"])

    def __getitem__(self, some: slice) -> "SampleFiles":
        """Return some of the files."""
        return SampleFiles(self.parts[some], self.paths[some], self.decode, self.levels)

    def joined(self, name: str) -> np.ndarray:
        """Return an array of all files."""
        return np.concatenate([part[name] for part in self.parts])

    def reader(self) -> Reader:
        """Return the function from rows to float images. Raise ValueError on damaged samples."""
        starts = np.cumsum([0, *(len(part["samples"]) for part in self.parts)])
        for part, path in zip(self.parts, self.paths, strict=True):  # a batch may be one sample
            pixel_values.check_stored(part["samples"][:MAX_BATCH], self.levels, path)
            pixel_values.check_scale(part["samples"][:MAX_BATCH], self.levels, path)

        def read(rows: np.ndarray) -> np.ndarray:
            samples = self.parts[0]["samples"]
            stored = np.empty((len(rows), *samples.shape[1:]), samples.dtype)
            file = np.searchsorted(starts, rows, side="right") - 1
            for i in np.unique(file):
                mine = np.flatnonzero(file == i)
                stored[mine] = self.parts[i]["samples"][rows[mine] - starts[i]]
                pixel_values.check_stored(stored[mine], self.levels, self.paths[i])
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
    arm, baseline = SampleFiles.of_input(job, "samples"), SampleFiles.of_input(job, "baseline")
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


def condition_groups(
    files: SampleFiles, within: str, captions: np.ndarray | None = None
) -> np.ndarray:
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
    rows = heldout_arm.rows(split, job.spec["seed"], num_blocks, job.spec["num_samples"])
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
