"""Reports: every number of the tables, by hand or by loop."""

import itertools

import numpy as np
import pytest
import torch

from routing.ensemble.gram_matrix import best_weights, gram
from routing.loading.router_evaluation import (
    RouterOutputs,
    ensemble_errors,
    mean_by_bin,
    reliability_table,
    report_table,
)

SCORES = ["accuracy", "nll", "ece", "brier", "entropy", "ece_floor", "confidence"]
ERRORS = ["error_full", "error_top1", "error_top2", "error_sample"]
FLOORS = ["error_prior", "error_best", "error_best2", "error_simplex"]
PRIOR = torch.tensor([0.5, 0.3, 0.2])


def made(num=200, experts=3, seed=0, dim=5):
    g = torch.Generator().manual_seed(seed)
    v = torch.randn(experts, num, dim, generator=g)
    return RouterOutputs(
        3 * torch.randn(num, experts, generator=g, dtype=torch.float64),
        0.6 * torch.rand(num, generator=g),
        torch.randint(experts, (num,), generator=g),
        gram(v, torch.randn(num, dim, generator=g)),
    )


# Errors of two experts on two states: apart and alike; p = (0.75, 0.25) and (0.2, 0.8).
GRAM = torch.tensor([[[1.0, -0.5], [-0.5, 2.0]], [[3.0, 1.0], [1.0, 1.0]]]).double()
P = torch.tensor([[0.75, 0.25], [0.2, 0.8]], dtype=torch.float64)


def test_errors_by_hand():
    found = ensemble_errors(P, GRAM)
    assert list(found) == ["full", "top1", "top2", "sample"]
    # 0.75^2 - 2 * 0.75 * 0.25 * 0.5 + 2 * 0.25^2 ;  3 * 0.2^2 + 2 * 0.2 * 0.8 + 0.8^2
    torch.testing.assert_close(found["full"], torch.tensor([0.5, 1.08]).double())
    torch.testing.assert_close(found["top1"], torch.tensor([1.0, 1.0]).double())
    torch.testing.assert_close(found["top2"], found["full"])
    torch.testing.assert_close(found["sample"], torch.tensor([1.25, 1.4]).double())
    lone = ensemble_errors(torch.ones(2, 1).double(), GRAM[:, :1, :1])
    assert list(lone) == ["full", "top1", "sample"]
    assert all(value.tolist() == [1.0, 3.0] for value in lone.values())


def test_the_two_most_probable_of_three(rng):
    outputs = made(40)
    p, G = outputs.logits.softmax(1), outputs.gram.double()
    found = ensemble_errors(p, G)
    for i in range(40):
        two = p[i].argsort(descending=True)[:2]
        w = torch.zeros(3).double()
        w[two] = p[i, two] / p[i, two].sum()
        assert found["top2"][i].item() == pytest.approx((w @ G[i] @ w).item())
        assert found["top1"][i] == G[i, p[i].argmax(), p[i].argmax()]


def test_the_table_by_hand():
    outputs = RouterOutputs(
        P.log(), torch.tensor([0.15, 0.35]), torch.tensor([1, 1]), GRAM.float()
    )
    versions = {"raw": None, "nll": torch.tensor([2.0, 1.0]).double()}
    table = report_table(outputs, versions, torch.tensor([0.25, 0.75]), 2)
    assert list(table) == ["version", "t_low", "t_high", "num_states", "quantity", "value"]
    assert (table["t_low"] == 0).all() and (table["t_high"] == 0.5).all()
    assert (table["num_states"] == 2).all()
    value = table.set_index(["version", "quantity"])["value"]
    entropy = -(P * P.log()).sum(1).mean()
    nll = -(np.log(0.25) + np.log(0.8)) / 2
    warm = P.sqrt()[:, 1] / P.sqrt().sum(1)  # at temperature 2
    expected = {
        ("raw", "accuracy"): 0.5,
        ("raw", "nll"): nll,
        ("raw", "ece"): (0.75 + 0.2) / 2,
        ("raw", "brier"): (2 * 0.75**2 + 2 * 0.2**2) / 2,
        ("raw", "entropy"): entropy.item(),
        ("raw", "confidence"): (0.75 + 0.8) / 2,
        ("raw", "error_full"): (0.5 + 1.08) / 2,
        ("raw", "error_top1"): 1.0,
        ("raw", "error_top2"): (0.5 + 1.08) / 2,
        ("raw", "error_sample"): (1.25 + 1.4) / 2,
        ("nll", "nll"): -warm.log().mean().item(),
        # prior (1/4, 3/4): 1/16 - 3/16 + 18/16 and 3/16 + 6/16 + 9/16
        ("none", "error_prior"): (1.0 + 1.125) / 2,
        ("none", "error_best"): 1.0,
        ("none", "error_best2"): (28 / 64 + 1.0) / 2,  # of two experts these are all
        # w = (5/8, 3/8): 25/64 - 15/64 + 18/64 ; on the second state expert 1 alone
        ("none", "error_simplex"): (28 / 64 + 1.0) / 2,
    }
    for key, number in expected.items():
        assert value[key] == pytest.approx(number, abs=1e-6), key


