import math

import pytest
import torch

from routing.copies import CopyReference, copies, copy_metrics, nearest_distances
from routing.intervals import jackknife_weights, seed_blocks


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


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
    replicates = copy_metrics(x, CopyReference.fit(train, heldout), w)
    for r, row in enumerate(w):
        expected = loop(x, train, heldout, row)
        assert {k: v[r].item() for k, v in replicates.items()} == pytest.approx(
            expected, rel=1e-12
        )
        assert 0 < expected["authenticity"] < 1


def test_by_hand():
    """Training images 0, 3, 4: their nearest others are 3, 1, 1 away."""
    reference = CopyReference.fit(
        torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([[6.0], [-4.0]])
    )
    assert reference.own_distance.tolist() == [3, 1, 1]
    assert reference.heldout_distance.tolist() == [2, 4]
    x = torch.tensor([[-2.0], [1.0], [3.0], [5.0], [6.0], [1.5], [3.5]])
    found = copies(x, reference, torch.ones(1, 7))
    assert found.distance.tolist() == [2, 1, 0, 1, 2, 1.5, 0.5]
    assert found.is_authentic.tolist() == [False, False, False, False, True, False, False]
    assert metrics(x, reference) == {"copy_ratio": pytest.approx(8 / 7 / 3), "authenticity": 1 / 7}


def test_of_equally_near_training_images_the_first_is_asked():
    """2 is as near to 0 as to 4, whose nearest others are 9 and 1 away."""
    near, far = [[4.0], [5.0]], [[0.0], [-9.0]]
    x, heldout = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    for train, expected in ((near + far, 1), (far + near, 0)):
        reference = CopyReference.fit(torch.tensor(train), heldout)
        assert metrics(x, reference)["authenticity"] == expected


def test_the_right_way_round(rng):
    train, heldout = normal(rng, 300, 4), normal(rng, 300, 4)
    reference = CopyReference.fit(train, heldout)
    assert metrics(train[::2], reference) == {"copy_ratio": 0, "authenticity": 0}
    assert metrics(heldout, reference)["copy_ratio"] == pytest.approx(1, rel=1e-12)
    new = metrics(normal(rng, 300, 4), reference)
    jittered = metrics(train + 0.05 * normal(rng, 300, 4), reference)
    assert new["copy_ratio"] == pytest.approx(1, abs=0.1)
    assert jittered["copy_ratio"] < 0.3 and jittered["authenticity"] < new["authenticity"] / 3
    assert metrics(5 * normal(rng, 300, 4), reference)["copy_ratio"] > 2  # no measure of quality


def test_a_training_image_that_is_there_twice_is_no_measure(rng):
    train = normal(rng, 30, 2).repeat(2, 1)
    reference = CopyReference.fit(train, normal(rng, 10, 2))
    assert (reference.own_distance == 0).all()
    assert metrics(train, reference)["authenticity"] == 0  # 0 is not further than 0
    assert metrics(train + 1e-3, reference)["authenticity"] == 1


def test_one_new_held_out_image_is_enough(rng):
    train, new = normal(rng, 30, 2), normal(rng, 1, 2)
    reference = CopyReference.fit(train, torch.cat([train[:3], new]))
    assert (reference.heldout_distance[:3] == 0).all() and reference.heldout_distance[3] > 0
    found = metrics(new, reference)["copy_ratio"]
    assert found == pytest.approx(4, rel=1e-12)  # the mean is of four, three of which are 0


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_block_does_not_matter_bit_for_bit(block, rng):
    x, train, heldout = normal(rng, 40, 3), normal(rng, 90, 3), normal(rng, 25, 3)
    w = jackknife_weights(seed_blocks(40, 8))
    expected = copy_metrics(x, CopyReference.fit(train, heldout), w)
    ours = copy_metrics(x, CopyReference.fit(train, heldout, block), w, block)
    for name, value in expected.items():
        assert torch.equal(value, ours[name]) and value.dtype == torch.float64
    assert torch.equal(nearest_distances(x, train, block), nearest_distances(x, train))


def test_single_precision_is_counted_in_double(rng):
    x, train, heldout = (normal(rng, n, 3).float() for n in (40, 90, 25))
    w = torch.ones(1, 40)
    single = copy_metrics(x, CopyReference.fit(train, heldout), w)
    double = copy_metrics(x.double(), CopyReference.fit(train.double(), heldout.double()), w)
    assert single == double


def test_what_cannot_be_compared_is_refused_in_one_line(rng):
    train, heldout = normal(rng, 30, 3), normal(rng, 10, 3)
    reference, w = CopyReference.fit(train, heldout), torch.ones(1, 10)
    broken = heldout.clone()
    broken[3] = torch.nan
    refused = [
        (
            lambda: CopyReference.fit(train[:1], heldout),
            "reference: wanted at least 2 rows, got 1",
        ),
        (lambda: CopyReference.fit(train, heldout[:0]), "wanted at least 1 rows, got 0"),
        (lambda: CopyReference.fit(train, broken), "wanted finite features, got nan or inf in 1"),
        (lambda: CopyReference.fit(train, train[:4]), "held-out images: wanted one .* got 4 that"),
        (lambda: copy_metrics(broken, reference, w), "samples: wanted finite features"),
        (lambda: copy_metrics(heldout, reference, 0 * w), "at least 1 samples in every replicate"),
        (lambda: copy_metrics(heldout, reference, w / 2), "weights: wanted whole numbers"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value) and "; " in str(error.value)
