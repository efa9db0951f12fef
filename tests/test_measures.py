"""The table of metrics: names, directions and ranges hold for every row."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from routing.figures import words
from routing.intervals import jackknife_weights, seed_blocks
from routing.measures import METRICS, Kind, Real, View
from routing.measures.base import InSpace, Pairs
from routing.spaces import metric_name

NUM, DIM, K = 48, 4, 3
OPTIONS = {name: {} for name in METRICS} | {"inception_score": {"num_splits": 3}}
ONE_OF_MANY = {"class_shares", "cluster_shares", "lpips", "cluster_frechet", "cluster_recall"}


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def real(rng, num=120):
    points = normal(rng, num, DIM)
    clusters = torch.arange(num) % K
    return Real(points, clusters, K, normal(rng, 30, DIM), lambda: iter(points.split(50)))


def view(measure, rng, features=None, of=None):
    of = of or real(rng)
    features = normal(rng, NUM, DIM) if features is None else features
    pairs = torch.rand(6, 6, generator=rng).double()
    shares = torch.full((K,), 1 / K).double()
    return View(
        features=features,
        reference=measure.fit(of),
        weights=jackknife_weights(seed_blocks(NUM, 6)),
        named=lambda kind: metric_name(kind, "toy", None),
        order=torch.from_numpy(np.random.default_rng(0).permutation(NUM)),
        class_names=("a", "b", "c"),
        class_shares=shares,
        cluster_shares=shares,
        classes=torch.randint(K, (NUM,), generator=rng),
        asked=torch.randint(K, (NUM,), generator=rng),
        clusters=torch.arange(NUM) % K,
        point_clusters=of.clusters,
        logits=normal(rng, NUM, 7),
        texts=normal(rng, NUM, DIM),
        pairs=Pairs("alex", pairs, torch.full((6, 6), 64.0), pairs.new_ones(NUM), "monolith"),
    )


def made(name, rng, **more):
    measure = METRICS[name](**OPTIONS[name])
    return measure, view(measure, rng, **more)


def test_the_options_are_of_the_table():
    assert OPTIONS.keys() == METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_names_directions_and_ranges_are_what_is_said(name, rng):
    measure, seen = made(name, rng)
    found = measure.replicates(seen)
    assert found and all(v.shape == (7,) for v in found.values())
    kinds = {metric_name(kind, "toy", None): of for kind, of in measure.kinds.items()}
    for metric, values in found.items():
        of = kinds.get(metric) if name not in ONE_OF_MANY else None
        if of is not None:
            assert words.direction(metric) == of.direction, metric
            assert ((values >= of.low - 1e-9) & (values <= of.high + 1e-9)).all(), metric
        assert words.words(metric) and values.isfinite().all()
    for kind, of in measure.kinds.items():
        assert isinstance(of, Kind) and of.low < of.high, kind


@pytest.mark.parametrize("name", METRICS)
def test_twice_the_same_and_a_replicate_is_the_metric_of_what_is_left(name, rng):
    measure, seen = made(name, rng)
    found, again = measure.replicates(seen), measure.replicates(seen)
    for metric, values in found.items():
        assert torch.equal(values, again[metric])
    alone = measure.replicates(replace(seen, weights=seen.weights[[3]]))
    for metric, values in found.items():
        torch.testing.assert_close(values[[3]], alone[metric], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in METRICS if METRICS[n].resamples])
def test_a_draw_of_everyone_once_is_the_metric(name, rng):
    measure, seen = made(name, rng)
    once = torch.ones(2, NUM, dtype=torch.float64)
    drawn, found = measure.bootstrap(seen, once), measure.replicates(seen)
    assert drawn.keys() == found.keys()
    for metric, values in drawn.items():
        torch.testing.assert_close(values, found[metric][:1].expand(2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_the_mean_of_the_scores_is_the_metric(name, rng):
    measure, seen = made(name, rng)
    found = measure.replicates(seen)
    for metric, score in measure.scores(seen).items():
        assert found[metric][0].item() == pytest.approx(score.double().mean().item())


def test_the_right_way_round(rng):
    """Shifted samples are farther, collapsed ones less various and nearer to the data."""
    of = real(rng)
    good = normal(rng, NUM, DIM)
    collapsed = good * 0.05
    for name in ("frechet", "frechet_infinity", "kernel", "energy", "cmmd", "cluster_frechet"):
        measure = METRICS[name]()
        near, far = (
            next(iter(measure.replicates(view(measure, rng, x, of)).values()))[0]
            for x in (good, good + 3)
        )
        assert near < far, name
    vendi = METRICS["vendi"]()
    same = torch.ones(NUM, DIM).double() + 0.01 * good
    various, alike = (vendi.replicates(view(vendi, rng, x, of)) for x in (good, same))
    assert alike["vendi_toy"][0] < 1.1 < various["vendi_toy"][0]
    near = METRICS["neighbours"]()
    found = near.replicates(view(near, rng, collapsed, of))
    assert found["precision_toy"][0] > 0.9 and found["recall_toy"][0] < 0.2
    copies = METRICS["copies"]()
    found = copies.replicates(view(copies, rng, of.points[:NUM].clone(), of))
    assert found["copy_ratio_toy"][0] == 0 == found["authenticity_toy"][0]


def test_a_cluster_without_samples_has_no_distance(rng):
    measure, seen = made("cluster_frechet", rng)
    starved = replace(seen, clusters=torch.zeros(NUM, dtype=torch.long))
    assert set(measure.replicates(starved)) == {"fd_toy_cluster_0"}
    whole = measure.replicates(seen)
    assert set(whole) == {f"fd_toy_cluster_{k}" for k in (0, 1, 2, "worst")}
    each = torch.stack([whole[f"fd_toy_cluster_{k}"] for k in range(3)])
    assert torch.equal(whole["fd_toy_cluster_worst"], each.max(0).values)


def test_an_arm_that_asks_for_nothing_has_no_agreement_and_no_clip_score(rng):
    for name, part in (("agreement", "asked"), ("clip_score", "texts")):
        measure, seen = made(name, rng)
        assert measure.replicates(replace(seen, **{part: None})) == {}
    measure, seen = made("lpips", rng)
    first = replace(seen, pairs=replace(seen.pairs, to_baseline=None))
    assert set(measure.replicates(first)) == {"lpips_alex_diversity"}


def test_samples_of_a_space_are_two_at_least():
    for kind in METRICS.values():
        if issubclass(kind, InSpace):
            with pytest.raises(ValueError, match="wanted num_samples >= 2 or null, got 1"):
                kind(num_samples=1)


def test_ranges_are_open_upward_where_nothing_bounds_them():
    assert METRICS["frechet"].kinds["frechet"].high == math.inf


@pytest.mark.parametrize("name", METRICS)
def test_both_at_once_are_the_two_by_themselves(name, rng):
    measure, seen = made(name, rng)
    counts = torch.from_numpy(np.random.default_rng(1).multinomial(NUM, np.full(NUM, 1 / NUM), 5))
    found, drawn = measure.measured(seen, counts.double())
    each = measure.replicates(seen), measure.bootstrap(seen, counts.double())
    for some, alone in zip((found, drawn), each, strict=True):
        assert some.keys() == alone.keys()
        for metric, values in some.items():
            torch.testing.assert_close(values, alone[metric], rtol=1e-9, atol=1e-9)
    assert measure.measured(seen, counts[:0].double())[1] == {}
