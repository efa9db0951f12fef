import math

import pytest
import torch

from routing.metrics.formulas.memorisation import (
    CopyReference,
    copy_distances,
    copy_metrics,
    nearest_training_images,
)
from routing.statistics.jackknife import jackknife_weights, seed_blocks


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def fit(train, heldout, rows=50, block=512):
    """Of training images that come `rows` at a time."""
    return CopyReference.fit(lambda: iter(train.split(rows)), heldout, block)


def own_distance(reference):
    """Of every training image, to the nearest other one."""
    y = torch.cat([*reference.train()])
    return nearest_training_images(reference.train, y, own=torch.arange(len(y)))[0]


def metrics(x, reference):
    return {k: v.item() for k, v in copy_metrics(x, reference, torch.ones(1, len(x))).items()}


def loop(x, train, heldout, w):
    """The definitions, point by point."""
    x, train, heldout, w = x.tolist(), train.tolist(), heldout.tolist(), w.tolist()

    def nearest(p, others):
        return min((math.dist(p, q), t) for t, q in enumerate(others))

    own = [nearest(p, train[:t] + train[t + 1 :])[0] for t, p in enumerate(train)]
    found = [nearest(p, train) for p in x]
    h = sum(nearest(p, train)[0] for p in heldout) / len(heldout)
    ratio = sum(c * d for c, (d, _) in zip(w, found, strict=True)) / sum(w) / h
    return {
        "copy_ratio": ratio,
        "authenticity": sum(c * (d > own[t]) for c, (d, t) in zip(w, found, strict=True)) / sum(w),
    }


def test_agree_with_their_definitions_for_any_counts(rng):
    x, train, heldout = 0.8 * normal(rng, 40, 3), normal(rng, 60, 3), normal(rng, 25, 3)
    w = torch.randint(0, 4, (5, 40), generator=rng).double()
    w[0] = 1
    replicates = copy_metrics(x, fit(train, heldout), w)
    for r, row in enumerate(w):
        expected = loop(x, train, heldout, row)
        assert {k: v[r].item() for k, v in replicates.items()} == pytest.approx(
            expected, rel=1e-12
        )
        assert 0 < expected["authenticity"] < 1


def test_by_hand():
    """Training images 0, 3, 4: their nearest others are 3, 1, 1 away."""
    reference = fit(torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([[6.0], [-4.0]]))
    assert own_distance(reference).tolist() == [3, 1, 1]
    assert reference.heldout_distance.tolist() == [2, 4]
    x = torch.tensor([[-2.0], [1.0], [3.0], [5.0], [6.0], [1.5], [3.5]])
    found = copy_distances(x, reference, torch.ones(1, 7))
    assert found.distance.tolist() == [2, 1, 0, 1, 2, 1.5, 0.5]
    assert found.is_authentic.tolist() == [False, False, False, False, True, False, False]
    assert metrics(x, reference) == {"copy_ratio": pytest.approx(8 / 7 / 3), "authenticity": 1 / 7}


def test_of_equally_near_training_images_the_first_is_asked():
    """2 is as near to 0 as to 4, whose nearest others are 9 and 1 away."""
    near, far = [[4.0], [5.0]], [[0.0], [-9.0]]
    x, heldout = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    for train, expected in ((near + far, 1), (far + near, 0)):
        for rows in (4, 2, 1):  # in whatever block the other is
            reference = fit(torch.tensor(train), heldout, rows)
            assert metrics(x, reference)["authenticity"] == expected


def test_the_right_way_round(rng):
    train, heldout = normal(rng, 300, 4), normal(rng, 300, 4)
    reference = fit(train, heldout)
    assert metrics(train[::2], reference) == {"copy_ratio": 0, "authenticity": 0}
    assert metrics(heldout, reference)["copy_ratio"] == pytest.approx(1, rel=1e-12)
    new = metrics(normal(rng, 300, 4), reference)
    jittered = metrics(train + 0.05 * normal(rng, 300, 4), reference)
    assert new["copy_ratio"] == pytest.approx(1, abs=0.1)
    assert jittered["copy_ratio"] < 0.3 and jittered["authenticity"] < new["authenticity"] / 3
    assert metrics(5 * normal(rng, 300, 4), reference)["copy_ratio"] > 2  # no measure of quality


