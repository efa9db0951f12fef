"""Layout of figures: panels, wrapped labels, legends and time axes."""

from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import style
from routing.figures.shared.figure_text import font_families, plain_text

WIDER = 1.05  # rendered text is at most this much wider than the font metrics say


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size (in) with constrained layout."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def text_width(texts: list[str], of: str = "ytick.labelsize") -> float:
    """Return the width of the widest of `texts`, in; `of` is the font size, a key of style.RC."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=font_families(), size=style.RC[of])
    plain = map(plain_text, texts)
    wide = [text_to_path.get_text_width_height_descent(t, font, ismath=False) for t in plain]
    return max(width for width, _, _ in wide) / 72


def wrap_text(text: str, width: float) -> list[str]:
    """Split `text` into lines of at most `width` in: at "; ", then at ", ", then at spaces."""
    lines = [text]
    for between, kept in (("; ", ""), (", ", ","), (" ", "")):
        packed = (_packed(line.split(between), between, kept, width) for line in lines)
        lines = [part for found in packed for part in found]
    return lines


def _packed(parts: list[str], between: str, kept: str, width: float) -> list[str]:
    """Join `parts` with `between` into lines; all lines but the last end in `kept`."""
    lines = parts[:1]
    for i, part in enumerate(parts[1:], 2):
        longer = f"{lines[-1]}{between}{part}"
        end = kept if i < len(parts) else ""
        if WIDER * text_width([longer + end], "axes.labelsize") <= width:
            lines[-1] = longer
        else:
            lines[-1] += kept
            lines.append(part)
    return lines


def balanced_columns(num: int, most: int) -> int:
    """Return the fewest columns that need no more rows than `most` columns do."""
    return -(-num // -(-num // most))


def panel_grid(num: int, columns: int, width: float, height: float, **options: Any) -> tuple:
    """Return a figure with `num` axes in reading order; each row is `height` in high."""
    rows = -(-num // columns)
    figure = new_figure(width, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in axes[num:]:
        empty.remove()
    return figure, axes[:num]


def panel_columns(num: int, rows: int, widest: int, height: float) -> tuple[Any, list[np.ndarray]]:
    """Return a figure with `num` columns of `rows` axes, `widest` columns side by side.

    Further columns are in another band below. A band is `height` in high.
    """
    across = min(widest, num)
    bands = -(-num // across)
    figure = new_figure(style.PAGE * max(across, 3) / widest, height * bands + 0.5)
    axes = figure.subplots(rows * bands, across, squeeze=False)
    found = []
    for i in range(bands * across):
        own = axes[rows * (i // across) :][:rows, i % across]
        if i < num:
            found.append(own)
            continue
        for ax in own:
            ax.remove()
    return figure, found


def label_column(axes: np.ndarray, labels: list[str]) -> None:
    """Label a column of axes along t: y on the left of a band, t at its bottom."""
    is_first = axes[0].get_subplotspec().is_first_col()
    for ax, text in zip(axes, labels, strict=True):
        time_axis(ax)
        ax.tick_params(labelleft=is_first, labelbottom=ax is axes[-1])
        ax.set_ylabel(text if is_first else "")


def step_curve(rows: pd.DataFrame) -> list[np.ndarray]:
    """Return t, value, low and high of a step curve over bins of t, with NaN in gaps."""
    rows = rows.sort_values("t_low")
    low, high = rows["t_low"].to_numpy(), rows["t_high"].to_numpy()
    corners = [np.stack([low, high], 1).ravel()]
    corners += [np.repeat(rows[c].to_numpy(np.float64), 2) for c in ("value", "low", "high")]
    gaps = 2 * (1 + np.flatnonzero(np.abs(low[1:] - high[:-1]) > 1e-9))
    return [np.insert(c, gaps, np.nan) for c in corners]


def legend_above(figure: Any, handles: list, columns: int) -> None:
    """Draw a legend above the axes."""
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, len(handles)))


def write_note(figure: Any, text: str) -> None:
    """Write `text` in lines below the finished figure, which becomes higher by as much."""
    width, height = figure.get_size_inches()
    lines = wrap_text(text, width - 0.1)
    figure.set_size_inches(width, height + style.LINE * len(lines))
    figure.supxlabel("\n".join([*filter(None, [figure.get_supxlabel()]), *lines]))


def fit_scale(axes: Any, which: str, values: np.ndarray, half_widths: np.ndarray) -> None:
    """Set a scale of the axis `which` ("x" or "y") that shows all `values`; linear if possible.

    The scale is logarithmic if all intervals are positive and the values span a factor of 30. If
    some intervals reach zero, it is linear within the power of ten above the median half-width and
    logarithmic outside.
    """
    low, high = (values - half_widths).min(), np.abs(values).max()
    set_scale = getattr(axes, f"set_{which}scale")
    if low > 0 and high / values.min() > 30:
        set_scale("log")
    elif low <= 0 and (half := np.median(half_widths)) > 0:
        linear = 10.0 ** np.ceil(np.log10(half))
        if high > 30 * linear and np.median(np.abs(values)) < 3 * linear:
            set_scale("symlog", linthresh=linear, linscale=0.6)


def time_axis(axes: Any) -> None:
    """Set the x axis from t = 1 (noise) to t = 0 (data), the direction of sampling."""
    axes.set_xlim(1, 0)
    axes.set_xticks([1, 0.5, 0], ["1", "0.5", "0"])
