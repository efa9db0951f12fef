"""Random streams:  SeedSequence([root, stream, *index]), one per purpose and per sample.

Sample i draws from its own stream in every arm, whatever the batch size, the shard or the
device: its noise, its routing numbers and its oracle label depend on (root, i) alone, so that
comparisons between arms are paired. Adding a stream changes no other; a number is never reused.
Streams are NumPy's (PCG64), the same on every platform.
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
}


def stream(root: int, name: str, *index: Index) -> np.random.Generator:
    """The generator of purpose `name` at `index` (sample, expert, step ...).

    Give all streams of one purpose indices of one length: zeros at the end may be as good as none.
    """
    return np.random.default_rng(np.random.SeedSequence([root, STREAMS[name], *index]))


def integer(root: int, name: str, *index: Index) -> int:
    """A 31-bit seed for libraries that take nothing better."""
    sequence = np.random.SeedSequence([root, STREAMS[name], *index])
    return int(sequence.generate_state(1)[0] >> 1)


def number(name: str) -> int:
    """A stable number for a name (a partition, a router), to be used as an index of a stream."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def normals(
    root: int, name: str, seeds: Iterable[Index], shape: tuple[int, ...], *index: Index
) -> np.ndarray:
    """Standard normal float32 [seeds, *shape]; row i depends on (root, name, i, *index) alone."""
    draws = (stream(root, name, i, *index) for i in seeds)
    return np.stack([rng.standard_normal(shape, np.float32) for rng in draws])


def uniforms(root: int, name: str, seeds: Iterable[Index], num: int) -> np.ndarray:
    """Uniform float32 in [0, 1) [seeds, num]; row i depends on (root, name, seeds[i]) alone."""
    return np.stack([stream(root, name, i).random(num, np.float32) for i in seeds])
