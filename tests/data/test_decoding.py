"""The image rule, against arrays: what is turned, cut, composited and resized, and what is not."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
from encoded_images import bomb, encoded, mean_of_boxes, noise, oriented, smooth
from PIL import Image, ImageFile
from stages import refused

from routing.data import decoding as module
from routing.data.decoding import (
    FILTERS,
    FORMATS,
    REASONS,
    ImageRule,
    Rejected,
    decode,
    ignore_pillow_warnings,
)

RULE = ImageRule(8, "area", min_side=1)


def pixels(data, rule=RULE):
    """[size, size, 3], as arrays of pictures are."""
    return decode(data, rule).transpose(1, 2, 0)


def reason(data, rule=RULE):
    with pytest.raises(Rejected) as error, ignore_pillow_warnings():
        decode(data, rule)
    assert error.value.reason in REASONS
    return error.value.reason


def close(found, wanted, levels=1):
    return np.abs(found.astype(int) - np.asarray(wanted).astype(int)).max() <= levels


def central(array):
    """The largest central square, by hand."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]


# Resizing, against independent references.


def lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def bicubic(x, a=-0.5):
    x = np.abs(x)
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def area(x):
    return ((x >= -0.5) & (x < 0.5)).astype(float)


KERNELS = {"lanczos": lanczos, "bicubic": bicubic, "area": area}


def convolved(array, size, kernel):
    """Direct sum in float: pixel i sees `kernel((j + 0.5 - centre) / scale)`, scale >= 1."""
    num = len(array)
    scale = num / size
    centres = (np.arange(size) + 0.5) * scale
    weights = kernel((np.arange(num) + 0.5 - centres[:, None]) / max(scale, 1))
    weights = weights / weights.sum(1, keepdims=True)
    across = np.clip(np.einsum("ow,hwc->hoc", weights, array.astype(float)), 0, 255)
    return np.clip(np.einsum("oh,hwc->owc", weights, across), 0, 255)


def test_every_filter_is_asked():
    assert KERNELS.keys() == FILTERS.keys()


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_area_is_the_mean_of_boxes(factor):
    array = noise(8 * factor, 8 * factor)
    assert close(pixels(encoded(array)), np.rint(mean_of_boxes(array, 8)))


SIDES = [(60, 16), (37, 16), (96, 8), (9, 16)]  # before and after; the area by whole factors


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [(name, *sides) for name in FILTERS for sides in (SIDES if name != "area" else [(96, 8)])],
)
def test_resizing_is_one_antialiased_convolution(name, side, size):
    rule = ImageRule(size, name)
    array = smooth(side, side)
    assert close(pixels(encoded(array), rule), np.rint(convolved(array, size, KERNELS[name])))
    rough = noise(side, side) // 2 + 64  # edges everywhere: a filter without antialias fails
    assert close(pixels(encoded(rough), rule), np.rint(convolved(rough, size, KERNELS[name])), 2)


def test_filters_differ_and_none_aliases():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    found = [pixels(encoded(stripes), ImageRule(16, name)) for name in FILTERS]
    assert all(close(f[:, 2:-2], 127.5, 1.5) for f in found)  # the mean, not the one or the other
    array = encoded(noise(64, 64))
    one, other, third = (pixels(array, ImageRule(16, name)) for name in FILTERS)
    assert not close(one, other, 5) and not close(one, third, 5) and not close(other, third, 5)


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (8, 13), (13, 8), (9, 16)])
def test_the_crop_is_central_and_nothing_beyond_it_is_seen(height, width):
    array = noise(height, width)
    side = min(height, width)
    assert np.array_equal(pixels(encoded(array), ImageRule(side, min_side=1)), central(array))
    inside, other = central(array), noise(height, width, seed=1)
    central(other)[:] = inside
    for name in FILTERS:
        small = ImageRule(5, name, min_side=1)
        assert np.array_equal(pixels(encoded(array), small), pixels(encoded(other), small))


