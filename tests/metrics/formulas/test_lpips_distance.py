"""LPIPS as a distance of vectors: equal to the package, and sums over pairs equal to the loops."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from stages import refused

from routing.metrics.formulas.lpips_distance import (
    BlockSums,
    diversity,
    mean_distance,
    paired_distances,
    pairwise_distances,
)
from routing.networks.lpips_embedding import embedding
from routing.pretrained import manifest
from routing.pretrained.lpips_networks import NETS, LPIPSNetwork
from routing.statistics.jackknife import jackknife_weights

MODELS = {"alex": "alexnet", "vgg": "vgg16"}


@pytest.fixture(scope="module", params=list(MODELS))
def drawn(request, tmp_path_factory):
    """A trunk with random weights in torchvision's layout: name, file, the package's network."""
    import lpips

    name = request.param
    torch.manual_seed(0)
    theirs = lpips.LPIPS(net=name, pnet_rand=True, verbose=False)
    for p in theirs.net.parameters():  # He: activations of about one size in every layer
        torch.nn.init.normal_(p, std=(2 / p[0].numel()) ** 0.5 if p.dim() > 1 else 0.1)
    state = {f"features.{n.split('.', 1)[1]}": p for n, p in theirs.net.state_dict().items()}
    path = tmp_path_factory.mktemp("trunk") / f"{name}.pth"
    torch.save(state | {"classifier.1.weight": torch.zeros(2, 2)}, path)
    return name, path, theirs


@pytest.fixture
def images(rng):
    return 2 * torch.rand(6, 3, 40, 36, generator=rng) - 1


def test_every_network_is_asked():
    assert NETS.keys() == MODELS.keys()


def test_it_is_the_distance_of_the_package(drawn, images):
    name, path, theirs = drawn
    phi = LPIPSNetwork.load(name, str(path))(images)
    found, truth = pairwise_distances(phi), torch.zeros(6, 6, dtype=torch.float64)
    for i, j in combinations(range(6), 2):
        with torch.no_grad():
            truth[i, j] = truth[j, i] = theirs(images[i : i + 1], images[j : j + 1]).double()
    assert truth.max() > 0.02 and (found - truth).abs().max() < 1e-6
    assert (paired_distances(phi[:3], phi[3:]) - truth[range(3), range(3, 6)]).abs().max() < 1e-6
    assert (found.diagonal() == 0).all() and (paired_distances(phi, phi) == 0).all()


def test_an_image_has_one_embedding_in_any_batch(drawn, images):
    net = LPIPSNetwork.load(drawn[0], str(drawn[1]))
    alone = torch.cat([net(images[i : i + 1]) for i in range(6)])
    assert (net(images) - alone).abs().max() < 1e-5 * alone.abs().max()
    assert torch.equal(net(images), net(images)) and alone.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):  # whatever holds outside
        assert torch.equal(net(images), net(images.double()))
    assert not net.trunk.training and not alone.requires_grad
    assert not any(p.requires_grad for p in net.trunk.parameters())


def test_grey_is_three_equal_channels(drawn, images):
    net = LPIPSNetwork.load(drawn[0], str(drawn[1]))
    grey = images[:2, :1]
    assert torch.equal(net(grey), net(grey.expand(-1, 3, -1, -1)))


def test_the_smallest_images_that_there_are(drawn):
    net = LPIPSNetwork.load(drawn[0], str(drawn[1]))
    least = NETS[drawn[0]].min_side
    assert net(torch.zeros(1, 3, least, least)).shape[0] == 1
    with pytest.raises(RuntimeError):  # of torch, from a layer that nothing reaches
        net._activations(torch.zeros(1, 3, least - 1, least))


def test_what_is_no_image_is_refused(drawn, images):
    net = LPIPSNetwork.load(drawn[0], str(drawn[1]))
    edge = images.clone()
    edge[0, 0, 0, 0], edge[1, 2, 3, 3] = 1 + 5e-7, -1 - 5e-7  # 2 i / 255 - 1 in float32
    net(edge)
    for bad in (255.0, -1.1, float("nan"), float("inf"), float("-inf")):
        broken = images.clone()
        broken[1, 2, 3, 4] = broken[4, 0, 0, 0] = bad
        with refused(r"lpips: wanted images in \[-1, 1\], .* in 2 of 6; scale"):
            net(broken)
    with refused("needs images of 1 or 3 channels and sides of at least .* pixels"):
        net(images[:, :2])
    with refused(f"at least {net.net.min_side} pixels, got \\[3, 40, 8\\]; remove"):
        net(images[..., :8])


def test_files_must_be_what_they_are_called(drawn, tmp_path, monkeypatch):
    name, path, _ = drawn
    with refused(f"wanted sha256 {'0' * 64}, got .*; use"):
        LPIPSNetwork.load(name, str(path), "0" * 64)
    assert LPIPSNetwork.load(name, str(path), manifest.sha256_of(path)).note == {
        "net": name,
        "sha256": manifest.sha256_of(path),
        "heads_sha256": NETS[name].heads,
    }
    with refused("lpips: wanted a net of alex, vgg, got 'squeeze'; use one"):
        LPIPSNetwork.load("squeeze", str(path))
    with monkeypatch.context() as other:
        other.setitem(NETS, name, replace(NETS[name], heads="0" * 64))
        with refused(f"{name}.pth: wanted sha256 {'0' * 64}, got .*; use"):
            LPIPSNetwork.load(name, str(path))
    monkeypatch.setenv("ROUTING_WEIGHTS", str(tmp_path))
    with refused(f"weights '{NETS[name].weights}': absent; file "):
        LPIPSNetwork.load(name)
    other = {"features.0.weight": torch.zeros(1)}
    torch.save(other, tmp_path / "other.pth")
    with refused("lpips: .*other.pth: the weights do not fit the network"):
        LPIPSNetwork.load(name, str(tmp_path / "other.pth"))


# The published file, where it is present.


def test_published_weights_are_the_published_distance(rng):
    import lpips

    try:
        net = LPIPSNetwork.load("alex")
    except ValueError as error:
        pytest.skip(f"lpips-alex: {str(error)[:60]}")
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    theirs.net.load_state_dict(
        {n: net.trunk.state_dict()[n.split(".", 1)[1]].cpu() for n in theirs.net.state_dict()}
    )
    x = 2 * torch.rand(4, 3, 64, 64, generator=rng) - 1
    with torch.no_grad():
        truth = theirs(x[:2], x[2:]).flatten().double()
    phi = net(x).cpu()
    assert phi.shape[1] == 31_872
    assert (paired_distances(phi[:2], phi[2:]) - truth).abs().max() < 1e-6


# Mathematics, on vectors.


def test_embedding_is_its_formula(rng):
    layers = [torch.rand(2, c, h, w, generator=rng) for c, h, w in ((3, 2, 5), (4, 1, 1))]
    heads = [torch.rand(c, generator=rng) for c in (3, 4)]
    truth = 0.0
    for f, w in zip(layers, heads, strict=True):
        f_hat = f / f.norm(dim=1, keepdim=True)
        truth += (w[:, None, None] * (f_hat[0] - f_hat[1]) ** 2).sum(0).mean().double()
    phi = embedding(layers, heads)
    torch.testing.assert_close(paired_distances(phi[:1], phi[1:])[0], truth, rtol=1e-5, atol=0)
    dark = embedding([torch.zeros(1, 3, 2, 2)], heads[:1])
    assert (dark == 0).all()  # an image that no channel sees has an embedding too
    faint = embedding([torch.full((1, 1, 1, 1), 1e-10)], [torch.ones(1)])
    assert faint.item() == pytest.approx(0.5, rel=1e-5)  # half of its length is the 1e-10


def loop(phi, blocks, num_blocks):
    """Sums of distances over pairs and their numbers, one pair after the other."""
    total, num = torch.zeros(2, num_blocks, num_blocks, dtype=torch.float64)
    for i, j in combinations(range(len(phi)), 2):
        d = (phi[i].double() - phi[j].double()).square().sum()
        b, c = sorted((int(blocks[i]), int(blocks[j])))
        total[b, c] += d
        num[b, c] += 1
    return total, num


BLOCKS = torch.tensor([0, 0, 0, 2, 2, 3, 3, 3, 3, 4])  # none in block 1, one in block 4


def test_block_sums_are_those_of_the_loop(rng):
    phi = torch.rand(10, 7, generator=rng)
    total, num = loop(phi, BLOCKS, 5)
    found, found_num = BlockSums.zeros(5, 7).add(phi, BLOCKS).pair_sums()
    torch.testing.assert_close(found.triu(), total, rtol=1e-12, atol=1e-12)
    assert torch.equal(found_num.triu(), num) and num.sum() == 45
    assert torch.equal(found, found.T) and torch.equal(found_num, found_num.T)


def test_block_sums_do_not_see_batches(rng):
    phi = torch.rand(10, 7, generator=rng)
    whole = BlockSums.zeros(5, 7).add(phi, BLOCKS)
    parts = BlockSums.zeros(5, 7)
    for rows in torch.arange(10).split(3):
        parts.add(phi[rows], BLOCKS[rows])
    assert all(
        torch.equal(a, b) for a, b in zip(whole.pair_sums(), parts.pair_sums(), strict=True)
    )
    assert whole.total.dtype == torch.float64


def test_diversity_leaves_blocks_out_as_the_loop_does(rng):
    phi, blocks = torch.rand(12, 5, generator=rng), torch.arange(12) // 3
    weights_ = jackknife_weights(torch.arange(4))
    found = diversity(*BlockSums.zeros(4, 5).add(phi, blocks).pair_sums(), weights_)
    for replicate, value in zip(weights_, found, strict=True):
        kept = phi[replicate[blocks] == 1]
        truth = torch.stack(
            [(a.double() - b.double()).square().sum() for a, b in combinations(kept, 2)]
        ).mean()
        assert value.item() == pytest.approx(truth.item(), rel=1e-12)
        assert value.item() == pytest.approx(mean_distance(kept).item(), rel=1e-12)
    assert found.dtype == torch.float64


def test_diversity_reads_half_a_table(rng):
    total, num = torch.rand(2, 3, 3, generator=rng)
    kept = torch.tensor([[1.0, 1, 1], [1, 0, 1]])
    truth = [total.triu().sum() / num.triu().sum()]
    truth.append((total[0, 0] + total[0, 2] + total[2, 2]) / (num[0, 0] + num[0, 2] + num[2, 2]))
    torch.testing.assert_close(diversity(total, num, kept), torch.stack(truth).double())


def test_mean_distance_is_the_closed_form(rng):
    phi = torch.rand(9, 4, generator=rng, dtype=torch.float64)
    n = len(phi)
    mean = phi.square().sum(1).mean() - phi.mean(0).square().sum()
    assert mean_distance(phi).item() == pytest.approx((2 * n / (n - 1) * mean).item(), rel=1e-12)
    assert mean_distance(phi).item() == pytest.approx(
        (pairwise_distances(phi).sum() / (n * (n - 1))).item(), rel=1e-12
    )


def test_pairs_in_single_precision_are_counted_in_double(rng):
    phi = torch.rand(9, 40, generator=rng) + 10
    assert torch.equal(pairwise_distances(phi), pairwise_distances(phi.double()))
    each = [paired_distances(phi, phi.roll(k, 0)) for k in range(9)]
    table = pairwise_distances(phi)
    for k, row in enumerate(each):
        i = torch.arange(9)
        torch.testing.assert_close(table[i, (i - k) % 9], row, rtol=1e-9, atol=1e-9)


def test_the_right_way_round(rng):
    """Equal images have no diversity; two opinions have less than many."""
    one = torch.rand(1, 50, generator=rng)
    rounding = 1e-12  # of sums of 400 squares, in the order of some matrix product
    assert 0 <= mean_distance(one.expand(20, 50)) < rounding
    assert 0 <= pairwise_distances(one.expand(20, 50)).max() < rounding
    many = torch.rand(20, 50, generator=rng)
    twins = torch.cat([many, many.double() * (1 + 1e-9)])  # nearer than rounding can tell
    near = pairwise_distances(twins).diagonal(20)
    assert 0 <= near.min() <= near.max() < rounding
    for row in many.double() * (1 + 1e-9):  # whichever way the sums are rounded
        assert 0 <= mean_distance(row.expand(7, 50)) < rounding
    assert mean_distance(many[torch.arange(20) % 2]) < 0.7 * mean_distance(many)


def test_bad_input_of_the_mathematics(rng):
    phi = torch.rand(4, 5, generator=rng)
    with refused(r"wanted two sets of one size, got \[4, 5\] and \[3, 5\]; pair"):
        paired_distances(phi, phi[:3])
    with refused("wanted at least one pair of images in every replicate, got none; draw"):
        mean_distance(phi[:1])
    table = torch.ones(2, 2)
    for bad in (2.0, -1.0, 0.5):
        with refused("kept .1. or left out .0., got other weights; a block"):
            diversity(table, table, torch.tensor([[1.0, bad]]))
    with refused("at least one pair of images in every replicate"):
        diversity(torch.eye(2), torch.eye(2), torch.tensor([[1.0, 1], [0, 0]]))
    assert paired_distances(phi[:0], phi[:0]).shape == (0,)
