"""Decode encoded images to squares of one size: `decode(data, rule)` is uint8 [3, size, size].

The steps, in this order:

    decode    the whole image at full size (no draft mode, no reducing gap: both change pixels)
    turn      by the EXIF or XMP orientation; an unreadable block is ignored
    crop      the largest central square; if the margin is odd, the left and upper half is smaller
    colour    to RGB of 8 bits. Alpha, also of palettes and key colours, over white; 16-bit grey
              to the nearest of  v * 255 / 65535 ; CMYK and YCbCr by formula, no colour profiles;
              16-bit colour by its high byte (as Pillow reads it)
    resize    once, from the square to size x size, in the stored values (not linear light)

The filters are Pillow's convolutions, whose support grows with the reduction, so they are
antialiased: `lanczos` (a = 3), `bicubic` (a = -0.5), `area` (the mean of the covered pixels).
The crop comes first, so no pixel outside of the square counts. A smaller image is enlarged.

An image that cannot be decoded raises `Rejected` with one of REASONS; a truncated file is one of
them. The size is read from the header, before any pixel.

To add a filter, give it a row in FILTERS.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.Image import Resampling, Transpose

FILTERS = {
    "lanczos": Resampling.LANCZOS,
    "area": Resampling.BOX,
    "bicubic": Resampling.BICUBIC,
}
# Without EPS, which would start another program, and without rare formats.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
MAX_PIXELS = 178_956_970  # Pillow opens no larger image

EMPTY = "empty file"
NO_IMAGE = "not an image"
BROKEN = "truncated or corrupt"
SMALL = "smaller than min_side"
LARGE = "more than max_pixels"
ANIMATED = "animated or of several pages"
NO_RANGE = "mode without a defined range of 8 or 16 bits"
REASONS = (EMPTY, NO_IMAGE, BROKEN, SMALL, LARGE, ANIMATED, NO_RANGE)

ORIENTATION = 0x0112
TURNS = {  # from the stored image to the displayed one
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


class Rejected(Exception):
    """The rule gives no image for these bytes; `reason` is one of REASONS."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ImageRule:
    """How images are cropped and resized to squares of `size` pixels.

    Images with a side below `min_side` pixels or with more than `max_pixels` are rejected.
    """

    size: int
    filter: Literal["lanczos", "area", "bicubic"] = "lanczos"
    min_side: int = 8
    max_pixels: int = 89_478_485

    def __post_init__(self) -> None:
        """Validate the options."""
        for name, most in (("size", 8192), ("min_side", MAX_PIXELS), ("max_pixels", MAX_PIXELS)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(
                    f"image.{name}: wanted 1 to {most}, got {getattr(self, name)}; change it"
                )

    @property
    def name(self) -> str:
        """Name of the rule, used as the name of a folder."""
        return f"center_{self.filter}_{self.size}"


def decode(data: bytes, rule: ImageRule) -> UInt8[np.ndarray, "3 size size"]:
    """Return the pixels of one encoded image. Raises Rejected."""
    image = _loaded(data, rule)
    is_16_bit = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
    turn = TURNS.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    rgb = _rgb(_from_16_bit(square) if is_16_bit else square)
    pixels = np.asarray(rgb.resize((rule.size, rule.size), FILTERS[rule.filter]))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextmanager
def ignore_pillow_warnings() -> Iterator[None]:
    """Ignore Pillow's warnings about single files; what matters raises Rejected.

    Warning filters belong to the process, so enter this once, around all threads that decode.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


@contextmanager
def _parsing(reason: str) -> Iterator[None]:
    """Turn all errors of Pillow into Rejected with `reason`."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Rejected(LARGE) from None
    except Exception:  # broken bytes cause OSError, SyntaxError, struct.error, KeyError ...
        raise Rejected(reason) from None


def _loaded(data: bytes, rule: ImageRule) -> Image.Image:
    if not data:
        raise Rejected(EMPTY)
    with _parsing(BROKEN if _looks_like_image(data) else NO_IMAGE):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > rule.max_pixels:
        raise Rejected(LARGE)
    if min(width, height) < rule.min_side:
        raise Rejected(SMALL)
    with _parsing(BROKEN):
        # A camera's MPO is a photograph followed by previews; the first picture is used.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise Rejected(ANIMATED)
        image.load()
    return image


def _looks_like_image(data: bytes) -> bool:
    """Return whether the first bytes are those of a common image format."""
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP"
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*"))


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # see _parsing; the pixels are complete, the orientation is unknown
        return 1


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    grey = ((values + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255, odd: no ties
    key = image.info.get("transparency")
    return Image.fromarray(np.where(values == key, 255, grey).astype(np.uint8))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode not in MODES:
        raise Rejected(NO_RANGE)
    with _parsing(BROKEN):  # for example a key colour that is not in the palette
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
