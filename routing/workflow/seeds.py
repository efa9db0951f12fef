"""Random streams:  SeedSequence([root, stream, *index]), one per purpose and per sample.

Sample i has its own streams: its noise, its routing numbers and its oracle label depend on
(root, i) alone, and not on the arm, the batch size, the shard or the device. So comparisons of
arms are paired by sample. To add a purpose, give it a new number in STREAMS; other streams do not
change, and a number is never used again. Streams are NumPy's PCG64, equal on all platforms.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

Index = int | np.integer
STREAMS = {
    "split": 1,
    "world": 2,
    "partition": 3,
    "initial_weights": 4,
    "batches": 5,
    "noise": 6,
    "routing": 7,
    "oracle_label": 8,
    "evaluation": 9,
    "probe": 10,
    "probe_part": 11,
    "directions": 12,
    "condition": 13,
    "sampler_noise": 14,
    "divergence": 15,
    "pilot": 16,
    "membership": 17,
    "encoder": 18,
    "references": 19,
    "bootstrap": 20,
    "extrapolation": 21,
    "permutation": 22,
    "calibration_floor": 23,
}


def stream(root: int, name: str, *index: Index) -> np.random.Generator:
    """Return the generator of the purpose `name` at `index` (sample, expert, step ...).

    All streams of a purpose need indices of one length, because trailing zeros may not count.
    """
    return np.random.default_rng(np.random.SeedSequence([root, STREAMS[name], *index]))


def integer(root: int, name: str, *index: Index) -> int:
    """Return a 31-bit seed, for libraries that do not take a generator."""
    sequence = np.random.SeedSequence([root, STREAMS[name], *index])
    return int(sequence.generate_state(1)[0] >> 1)


def name_to_int(name: str) -> int:
    """Return a fixed integer for a name (of a partition, a router), for the index of a stream."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def normals(
    root: int, name: str, seeds: Iterable[Index], shape: tuple[int, ...], *index: Index
) -> np.ndarray:
    """Return standard normal float32 [seeds, *shape].

    The row of seed i depends on (root, name, i, *index) alone.
    """
    draws = (stream(root, name, i, *index) for i in seeds)
    return np.stack([rng.standard_normal(shape, np.float32) for rng in draws])


def uniforms(root: int, name: str, seeds: Iterable[Index], num: int) -> np.ndarray:
    """Return uniform float32 in [0, 1) [seeds, num].

    The row of seed i depends on (root, name, i) alone.
    """
    return np.stack([stream(root, name, i).random(num, np.float32) for i in seeds])
