"""Encoded images for tests: valid ones, unusual ones and malicious ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def smooth(height, width, seed=0, low=64, high=192):
    """A smooth colour picture, uint8 [height, width, 3], far from both ends of the range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + c) for c in range(3)]
    return np.rint(low + (high - low) * (np.stack(waves, -1) + 1) / 2).astype(np.uint8)


def noise(height, width, channels=3, seed=0):
    """Independent bytes, uint8 [height, width, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def encoded(image, kind="PNG", **options):
    """`image`, an array or a Pillow image, as bytes of the format `kind`."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width, height):
    """A PNG of a few bytes whose header claims this size."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


def oriented(array, number, kind="PNG", **options):
    """`array` stored as it is, with the EXIF orientation `number`."""
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(array, kind, exif=exif, **options)


def mean_of_boxes(array, size):
    factor = len(array) // size
    return array.reshape(size, factor, size, factor, -1).astype(float).mean((1, 3))
