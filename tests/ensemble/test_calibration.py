"""Temperatures against other minimisers and a known answer; scores by hand and by loop."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from routing.ensemble.calibration import (
    calibration_error,
    calibration_error_floor,
    fit_temperatures,
    fit_temperatures_error,
    reliability,
    scores_by_time,
    tempered,
    time_bins,
)
from routing.ensemble.gram_matrix import ensemble_error
from routing.flow import paths
from routing.flow.exact_worlds import GaussianMixture

BINS = 5


def nll(logits, cluster):
    return -logits.log_softmax(1).gather(1, cluster[:, None])[:, 0]


def by_bin(values, t, num_bins=BINS):
    bins = time_bins(t, num_bins)
    return torch.stack([values[bins == b].mean() for b in range(num_bins)])


def routed(rng, num=2000, experts=4, dtype=torch.float64):
    """Logits that are right more often than not, miscalibrated differently at each t."""
    t = torch.rand(num, generator=rng, dtype=dtype)
    cluster = torch.randint(experts, (num,), generator=rng)
    z = torch.randn(num, experts, generator=rng, dtype=dtype)
    z[torch.arange(num), cluster] += 1.0
    return z * (0.3 + 2 * t[:, None]), cluster, t


def errors(rng, num=2000, experts=4):
    e = torch.randn(num, experts, 6, generator=rng, dtype=torch.float64)
    e = e * (0.5 + torch.rand(num, experts, 1, generator=rng, dtype=torch.float64))
    return e @ e.mT / 6


# Bins


def test_bins_of_time():
    t = torch.tensor([0.0, 0.0999, 0.1, 0.3, 0.55, 0.6, 0.7, 0.9999, 1.0])
    assert time_bins(t, 10).tolist() == [0, 0, 1, 3, 5, 6, 7, 9, 9]
    assert time_bins(t.double(), 10).tolist() == [0, 0, 1, 3, 5, 6, 7, 9, 9]
    assert time_bins(t, 1).tolist() == [0] * 9


def test_logits_are_divided_by_the_temperature_of_their_bin():
    z = torch.tensor([[2.0, -4.0], [2.0, -4.0], [2.0, -4.0]])
    found = tempered(z, torch.tensor([0.2, 0.5, 1.0]), torch.tensor([2.0, 4.0]))
    assert found.tolist() == [[1.0, -2.0], [0.5, -1.0], [0.5, -1.0]]


# Temperatures by likelihood


def test_temperatures_are_those_of_scipy(rng):
    logits, cluster, t = routed(rng)
    found = fit_temperatures(logits, cluster, t, BINS)
    bins = time_bins(t, BINS)
    for b in range(BINS):
        z, c = logits[bins == b], cluster[bins == b]
        best = scipy.optimize.minimize_scalar(
            lambda log_t, z=z, c=c: nll(z / math.exp(log_t), c).mean().item(),
            bounds=(-3, 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert found[b].item() == pytest.approx(math.exp(best.x), rel=1e-5)
    assert found[0] < 1 < found[-1]


def test_a_tempered_exact_posterior_gives_back_its_temperatures(rng):
    means = torch.tensor([[1.5, 0.0], [-0.5, 1.0], [-0.4, -1.0]]).double()
    covs = 0.2 * torch.eye(2).double().expand(3, 2, 2)
    mixture = GaussianMixture(torch.tensor([0.5, 0.3, 0.2]).double(), means, covs)
    x0, cluster = mixture.sample(20_000, rng)
    t = torch.rand(20_000, generator=rng).double() * 0.8
    x = paths.add_noise(x0, torch.randn(x0.shape, generator=rng).double(), t)
    p = mixture.posterior(x, t)
    true = torch.tensor([0.4, 0.8, 1.5, 3.0]).double()
    logits = tempered(p.log(), t / 0.8, 1 / true)
    found = fit_temperatures(logits, cluster, t / 0.8, 4)
    # d^2 nll / d beta^2 = Var_p(z) : the standard error of 1 / T by Fisher
    spread = (p * logits**2).sum(1) - (p * logits).sum(1) ** 2
    bins = time_bins(t / 0.8, 4)
    count = torch.bincount(bins).double()
    error = (count * by_bin(spread, t / 0.8, 4)).rsqrt()
    assert ((1 / found - 1 / true).abs() < 3.5 * error).all()
    assert (error * true < 0.1).all()


def test_no_bin_gets_worse(rng):
    for gain in (0.01, 1.0, 100.0):
        logits, cluster, t = routed(rng)
        logits = gain * logits
        after = tempered(logits, t, fit_temperatures(logits, cluster, t, BINS))
        change = by_bin(nll(after, cluster) - nll(logits, cluster), t)
        assert (change <= 1e-12).all()


def test_where_the_temperature_ends():
    t = torch.tensor([0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.9])
    cluster = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    right = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    z = torch.cat([right, -right, torch.full((2, 2), 0.1), torch.tensor([[3.0, 0.0]])])
    z = torch.cat([z, torch.tensor([-9.0, -9.0, 0.0, 0.0, 0.1, 0.1, -9.0])[:, None]], dim=1)
    found = fit_temperatures(z, cluster, t, 5)
    # always right, always wrong, uninformative, no states, right
    torch.testing.assert_close(found, torch.tensor([1 / 20, 20.0, 1.0, 1.0, 1 / 20]))
    assert found[2] == found[3] == 1
    assert found.dtype == torch.float32


def test_infinite_logits_are_refused(rng):
    logits, cluster, t = routed(rng, num=10)
    logits[3, 1] = -math.inf
    with pytest.raises(ValueError, match="^temperatures: logits must be finite, got nan or inf"):
        fit_temperatures(logits, cluster, t, BINS)
    with pytest.raises(ValueError, match="^temperatures: logits must be finite, got nan or inf"):
        fit_temperatures_error(logits, errors(rng, num=10), t, BINS)


# Temperatures by the error of the ensemble


def test_temperatures_of_least_error_are_those_of_a_fine_grid(rng):
    logits, _, t = routed(rng)
    G = errors(rng)
    G[:, 0] *= 0.2  # logits that favour the good expert
    G[:, :, 0] *= 0.2
    logits[:, 0] += 2.0
    found = fit_temperatures_error(logits, G, t, BINS)
    after = by_bin(ensemble_error(tempered(logits, t, found).softmax(1), G), t)
    fine = torch.linspace(-math.log(20), math.log(20), 1500).double().exp()
    every = [by_bin(ensemble_error((logits / T).softmax(1), G), t) for T in fine]
    least, index = torch.stack(every).min(0)
    assert (after <= least + 1e-12).all()
    torch.testing.assert_close(found, fine[index], rtol=5e-3, atol=0.0)
    assert ((found > 0.06) & (found < 15)).all()  # inside


def test_the_error_never_grows_and_uninformative_bins_keep_t_1(rng):
    logits, _, t = routed(rng, num=200)
    G = errors(rng, num=200)
    t = t * 0.79  # the last bin is empty
    logits[t < 0.2] = 1.5
    found = fit_temperatures_error(logits, G, t, BINS)
    assert found[0] == found[-1] == 1
    before = ensemble_error(logits.softmax(1), G)
    after = ensemble_error(tempered(logits, t, found).softmax(1), G)
    assert (by_bin(after - before, t, BINS)[:-1] <= 0).all()


def test_the_ends_of_the_error_temperatures():
    z, t = torch.tensor([[2.0, 0.0]]).expand(2, 2), torch.tensor([0.1, 0.9])
    G = torch.stack([torch.diag(torch.tensor([0.0, 1.0])), torch.diag(torch.tensor([1.0, 0.0]))])
    found = fit_temperatures_error(z, G, t, 2)
    assert found[0] < 1 / 15  # the logits are right: the surer the better
    assert found[1].item() == pytest.approx(20)


# Scores


def test_the_calibration_error_by_hand():
    confidence = torch.tensor([0.62, 0.68, 0.95, 1.0, 0.91], dtype=torch.float64)
    right = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    # bin 0.6-0.7: |1 - 0.65| of 2, underconfident; bin 0.9-1.0: |2/3 - 0.9533| of 3, overconfident
    expected = 2 / 5 * abs(1 - 0.65) + 3 / 5 * abs(2 / 3 - 2.86 / 3)
    assert calibration_error(confidence, right) == pytest.approx(expected)
    assert calibration_error(torch.ones(4).double(), torch.ones(4).double()) == 0
    assert calibration_error(confidence, right, num_bins=1) == pytest.approx(abs(4 - 4.16) / 5)


def test_reliability_by_hand():
    p = torch.tensor([[0.62, 0.38], [0.32, 0.68], [0.95, 0.05], [0.0, 1.0], [0.5, 0.5]])
    table = reliability(p, torch.tensor([0, 0, 0, 1, 0]))
    assert table.count.tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0, 2]
    assert table.confidence[6].item() == pytest.approx(0.65)
    assert table.accuracy[[5, 6, 9]].tolist() == [1.0, 0.5, 1.0]  # of equal ones the lower
    assert table.confidence[9].item() == pytest.approx(0.975)
    assert table.accuracy[:5].isnan().all() and table.confidence[7].isnan()


def test_reliability_and_calibration_error_are_one_thing(rng):
    logits, cluster, _ = routed(rng)
    p = logits.softmax(1)
    confidence, predicted = p.max(1)
    for num_bins in (4, 10):
        table = reliability(p, cluster, num_bins)
        gaps = (table.accuracy - table.confidence).abs().nan_to_num() * table.count
        ece = calibration_error(confidence, (predicted == cluster).double(), num_bins)
        assert gaps.sum().item() / len(p) == pytest.approx(ece)


def test_scores_by_loop(rng):
    logits, cluster, t = routed(rng, num=300)
    t[time_bins(t, BINS) == 2] = 0.05
    p = logits.softmax(1)
    p[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    cluster[0] = 1
    scores = scores_by_time(p, cluster, t, BINS)
    assert scores.keys() == {"accuracy", "nll", "ece", "brier", "entropy", "count"}
    for b in range(BINS):
        here = [i for i in range(300) if min(int(t[i] * BINS), BINS - 1) == b]
        assert scores["count"][b] == len(here)
        if not here:
            assert all(v[b].isnan() for n, v in scores.items() if n != "count")
            continue
        rows = [(p[i].tolist(), int(cluster[i])) for i in here]
        right = [float(q.index(max(q)) == c) for q, c in rows]
        expected = {
            "accuracy": sum(right) / len(here),
            "nll": sum(-math.log(q[c]) for q, c in rows) / len(here),
            "brier": sum(sum((a - (k == c)) ** 2 for k, a in enumerate(q)) for q, c in rows)
            / len(here),
            "entropy": sum(-sum(a * math.log(a) for a in q if a > 0) for q, _ in rows) / len(here),
            "ece": calibration_error(p[here].amax(1), torch.tensor(right).double()),
        }
        for name, value in expected.items():
            assert scores[name][b].item() == pytest.approx(value), name


def test_scores_of_float32_and_of_a_router_that_is_sure_and_wrong():
    p, cluster = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([1, 0])
    scores = scores_by_time(p, cluster, torch.tensor([0.1, 0.9]), 2)
    assert scores["nll"].tolist() == [math.inf, 0.0] and scores["nll"].dtype == torch.float64
    assert scores["brier"].tolist() == [2.0, 0.0] and scores["ece"].tolist() == [1.0, 0.0]


# The floor of the calibration error


def test_the_floor_is_the_error_of_clusters_drawn_from_p(rng):
    """Of exactly calibrated routers, the mean error is the floor; of others it is above."""
    logits, _, t = routed(rng, num=300)
    p, own, wrong = logits.softmax(1), [], []
    for _ in range(200):
        drawn = torch.multinomial(p, 1, generator=rng)[:, 0]
        own.append(scores_by_time(p, drawn, t, BINS)["ece"])
        wrong.append(scores_by_time((2.5 * logits).softmax(1), drawn, t, BINS)["ece"])
    floor = calibration_error_floor(p, t, BINS, np.random.default_rng(0))
    mean, error = torch.stack(own).mean(0), torch.stack(own).std(0) / 200**0.5
    assert ((floor - mean).abs() < 5 * error).all() and (floor > 0.02).all()
    other = calibration_error_floor((2.5 * logits).softmax(1), t, BINS, np.random.default_rng(0))
    assert (torch.stack(wrong).mean(0) > 1.1 * other).all()


def test_the_floor_by_hand():
    """One state: |right - p| is 1 - p with probability p and p otherwise; certain states: 0."""
    p, t = torch.tensor([[0.3, 0.7], [1.0, 0.0]]).double(), torch.tensor([0.2, 0.7])
    floor = calibration_error_floor(p, t, 3, np.random.default_rng(0), 20_000)
    assert floor[0].item() == pytest.approx(2 * 0.3 * 0.7, abs=0.01)
    assert floor[1].isnan() and floor[2] == 0
