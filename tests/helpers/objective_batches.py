"""What the tests of objectives share: random batches and logits, losses by loop, a minimiser."""

import dataclasses
import itertools
import math

import torch

from routing.ensemble.gram_matrix import gram
from routing.ensemble.objectives import Batch

EXPERTS = 4


def make_batch(rng, num=12, experts=EXPERTS, dims=(1, 4, 4), directions=2, dtype=torch.float64):
    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=dtype)

    v, u = normal(experts, num, *dims), normal(num, directions, *dims)
    return Batch(
        x=normal(num, *dims),
        t=torch.rand(num, generator=rng, dtype=dtype),
        cluster=torch.randint(experts, (num,), generator=rng),
        distances=normal(num, experts).abs(),
        prior=torch.rand(experts, generator=rng, dtype=dtype).softmax(0),
        uniforms=torch.rand(num, generator=rng, dtype=dtype),
        gram=gram(v, normal(num, *dims)).to(dtype),
        directions=u,
        projections=torch.einsum("bj...,kb...->bjk", u, v),
    )


def make_net(rng, dims=(1, 4, 4), experts=EXPERTS, gain=1.0):
    """A smooth field of logits that depends on x and t."""
    size = math.prod(dims)
    a = gain * torch.randn(size, experts, generator=rng, dtype=torch.float64) / size**0.5
    b = torch.randn(experts, generator=rng, dtype=torch.float64)
    return lambda x, t: (x.flatten(1) + 0.3 * x.flatten(1) ** 2) @ a.to(x) + t[:, None] * b.to(x)


def rows(batch, index):
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return Batch(**{n: a if n == "prior" else a[index] for n, a in fields.items()})


def softmax(z):
    top = max(z)
    terms = [math.exp(a - top) for a in z]
    return [a / sum(terms) for a in terms]


def quadratic(w, G):
    n = range(len(w))
    return sum(w[i] * w[j] * G[i][j] for i in n for j in n)


def over_subsets(p, G, k):
    subsets = list(itertools.combinations(range(len(p)), k))
    chances = [math.prod(p[i] for i in s) for s in subsets]
    loss = 0.0
    for s, chance in zip(subsets, chances, strict=True):
        w = [p[i] / sum(p[j] for j in s) if i in s else 0.0 for i in range(len(p))]
        loss += chance / sum(chances) * quadratic(w, G)
    return loss


def minimised(loss, *free, steps=200):
    search = torch.optim.LBFGS(
        free,
        max_iter=steps,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(closure)
    return loss().item()
