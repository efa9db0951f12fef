"""The networks of LPIPS: phi of images in [-1, 1] (`routing.metrics.formulas.lpips_distance`).

    alex, vgg    torchvision's trunk from a local file, up to the fifth ReLU that is read, and the
                 heads of version 0.1 from the package lpips, with a checked sha256

Images are not resized, and LPIPS depends on their size. To add a network, give it a row in NETS.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from routing.networks.lpips_embedding import Embedded, embedding
from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.backbone import Images
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow import devices

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
ROUNDING = 1e-5  # tolerance of 2 i / 255 - 1 in float32


@dataclass(frozen=True)
class Trunk:
    """A trunk: name in torchvision, id in the manifest, and the positions of the ReLUs read."""

    model: str
    weights: str
    taps: tuple[int, ...]
    min_side: int  # pixels
    heads: str  # sha256 of the file in the package lpips


NETS = {
    "alex": Trunk(
        "alexnet",
        "lpips-alex",
        (1, 4, 7, 9, 11),
        31,
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "vgg": Trunk(
        "vgg16",
        "lpips-vgg16",
        (3, 8, 15, 22, 29),
        16,
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
}


class LPIPSNetwork:
    """The map phi, in float32, on the GPU if there is one; `note` identifies the weights."""

    def __init__(self, name: str, trunk: nn.Module, heads: list[Tensor], sha256: str):
        self.name, self.net, self.device = name, NETS[name], devices.best_device()
        self.trunk = trunk.eval().requires_grad_(False).to(self.device)
        self.heads = [w.to(self.device) for w in heads]
        shift, scale = (torch.tensor(v, device=self.device)[:, None, None] for v in (SHIFT, SCALE))
        self._shift, self._scale = shift, scale
        self.note = {"net": name, "sha256": sha256, "heads_sha256": self.net.heads}

    @classmethod
    def load(
        cls, net: str, weights_file: str | None = None, sha256: str | None = None
    ) -> "LPIPSNetwork":
        """Return the network with the trunk in `weights_file`, a path or an id of the manifest.

        None: torchvision's trunk. Raises ValueError on an unknown net and on wrong files.
        """
        if net not in NETS:
            raise ValueError(f"lpips: wanted a net of {', '.join(NETS)}, got {net!r}; use one")
        row = NETS[net]
        path = weights.locate(weights_file or row.weights, sha256=sha256)
        heads = _heads(net, row)
        from torchvision import models

        with torch.device("meta"):
            trunk = getattr(models, row.model)().features[: row.taps[-1] + 1]
        names = trunk.state_dict().keys()
        found = {n.removeprefix("features."): t for n, t in read_tensors(path).items()}
        load_weights(trunk, {n: t for n, t in found.items() if n in names}, f"lpips: {path}")
        return cls(net, trunk, heads, weights.sha256_of(path))

    def __call__(self, images: Images) -> Embedded:
        """Return phi on the device of the network. Raises ValueError on invalid images."""
        check_images(images, self.name)
        x = (
            images.float().to(self.device) - self._shift
        ) / self._scale  # a grey channel is broadcast to three
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return embedding(self._activations(x), self.heads)

    def _activations(self, x: Float[Tensor, "images 3 height width"]) -> list[Tensor]:
        found = []
        for i, layer in enumerate(self.trunk):
            x = layer(x)
            if i in self.net.taps:
                found.append(x)  # the next layer is not an in-place ReLU
        return found


def check_images(images: Images, name: str) -> None:
    """Raise ValueError unless these are images in [-1, 1] that are large enough for the net."""
    _, channels, height, width = images.shape
    min_side = NETS[name].min_side
    if channels not in (1, 3) or min(height, width) < min_side:
        raise ValueError(
            f"lpips: {name} needs images of 1 or 3 channels and sides of at least {min_side} "
            f"pixels, got {list(images.shape[1:])}; remove lpips for such images"
        )
    bad = ~(images.abs() <= 1 + ROUNDING).flatten(1).all(1)  # also true for nan, which is not <=
    if bad.any():
        raise ValueError(
            f"lpips: wanted images in [-1, 1], got values outside or nan in {int(bad.sum())} of "
            f"{len(images)}; scale x in [0, 1] to 2 x - 1"
        )


def _heads(net: str, row: Trunk) -> list[Tensor]:
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise ValueError("lpips: wanted the package lpips for its heads, got none; install it")
    path = Path(package.origin).with_name("weights") / "v0.1" / f"{net}.pth"
    state = read_tensors(weights.locate(str(path), sha256=row.heads))
    heads = [state[f"lin{i}.model.1.weight"].float().flatten() for i in range(len(row.taps))]
    assert all((w >= 0).all() for w in heads), path  # phi has their square root
    return heads