def test_a_jpeg_is_decoded_at_full_size():
    array = smooth(256, 256)
    data = encoded(array, "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)))
    assert close(pixels(data), np.rint(mean_of_boxes(whole, 8)))


def test_a_pixel_may_be_enlarged():
    one = np.array([[[10, 20, 30]]], np.uint8)
    for name in FILTERS:
        assert (pixels(encoded(one), ImageRule(4, name, min_side=1)) == [10, 20, 30]).all()


# Orientation.

TURNED = {  # the stored array, made from the picture as it shall be seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("number", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_pictures_stand_as_they_are_seen(number, kind):
    seen = noise(9, 14)  # odd margins: turning comes before the crop
    options = {"lossless": True} if kind == "WEBP" else {}
    data = oriented(np.ascontiguousarray(TURNED[number](seen)), number, kind, **options)
    assert np.array_equal(pixels(data, ImageRule(9)), central(seen))


@pytest.mark.parametrize("number", TURNED)
def test_photographs_stand_as_they_are_seen(number):
    seen = smooth(24, 36)
    data = oriented(
        np.ascontiguousarray(TURNED[number](seen)), number, "JPEG", quality=98, subsampling=0
    )
    assert close(pixels(data), np.rint(mean_of_boxes(central(seen), 8)), 3)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_an_unreadable_exif_says_nothing(exif):
    array = smooth(16, 16)
    data = encoded(array, "JPEG", quality=98, subsampling=0, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ignore_pillow_warnings():
            found = pixels(data)
    assert close(found, np.rint(mean_of_boxes(array, 8)), 3)


@pytest.mark.parametrize("number", [0, 9, 77])
def test_an_orientation_that_is_none_says_nothing(number):
    array = noise(8, 8)
    assert np.array_equal(pixels(oriented(array, number)), array)


# Colour.


def over_white(colour, alpha):
    share = alpha.astype(float)[..., None] / 255
    return np.rint(colour * share + 255 * (1 - share))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_over_white(kind):
    array = noise(8, 8, 4)
    array[0, 0, 3], array[0, 1, 3] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = pixels(encoded(array, kind, **options))
    assert close(found, over_white(array[..., :3], array[..., 3]))
    assert (found[0, 0] == 255).all() and (found[0, 1] == array[0, 1, :3]).all()


def test_alpha_is_applied_before_the_resize():
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, ::2] = (200, 0, 0, 255)
    array[:, 1::2] = (0, 0, 255, 0)  # invisible blue
    assert close(pixels(encoded(array)), np.broadcast_to([227.5, 127.5, 127.5], (8, 8, 3)))


def test_grey_with_alpha():
    array = noise(8, 8, 2)
    found = pixels(encoded(Image.fromarray(array, "LA")))
    assert close(found, over_white(array[..., :1].repeat(3, -1), array[..., 1]))


def paletted():
    """An image of a palette, and its colours [8, 8, 3]."""
    colours, index = noise(1, 16)[0], np.random.default_rng(5).integers(0, 16, (8, 8), np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    return image, colours[index], index


def test_palettes():
    image, colours, _ = paletted()
    assert np.array_equal(pixels(encoded(image)), colours)
    assert np.array_equal(pixels(encoded(image, "GIF")), colours)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_a_transparent_colour(kind):
    image, colours, index = paletted()
    found = pixels(encoded(image, kind, transparency=3))
    assert np.array_equal(found, np.where((index == 3)[..., None], 255, colours))


def test_palettes_with_alpha():
    image, colours, index = paletted()
    alphas = noise(1, 16, 1, seed=2)[0, :, 0]
    found = pixels(encoded(image, transparency=alphas.tobytes()))
    assert close(found, over_white(colours, alphas[index]))


def test_key_colours():
    array = noise(8, 8)
    found = pixels(encoded(array, transparency=tuple(int(v) for v in array[2, 5])))
    wanted = array.copy()
    wanted[2, 5] = 255
    assert np.array_equal(found, wanted)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = pixels(encoded(grey, transparency=7))
    assert np.array_equal(found[..., 1], np.where(grey == 7, 255, grey))


def test_grey_and_black_and_white():
    grey = noise(8, 8, 1)[..., 0]
    assert (pixels(encoded(grey)) == grey[..., None]).all()
    bits = grey > 127
    assert (pixels(encoded(Image.fromarray(bits))) == 255 * bits[..., None]).all()


def test_cmyk():
    ink = smooth(16, 16)
    image = Image.fromarray(np.concatenate([ink, ink[..., :1] // 2], -1), "CMYK")
    ink = np.asarray(image).astype(float) / 255
    wanted = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert close(pixels(encoded(image, "TIFF")), mean_of_boxes(wanted, 8), 2)
    assert close(pixels(encoded(image, "JPEG", quality=98)), mean_of_boxes(wanted, 8), 4)


def test_ycbcr():
    array = smooth(8, 8)
    data = encoded(Image.fromarray(array).convert("YCbCr"), "TIFF")
    assert close(pixels(data), array, 3)


def test_grey_of_16_bit_is_rounded():
    values = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    values[0, :5] = (0, 65535, 128, 129, 257)
    wanted = np.rint(values * (255 / 65535)).astype(np.uint8)
    assert wanted[0, :5].tolist() == [0, 255, 0, 1, 1]
    assert (pixels(encoded(values)) == wanted[..., None]).all()
    assert (pixels(encoded(values, "TIFF")) == wanted[..., None]).all()
    big_endian = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    assert (pixels(encoded(big_endian, "TIFF")) == wanted[..., None]).all()
    portable = b"P5 8 8 65535\n" + values.astype(">u2").tobytes()
    assert (pixels(portable) == wanted[..., None]).all()
    keyed = pixels(encoded(values, transparency=int(values[3, 3])))[..., 0]
    assert keyed[3, 3] == 255 and (keyed[0] == wanted[0]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_range_are_rejected(dtype):
    assert reason(encoded(noise(8, 8, 1)[..., 0].astype(dtype), "TIFF")) == module.NO_RANGE


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_every_format_of_the_list_is_read(kind):
    array = smooth(16, 16)[..., :1].repeat(3, -1)  # grey: lossy formats store colours coarsely
    assert close(pixels(encoded(array, kind, quality=95)), mean_of_boxes(array, 8), 4)


def test_the_result_is_an_array_of_its_own():
    found = decode(encoded(noise(8, 8)), RULE)
    assert found.dtype == np.uint8 and found.shape == (3, 8, 8)
    assert found.flags.c_contiguous and found.flags.writeable


# What is rejected.


def test_nothing_and_no_image():
    assert reason(b"") == module.EMPTY
    for data in (
        b"hello",
        b"\0" * 100,
        b"RIFF....WAVEfmt ",
        b"<svg></svg>",
        b"%!PS-Adobe-3.0 EPSF",
    ):
        assert reason(data) == module.NO_IMAGE


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA"])
def test_formats_beyond_the_list_are_no_images(kind):
    assert reason(encoded(noise(32, 32), kind)) == module.NO_IMAGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_no_images(kind, share):
    data = encoded(noise(64, 64), kind)
    assert reason(data[: int(share * len(data))]) in (module.BROKEN, module.NO_IMAGE)
    assert len(set(pixels(data).ravel().tolist())) > 10  # and the whole one is


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_called_so(kind):
    data = encoded(noise(64, 64), kind)
    for end in (40, len(data) // 2, len(data) - 32):
        assert reason(data[:end]) == module.BROKEN


def test_what_lacks_the_mark_of_its_end_alone_is_whole():
    data = encoded(noise(8, 8))
    assert np.array_equal(pixels(data[:-8]), pixels(data))


def test_a_wrong_checksum_is_found():
    data = bytearray(encoded(noise(64, 64)))
    data[len(data) // 2] ^= 1
    assert reason(bytes(data)) == module.BROKEN


def test_small_sides():
    assert reason(encoded(noise(1, 1)), ImageRule(8)) == module.SMALL
    assert reason(encoded(noise(7, 40)), ImageRule(8)) == module.SMALL
    assert reason(encoded(noise(40, 7)), ImageRule(8)) == module.SMALL
    assert decode(encoded(noise(8, 8)), ImageRule(4)).shape == (3, 4, 4)
    assert reason(encoded(noise(19, 40)), ImageRule(8, min_side=20)) == module.SMALL


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames(kind):
    frames = [Image.fromarray(noise(8, 8, seed=i)) for i in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert reason(data) == module.ANIMATED
    assert decode(encoded(frames[0], kind), RULE).shape == (3, 8, 8)


def test_a_photograph_with_previews_is_one_photograph():
    frames = [Image.fromarray(smooth(16, 16, seed=i)) for i in range(2)]
    data = encoded(
        frames[0], "MPO", save_all=True, append_images=frames[1:], quality=98, subsampling=0
    )
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert close(pixels(data), mean_of_boxes(np.asarray(frames[0]), 8), 4)


@pytest.mark.parametrize(
    "side", [9_500, 14_000, 60_000]
)  # Pillow: silent below 9,459; error 13,377
def test_bombs_are_known_by_their_header(side):
    tracemalloc.start()
    assert reason(bomb(side, side)) == module.LARGE
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_max_pixels_is_a_bound():
    data = encoded(noise(10, 12))
    assert decode(data, ImageRule(4, max_pixels=120)).shape == (3, 4, 4)
    assert reason(data, ImageRule(4, max_pixels=119)) == module.LARGE


def test_pillow_is_left_as_it_was():
    def settings():
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)

    before = settings()
    for data in (bomb(60_000, 60_000), encoded(noise(64, 64))[:99], encoded(noise(8, 8))):
        try:
            with ignore_pillow_warnings():
                decode(data, RULE)
        except Rejected:
            pass
    assert settings() == before == (89_478_485, False, before[2])


def test_warnings_are_silent_inside_and_heard_outside():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert reason(bomb(9_500, 9_500)) == module.LARGE
        warnings.warn("of another", UserWarning, stacklevel=1)
        assert [str(w.message) for w in heard] == ["of another"]


def test_the_rule_has_a_name():
    assert ImageRule(32).name == "center_lanczos_32"
    assert ImageRule(64, "area", min_side=9, max_pixels=100).name == "center_area_64"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "image.size: wanted 1 to 8192, got 0"),
        ({"size": 8, "min_side": 0}, "image.min_side: wanted 1 to"),
        ({"size": 8, "max_pixels": 10**9}, "image.max_pixels: wanted 1 to 178956970, got 10"),
        ({"size": 8, "max_pixels": 0}, "image.max_pixels: wanted 1 to 178956970, got 0"),
    ],
)
def test_rules_that_are_none_are_refused(options, message):
    with refused(message):
        ImageRule(**options)
