"""Text from the data or the config, as it is drawn in figures.

Names of classes, arms, metrics and captions may have any characters. matplotlib reads text between
two `$` as mathematics, and draws an empty box for a character that its fonts lack. Every such text
therefore goes through `figure_text` before it is drawn. Formulas of our own do not.
"""

import functools
import sys

from routing.figures.shared.config_view import display_name

# The first font with a character is used. The first two come with matplotlib. The others are used
# if they are installed; they have TrueType outlines, which PDF files can embed.
FONTS = ("STIXGeneral", "DejaVu Sans")
INSTALLED_FONTS = (
    "Droid Sans Fallback",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "IPAGothic",
    "NanumGothic",
    "Arial Unicode MS",
    "Noto Emoji",
    "Symbola",
    "Unifont",
)


def figure_label(name: str) -> str:
    """Return `name` with spaces instead of underscores, as `figure_text`."""
    return figure_text(display_name(name))


def figure_text(text: str) -> str:
    """Return `text` in one line, without mathematics, and with code points for missing characters.

    A character that no font has becomes its code point: '[U+732B]'. A line on stderr names these
    characters. Apply this once to a text: a `$` becomes `\\$`, which matplotlib draws as `$`.
    """
    shown = "".join(char if char.isprintable() else " " for char in text)
    missing = [char for char in dict.fromkeys(shown) if ord(char) not in _characters()]
    _report_missing("".join(missing))
    for char in missing:
        shown = shown.replace(char, f"[U+{ord(char):04X}]")
    return shown.replace("$", r"\$")


def drawn_text(text: str) -> str:
    """Return the characters that are drawn for `text`, before `figure_text`."""
    return plain_text(figure_text(text))


def plain_text(shown: str) -> str:
    """Return the text that matplotlib draws for `shown`, which `figure_text` returned."""
    return shown.replace(r"\$", "$")


@functools.cache
def font_families() -> list[str]:
    """Return FONTS and the INSTALLED_FONTS of this machine."""
    from matplotlib import font_manager

    found = {font.name for font in font_manager.fontManager.ttflist}
    return [*FONTS, *(name for name in INSTALLED_FONTS if name in found)]


@functools.cache
def _characters() -> frozenset[int]:
    """Return the code points of the characters that the fonts have."""
    from matplotlib import font_manager

    paths = [font_manager.findfont(name) for name in font_families()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


@functools.cache
def _report_missing(missing: str) -> None:
    """Print a line about characters that no font has, once for each text of them."""
    if missing:
        names = ", ".join(f"{char} (U+{ord(char):04X})" for char in missing)
        print(
            f"figures: wanted fonts with all characters, got none with {names}; their code points "
            f"are drawn; install one of the fonts {', '.join(INSTALLED_FONTS)}",
            file=sys.stderr,
            flush=True,
        )