def test_long_format_holds_every_cell_once_and_empty_bins_not_at_all():
    outputs = made()  # times below 0.6
    ones = torch.ones(10).double()
    versions = {"raw": None, "nll": 2 * ones, "error": 0.5 * ones}
    table = report_table(outputs, versions, PRIOR, 10)
    cells = table.set_index(["version", "t_low", "quantity"])
    assert cells.index.is_unique and not table.isna().any().any()
    quantities = table.groupby("version")["quantity"].unique()
    assert all([*quantities[name]] == SCORES + ERRORS for name in versions)
    assert [*quantities["none"]] == FLOORS and len(quantities) == 4
    np.testing.assert_allclose(table["t_low"].unique(), np.arange(6) / 10)
    np.testing.assert_allclose(table["t_high"].unique(), np.arange(1, 7) / 10)
    counts = table.groupby("t_low")["num_states"].unique()
    assert all(len(count) == 1 for count in counts)
    assert counts.map(sum).sum() == 200
    assert len(table) == 6 * (3 * 11 + 4)


def test_a_bin_is_the_mean_over_its_states():
    outputs = made()
    table = report_table(outputs, {"raw": None}, PRIOR, 10)
    value = table.set_index(["t_low", "quantity"])["value"]
    of = ensemble_errors(outputs.logits.softmax(1), outputs.gram.double())
    G = outputs.gram.double()
    floor = {
        "error_best": [min(g[k, k] for k in range(3)).item() for g in G],
        "error_prior": [(PRIOR.double() @ g @ PRIOR.double()).item() for g in G],
        "error_full": of["full"].tolist(),
        "error_sample": of["sample"].tolist(),
        "confidence": outputs.logits.softmax(1).amax(1).tolist(),
    }
    for b, (name, per_state) in itertools.product(range(6), floor.items()):
        mine = [v for v, t in zip(per_state, outputs.t, strict=True) if b == int(10 * t)]
        assert value[b / 10, name] == pytest.approx(np.mean(mine), rel=1e-9), (b, name)


def test_floors_are_below_all_that_knows_less():
    table = report_table(made(), {"raw": None}, PRIOR, 10)
    value = table.pivot(index="t_low", columns="quantity", values="value")
    rest = value[[*ERRORS, "error_prior", "error_best"]]
    assert (value["error_simplex"] <= rest.min(axis=1) + 1e-6).all()
    assert (value["error_best"] <= value[["error_top1", "error_sample"]].min(axis=1)).all()


def test_best_weights_know_how_the_gram_is_rounded():
    # Eight experts in two dimensions agree to 1e-3. Taken for float64, their Grams would be
    # indefinite by the rounding of float32, and the weights found would be none of the best.
    g = torch.Generator().manual_seed(0)
    v = torch.randn(1, 4000, 2, generator=g) + 1e-3 * torch.randn(8, 4000, 2, generator=g)
    G = gram(v, torch.zeros(4000, 2))
    outputs = RouterOutputs(
        torch.zeros(4000, 8).double(), torch.zeros(4000), torch.zeros(4000).long(), G
    )
    table = report_table(outputs, {}, torch.full((8,), 1 / 8), 1)
    value = table.set_index("quantity")["value"]
    w = best_weights(G).double()
    direct = torch.einsum("bk,kbd->bd", w, v.double()).square().mean()
    assert value["error_simplex"] == pytest.approx(direct.item(), rel=1e-6)


def test_a_version_is_tempered_by_its_bin():
    outputs = made()
    hot = torch.tensor([1.0, 1, 1, 20, 1, 1, 1, 1, 1, 1]).double()
    table = report_table(outputs, {"raw": None, "hot": hot}, PRIOR, 10)
    value = table.pivot(index=["t_low", "quantity"], columns="version", values="value")
    drop = (value["raw"] - value["hot"]).unstack()
    assert (drop["confidence"] > 0.1).tolist() == [False, False, False, True, False, False]
    assert (drop["accuracy"] == 0).all() and (drop["error_top1"] == 0).all()
    assert (drop.drop(0.3) == 0)[["nll", "error_full", "brier"]].all().all()


def test_the_reliability_diagram_is_of_all_times():
    outputs = RouterOutputs(P.log(), torch.tensor([0.15, 0.95]), torch.tensor([1, 1]), GRAM)
    hot = torch.tensor([1.0, 20.0]).double()
    table = reliability_table(outputs, {"raw": None, "hot": hot})
    assert list(table) == ["version", "bin", "num_states", "confidence", "accuracy"]
    assert table["version"].tolist() == ["raw"] * 10 + ["hot"] * 10
    assert table["bin"].tolist() == [*range(10)] * 2
    raw, hot = table.iloc[:10], table.iloc[10:].reset_index()
    assert raw["num_states"].tolist() == [0] * 7 + [1, 1, 0]  # 0.75 and 0.8
    np.testing.assert_allclose(raw["confidence"][[7, 8]], [0.75, 0.8])
    np.testing.assert_allclose(raw["accuracy"], [np.nan] * 7 + [0, 1, np.nan])
    assert hot["num_states"].tolist() == [0] * 5 + [1, 0, 1, 0, 0]  # the later state is cooler


def test_means_of_empty_bins_are_nan():
    found = mean_by_bin(torch.tensor([1.0, 3.0, 7.0]), torch.tensor([2, 2, 0]), 4)
    np.testing.assert_allclose(found, [7.0, np.nan, 2.0, np.nan])
