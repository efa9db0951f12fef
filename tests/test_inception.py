"""Inception-v3 against torch-fidelity's own extractor, with random weights in its layout."""

import pytest
import torch

from routing.backbones import Inception
from routing.backbones.inception import InceptionV3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    net = InceptionV3()
    for part in net.modules():  # far from their starts, so that a lost buffer shows
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 2)
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
    with torch.no_grad():
        features, logits = theirs(images)
    ours = Inception(weights=str(weights)).load()
    found = ours(images.float() / 127.5 - 1)
    torch.testing.assert_close(found, features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.logits(found), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [1.01, -1.2, 0.001])
def test_images_that_are_no_bytes_are_refused(weights, value):
    with pytest.raises(ValueError, match="inception") as error:
        Inception(weights=str(weights)).load()(torch.full((1, 3, 8, 8), value))
    assert "\n" not in str(error.value)
