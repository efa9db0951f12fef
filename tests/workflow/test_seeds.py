"""Streams: one per purpose and per sample, the same on every machine and for ever."""

import itertools

import numpy as np
import pytest
from scipy import stats

from routing.workflow import seeds

# Root 20260101, index 1: the seed for libraries and the first draw. A change here changes every
# number of every study; NumPy promises PCG64 and SeedSequence, but not the methods of Generator.
GOLDEN = {
    "split": (116195022, 0.6410176272106402),
    "world": (2043728418, 0.9199542138567564),
    "partition": (790005414, 0.6697244417309284),
    "initial_weights": (1930944909, 0.550861842326578),
    "batches": (425033346, 0.7797681430766111),
    "noise": (1891967337, 0.41621685526969643),
    "routing": (2136960915, 0.9384903531770926),
    "oracle_label": (1306445046, 0.9255765655950038),
    "evaluation": (1874356041, 0.6866425300469041),
    "probe": (1645400758, 0.317594197954834),
    "probe_part": (794852099, 0.24452583479954093),
    "directions": (194797923, 0.3711488560019227),
    "condition": (746164621, 0.47043948547254866),
    "sampler_noise": (37375822, 0.740036835637669),
    "divergence": (1404247567, 0.4245075710690662),
    "pilot": (401028707, 0.6688565849425364),
    "membership": (1792501053, 0.2559560225767341),
    "encoder": (979849476, 0.6687308623087383),
    "references": (627583712, 0.9135485598205426),
    "bootstrap": (1104046719, 0.6884105242701885),
    "extrapolation": (1897372804, 0.9624014461347813),
    "permutation": (320578967, 0.4881722280940539),
    "calibration_floor": (331822174, 0.1155905641335232),
}
ROOT = 20260101


def test_golden_covers_the_table():
    """A new stream gets a row here; the others stay what they are."""
    assert GOLDEN.keys() == seeds.STREAMS.keys()
    assert len(set(seeds.STREAMS.values())) == len(seeds.STREAMS)


@pytest.mark.parametrize("name", GOLDEN)
def test_first_draws_are_what_they_were(name):
    found = seeds.integer(ROOT, name, 1), seeds.stream(ROOT, name, 1).random()
    assert found == GOLDEN[name]


def test_the_methods_in_use_are_what_they_were():
    noise = [[-0.6803189516067505, 0.507693886756897], [-0.06291242688894272, 0.06111939251422882]]
    assert seeds.normals(0, "noise", [0, 5], (2,)).tolist() == noise
    u = [[0.7966567873954773, 0.03886103630065918], [0.18146473169326782, 0.7491627335548401]]
    assert seeds.uniforms(0, "routing", [0, 5], 2).tolist() == u
    assert seeds.stream(0, "split").permutation(8).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]
    assert seeds.stream(0, "batches", 1, 2).integers(100, size=4).tolist() == [93, 97, 67, 66]
    assert (seeds.name_to_int("monolith"), seeds.name_to_int("semantic")) == (
        1455906112,
        252150839,
    )


def test_the_formula():
    """SeedSequence([root, stream, *index]), as the docstring says."""
    sequence = np.random.SeedSequence([ROOT, seeds.STREAMS["noise"], 3, 4])
    expected = np.random.Generator(np.random.PCG64(sequence)).random(5)
    assert (seeds.stream(ROOT, "noise", 3, 4).random(5) == expected).all()


@pytest.mark.parametrize("draw", [seeds.normals, seeds.uniforms])
def test_a_sample_is_the_same_in_any_company(draw):
    size = (2, 3) if draw is seeds.normals else 6
    together = draw(ROOT, "noise", range(10), size)
    assert together.dtype == np.float32
    for i in range(10):
        assert (draw(ROOT, "noise", [i], size)[0] == together[i]).all()
    mixed = draw(ROOT, "noise", np.array([7, 2, 7]), size)
    assert (mixed == together[[7, 2, 7]]).all()


def test_streams_roots_and_indices_differ():
    keys = [
        (root, name, *index)
        for root in (0, 1, 2**40)
        for name in seeds.STREAMS
        for index in ((1,), (2,), (1, 2), (2, 1), (1, 2, 3))
    ]
    drawn = {seeds.stream(*key).random() for key in keys}
    assert len(drawn) == len(keys)
    assert len({seeds.integer(*key) for key in keys}) == len(keys)


def test_samples_together_are_white():
    """Neighbouring seeds give independent noise of the right law, inside a sample and across."""
    noise = seeds.normals(ROOT, "noise", range(4000), (2,)).astype(float)
    assert stats.kstest(noise[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(noise[:, 1], "norm").pvalue > 0.01
    u = seeds.uniforms(ROOT, "routing", range(4000), 2).astype(float)
    assert stats.kstest(u[:, 0], "uniform").pvalue > 0.01
    assert 0 <= u.min() and u.max() < 1
    columns = {
        "noise": noise[:-1, 0],
        "next component": noise[:-1, 1],
        "next seed": noise[1:, 0],
        "routing number": u[:-1, 0],
        "second routing number": u[:-1, 1],
    }
    for (first, a), (second, b) in itertools.combinations(columns.items(), 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(4000), (first, second)


def test_integers_fit_other_libraries():
    found = [seeds.integer(ROOT, "partition", i) for i in range(2000)]
    assert all(isinstance(n, int) and 0 <= n < 2**31 for n in found)
    assert max(found) > 2**30 and len(set(found)) == len(found)


def test_numbers_of_names():
    names = [f"{word}{i}" for word in ("a", "b", "partition_") for i in range(300)]
    numbers = [seeds.name_to_int(name) for name in names]
    assert len(set(numbers)) == len(names) and all(0 <= n < 2**32 for n in numbers)
