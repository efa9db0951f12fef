"""Inception-v3 against torch-fidelity's own extractor, with random weights in its layout."""

import pytest
import torch
from stages import refused

from routing.pretrained.image_networks import Inception
from routing.pretrained.image_networks.inception import InceptionV3
from routing.pretrained.manifest import sha256_of


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    net = InceptionV3()
    for part in net.modules():  # far from their starts, so that a lost buffer shows
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, torch.nn.Conv2d):  # else two images have all but the same features
            torch.nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(net.state_dict(), path)
    return path


def test_features_and_logits_are_those_of_torch_fidelity(weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        feature_extractor_weights_path=str(weights),
    )
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, 3, 32, 32), generator=rng, dtype=torch.uint8)
    images[1] = images[1, :, :1] // 4  # dark stripes
    with torch.no_grad():
        features, logits = theirs(images)
    ours = Inception(weights=str(weights)).load()
    found = ours(images.float() / 127.5 - 1)
    apart = (features[0] - features[1]).norm()
    assert apart > 0.05 * features.norm() and (found - features).norm() < 1e-4 * apart
    apart = (logits[0] - logits[1]).norm()
    assert apart > 0.05 * logits.norm() and (ours.logits(found) - logits).norm() < 1e-4 * apart


def test_bytes_are_read_as_tensorflow_did(ours):
    """(i - 128) / 128, from -1 to 127/128, and between two pixels of four without half a pixel."""
    black_to_white = torch.tensor([0.0, 85, 170, 255]) * 2 / 255 - 1
    row = ours.prepared(black_to_white.expand(1, 3, 4, 4))[0, 0, 7]
    at = torch.arange(299) * 4 / 299
    expected = ((85 * at).clamp_max(255) - 128) / 128
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)
    assert row[0] == -1 and row[-1] == 127 / 128


@pytest.fixture(scope="module")
def ours(weights):
    return Inception(weights=str(weights)).load()


@pytest.fixture
def images(rng):
    stored = torch.randint(256, (3, 3, 20, 20), generator=rng, dtype=torch.uint8)
    return stored.float() / 127.5 - 1


def test_an_image_has_one_embedding_in_any_batch_and_twice_the_same(ours, images):
    whole = ours(images)
    assert torch.equal(whole, ours(images)) and whole.shape == (3, 2048)
    alone = torch.cat([ours(image[None]) for image in images])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    assert (whole[0] - whole[1]).norm() > 10 * (whole - alone).norm()


def test_grey_is_three_equal_channels(ours, images):
    grey = images[:1, :1]
    assert torch.equal(ours(grey), ours(grey.expand(-1, 3, -1, -1)))
    with refused("wanted images of 1 or 3 channels, got 4"):
        ours(torch.ones(1, 4, 8, 8))


def test_it_says_what_it_is(ours, weights):
    assert (ours.resize, ours.precision, ours.size) == ("tf1_bilinear", "float32", 299)
    assert ours.sha256 == sha256_of(weights) and ours.dim == 2048
    assert not ours.net.training and not any(p.requires_grad for p in ours.net.parameters())


def test_files_must_be_what_they_are_called(weights, tmp_path, monkeypatch):
    state = torch.load(weights, weights_only=True)
    with refused(f"wanted sha256 {'0' * 64}, got "):
        Inception(str(weights), "0" * 64).load()
    torch.save({n: t for n, t in state.items() if n != "fc.weight"}, tmp_path / "a.pth")
    with refused("inception: .*a.pth: the weights do not fit the network: .*fc.weight is missing"):
        Inception(str(tmp_path / "a.pth")).load()
    torch.save(state | {"AuxLogits.fc.bias": torch.zeros(9)}, tmp_path / "b.pth")
    with refused("AuxLogits.fc.bias is unknown"):
        Inception(str(tmp_path / "b.pth")).load()
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "c.pth")  # torchvision's
    with refused("fc.weight has shape .1000, 2048. for .1008, 2048."):
        Inception(str(tmp_path / "c.pth")).load()
    torch.save(InceptionV3, tmp_path / "d.pth")  # a pickle that would run something
    with refused("d.pth cannot be read"):
        Inception(str(tmp_path / "d.pth")).load()
    monkeypatch.setenv("ROUTING_WEIGHTS", str(tmp_path))
    with refused("weights 'inception-v3': absent; file "):
        Inception().load()


@pytest.mark.parametrize("value", [1.01, -1.2, 0.001, torch.nan, 255.0])
def test_images_that_are_no_bytes_are_refused(ours, images, value):
    images[1, 2, 3, 4] = value
    with refused("^inception: images outside uint8: wanted .* and 0 more; store the images"):
        ours(images)


# The published file, where it is present.


def test_the_published_file_has_the_published_names():
    try:
        net = Inception().load()
    except ValueError as error:
        pytest.skip(f"inception-v3: {str(error)[:60]}")
    x = torch.zeros(1, 3, 32, 32) + 1 / 255
    assert net(x).shape == (1, 2048) and (net(x) >= 0).all()
    assert net.logits(net(x)).softmax(1).max() < 1
