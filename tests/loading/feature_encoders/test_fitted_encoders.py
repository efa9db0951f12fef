"""A fitted encoder requires the weights and the precision that it was fitted with."""

from pathlib import Path

import numpy as np
from encoder_fixtures import fitted
from stages import refused

from routing.loading.feature_encoders import fitted_encoders
from routing.workflow import artifacts

pytest_plugins = ["encoder_fixtures"]


def test_features_of_no_length_stay_where_they_are():
    features = np.array([[0.0, 0.0], [3.0, -4.0]], np.float32)
    found = fitted_encoders.NetworkEncoder(None, "l2", {})._fitted(features)
    np.testing.assert_allclose(found, [[0, 0], [0.6, -0.8]], rtol=1e-6)


def test_another_precision_is_another_network(few, resnet, tmp_path):
    path = fitted(tmp_path, resnet, **few)
    arrays, notes = artifacts.read_arrays(path), artifacts.read_provenance(path)
    notes["encoder"]["precision"] = "bfloat16"
    with refused("encoder: timm was fitted in bfloat16, runs in float32 here; fit and use it on"):
        fitted_encoders.load(arrays, notes)


def test_other_weights_are_refused(few, resnet, tmp_path):
    copy = tmp_path / "net.safetensors"
    copy.write_bytes(Path(resnet["weights"]).read_bytes())
    path = fitted(tmp_path, resnet | {"weights": str(copy)}, **few)
    arrays, notes = artifacts.read_arrays(path), artifacts.read_provenance(path)
    fitted_encoders.load(arrays, notes)
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with refused("encoder: timm was fitted with weights of sha256 .* put the old file back"):
        fitted_encoders.load(arrays, notes)
    copy.unlink()
    with refused("weights: wanted a path or one of .*net.safetensors.* which is neither"):
        fitted_encoders.load(arrays, notes)