def test_all_training_images_are_searched_a_block_at_a_time(rng):
    """The nearest is in the last block, that one's nearest other in the first."""
    train = torch.cat([torch.arange(99.0)[:, None], torch.tensor([[0.25]])]) - 0.25
    reference = fit(train, torch.tensor([[200.0]]), rows=10)
    found = copy_distances(torch.tensor([[0.1], [-0.1], [0.3]]), reference, torch.ones(1, 3))
    assert found.distance.tolist() == pytest.approx([0.1, 0.1, 0.3])
    assert found.is_authentic.tolist() == [False, False, True]  # 0 and -0.25 are neighbours


def test_a_training_image_that_is_there_twice_is_no_measure(rng):
    train = normal(rng, 30, 2).repeat(2, 1)
    reference = fit(train, normal(rng, 10, 2))
    assert (own_distance(reference) == 0).all()
    assert metrics(train, reference)["authenticity"] == 0  # 0 is not further than 0
    assert metrics(train + 1e-3, reference)["authenticity"] == 1


def test_one_new_held_out_image_is_enough(rng):
    train, new = normal(rng, 30, 2), normal(rng, 1, 2)
    reference = fit(train, torch.cat([train[:3], new]))
    assert (reference.heldout_distance[:3] == 0).all() and reference.heldout_distance[3] > 0
    found = metrics(new, reference)["copy_ratio"]
    assert found == pytest.approx(4, rel=1e-12)  # the mean is of four, three of which are 0


@pytest.mark.parametrize(("block", "rows"), [(1, 1), (7, 1000), (1000, 7)])
def test_the_block_does_not_matter_bit_for_bit(block, rows, rng):
    x, train, heldout = normal(rng, 40, 3), normal(rng, 90, 3), normal(rng, 25, 3)
    w = jackknife_weights(seed_blocks(40, 8))
    expected = copy_metrics(x, fit(train, heldout), w)
    ours = copy_metrics(x, fit(train, heldout, rows, block), w, block)
    for name, value in expected.items():
        assert torch.equal(value, ours[name]) and value.dtype == torch.float64


def test_single_precision_is_counted_in_double(rng):
    x, train, heldout = (normal(rng, n, 3).float() for n in (40, 90, 25))
    w = torch.ones(1, 40)
    single = copy_metrics(x, fit(train, heldout), w)
    double = copy_metrics(x.double(), fit(train.double(), heldout.double()), w)
    assert single == double


def test_what_cannot_be_compared_is_refused_in_one_line(rng):
    train, heldout = normal(rng, 30, 3), normal(rng, 10, 3)
    reference, w = fit(train, heldout), torch.ones(1, 10)
    broken = heldout.clone()
    broken[3] = torch.nan
    refused = [
        (
            lambda: fit(train[:1], heldout),
            "reference: wanted at least 2 rows, got 1",
        ),
        (lambda: fit(train, heldout[:0]), "wanted at least 1 rows, got 0"),
        (lambda: fit(train, broken), "wanted finite features, got nan or inf in 1"),
        (lambda: fit(train, train[:4]), "held-out images: wanted one .* got 4 that"),
        (lambda: copy_metrics(broken, reference, w), "samples: wanted finite features"),
        (
            lambda: fit(torch.cat([train, broken]), heldout),
            "reference: wanted finite features, got nan or inf in 1 of",
        ),
        (
            lambda: copy_metrics(heldout[:, :2], reference, w),
            "samples: wanted 3 features as the reference has, got 2",
        ),
        (lambda: copy_metrics(heldout, reference, 0 * w), "at least 1 samples in every replicate"),
        (lambda: copy_metrics(heldout, reference, w / 2), "weights: wanted whole numbers"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value) and "; " in str(error.value)
