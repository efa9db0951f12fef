"""Checks of the source of the images: the image rule and the autoencoder must suit it."""

from routing.data.sources import SOURCES, MixtureSource
from routing.workflow import choices


def check(spec: dict) -> None:
    """Encoded images need an image rule; latents need an autoencoder, which needs images."""
    source, image = spec["data"]["source"]["name"], spec["data"]["image"]
    kind = choices.with_plugins("sources", SOURCES)[source]
    is_encoded = hasattr(kind, "items")  # else its samples have one size and are stored unchanged
    if is_encoded and image is None:
        raise ValueError(
            f"data.image: wanted a size for the encoded images of source {source!r}, got none; "
            f"add {{size: ...}}"
        )
    if not is_encoded and image is not None:
        raise ValueError(
            f"data.image: wanted none, because the samples of source {source!r} are stored "
            f"unchanged, got size {image['size']}; remove it"
        )
    if spec["autoencoder"] and kind is MixtureSource:
        raise ValueError(
            f"autoencoder: wanted images, got points (data.source {source!r}); remove it"
        )
    for name, encoder in spec["encoders"].items():
        if encoder.get("reads") == "latents" and spec["autoencoder"] is None:
            raise ValueError(
                f"encoders.{name}.reads: wanted 'images', because the config has no autoencoder, "
                f"got 'latents'; change it or add an autoencoder"
            )
