"""The samples of a fit: a uniform subsample, read block by block."""

import numpy as np

from routing.loading.feature_encoders.fitting_samples import FittingSamples, subsample


def test_the_draw_is_even():
    train = np.arange(10, 30)
    seen = np.concatenate([subsample(train, 5, seed) for seed in range(2000)])
    counts = np.bincount(seen)[10:]
    assert len(counts) == 20 and np.abs(counts - 500).max() < 5 * np.sqrt(500 * 0.75)


def test_a_sample_reads_what_it_is_asked_for():
    class Rows:
        shape = (1, 2)

        def take(self, numbers):
            return np.asarray(numbers)[:, None, None] * np.ones((1, 2))

    sample = FittingSamples(Rows(), np.array([3, 5, 8]))
    assert len(sample) == 3 and sample.shape == (1, 2) and sample.dim == 2
    blocks = [block[:, 0, 0].tolist() for block in sample.blocks(2)]
    assert blocks == [[3, 5], [8]] and sample.all()[:, 0, 0].tolist() == [3, 5, 8]
