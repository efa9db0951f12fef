"""Any network of timm with a local file."""

import difflib
from dataclasses import dataclass, field

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.network import IMAGENET, Backbone, Colour, Precision, loaded
from routing.pretrained.weight_files import tensors
from routing.workflow.choices import Sha256


@dataclass(frozen=True)
class Timm:
    """Any network of timm by its name there, with a local file; pooled features before the head.

    `options` go to `timm.create_model` and describe the network of the file, its `num_classes`
    too (the head is taken off after all weights have found their place).
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
        """The network with its weights."""
        import timm

        if not timm.is_model(self.model):  # nor is one of a hub, which would be fetched
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
        loaded(net, tensors(path), f"timm: {path}")
        net.reset_classifier(0)
        sha256 = weights.sha256_of(path)
        return Backbone(net, self.image_size, self.mean, self.std, sha256, self.precision)
