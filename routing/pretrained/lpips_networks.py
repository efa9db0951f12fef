"""The networks of LPIPS: phi of images in [-1, 1] (routing.metrics.formulas.lpips_distance says
what that is).

    alex, vgg    torchvision's trunk from a local file, up to its fifth tapped ReLU, and the heads
                 of version 0.1 that come inside the package lpips, by their sha256

Images enter at the size they have: LPIPS resizes nothing, and its value depends on the size. To
add a network, give it a row in NETS.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from routing.networks.lpips_embedding import Embedded, embedding
from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.network import Images, loaded
from routing.pretrained.weight_files import tensors
from routing.workflow import devices

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
ROUNDING = 1e-5  # of 2 i / 255 - 1 in float32


@dataclass(frozen=True)
class Net:
    """A trunk: its name in torchvision, its id in the manifest, the ReLUs whose output is read."""

    model: str
    weights: str
    taps: tuple[int, ...]
    least: int  # pixels of a side
    heads: str  # sha256 of the file in the package lpips


NETS = {
    "alex": Net(
        "alexnet",
        "lpips-alex",
        (1, 4, 7, 9, 11),
        31,
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "vgg": Net(
        "vgg16",
        "lpips-vgg16",
        (3, 8, 15, 22, 29),
        16,
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
}


class PerceptualNet:
    """phi, float32, in eval mode and on the GPU if there is one; `note` says which it is."""

    def __init__(self, name: str, trunk: nn.Module, heads: list[Tensor], sha256: str):
        """Move trunk and heads to their device; `load` makes them from files."""
        self.name, self.net, self.device = name, NETS[name], devices.best()
        self.trunk = trunk.eval().requires_grad_(False).to(self.device)
        self.heads = [w.to(self.device) for w in heads]
        shift, scale = (torch.tensor(v, device=self.device)[:, None, None] for v in (SHIFT, SCALE))
        self._shift, self._scale = shift, scale
        self.note = {"net": name, "sha256": sha256, "heads_sha256": self.net.heads}

    @classmethod
    def load(
        cls, net: str, weights_file: str | None = None, sha256: str | None = None
    ) -> "PerceptualNet":
        """The network from the file of its trunk: a path or an id (null: torchvision's own).

        Raises ValueError (one line) on an unknown net, and on files absent or wrong.
        """
        if net not in NETS:
            raise ValueError(f"lpips: wanted a net of {', '.join(NETS)}, got {net!r}; take one")
        row = NETS[net]
        path = weights.locate(weights_file or row.weights, sha256=sha256)
        heads = _heads(net, row)
        from torchvision import models

        with torch.device("meta"):
            trunk = getattr(models, row.model)().features[: row.taps[-1] + 1]
        names = trunk.state_dict().keys()
        found = {n.removeprefix("features."): t for n, t in tensors(path).items()}
        loaded(trunk, {n: t for n, t in found.items() if n in names}, f"lpips: {path}")
        return cls(net, trunk, heads, weights.sha256_of(path))

    def __call__(self, images: Images) -> Embedded:
        """phi, on the device of the network. Raises ValueError on what no image can be."""
        refuse_images(images, self.name)
        x = (images.float().to(self.device) - self._shift) / self._scale  # grey becomes three
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return embedding(self._activations(x), self.heads)

    def _activations(self, x: Float[Tensor, "images 3 height width"]) -> list[Tensor]:
        found = []
        for i, layer in enumerate(self.trunk):
            x = layer(x)
            if i in self.net.taps:
                found.append(x)  # what follows is no ReLU, which would write into it
        return found


def refuse_images(images: Images, name: str) -> None:
    """Raise ValueError (one line) unless these are images in [-1, 1] that the net can take."""
    _, channels, height, width = images.shape
    least = NETS[name].least
    if channels not in (1, 3) or min(height, width) < least:
        raise ValueError(
            f"lpips: {name} wants images of 1 or 3 channels and {least} pixels a side or more, "
            f"got {list(images.shape[1:])}; leave lpips out for such images"
        )
    bad = ~(images.abs() <= 1 + ROUNDING).flatten(1).all(1)  # a nan is not <=
    if bad.any():
        raise ValueError(
            f"lpips: wanted images in [-1, 1], got values outside or nan in {int(bad.sum())} of "
            f"{len(images)}; scale x in [0, 1] to 2 x - 1"
        )


def _heads(net: str, row: Net) -> list[Tensor]:
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise ValueError("lpips: wanted the package lpips for its heads, got none; install it")
    path = Path(package.origin).with_name("weights") / "v0.1" / f"{net}.pth"
    state = tensors(weights.locate(str(path), sha256=row.heads))
    heads = [state[f"lin{i}.model.1.weight"].float().flatten() for i in range(len(row.taps))]
    assert all((w >= 0).all() for w in heads), path  # else there were no square root
    return heads
