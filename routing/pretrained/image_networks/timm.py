"""Any network of timm, from a local file."""

import difflib
from dataclasses import dataclass, field

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.backbone import IMAGENET, Backbone, Colour, Precision
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow.choices import Sha256


@dataclass(frozen=True)
class Timm:
    """Any network of timm, named as there, from a local file; pooled features before the head.

    `options` go to `timm.create_model` and describe the network of the file, including its
    `num_classes`. The head is removed after the weights are loaded.
    """

    model: str
    weights: str
    sha256: Sha256 | None = None
    image_size: int = 224
    mean: Colour = IMAGENET[0]
    std: Colour = IMAGENET[1]
    precision: Precision = "bfloat16"
    options: dict[str, int | float | str | bool] = field(default_factory=dict)

    def load(self) -> Backbone:
        """Return the network with its weights."""
        import timm

        if not timm.is_model(self.model):  # nor is a name of a hub
            known = timm.list_models()
            close = difflib.get_close_matches(self.model, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"timm: unknown model {self.model!r}; {hint}{len(known)} are in timm.list_models()"
            )
        path = weights.locate(self.weights, sha256=self.sha256)
        try:
            net = timm.create_model(self.model, pretrained=False, **self.options)
        except (RuntimeError, TypeError, ValueError) as error:
            text = " ".join(str(error).split())
            given = f", {self.options}" if self.options else ""
            raise ValueError(f"timm: {self.model!r}{given}: {text}; correct it") from None
        load_weights(net, read_tensors(path), f"timm: {path}")
        net.reset_classifier(0)
        sha256 = weights.sha256_of(path)
        return Backbone(net, self.image_size, self.mean, self.std, sha256, self.precision)
