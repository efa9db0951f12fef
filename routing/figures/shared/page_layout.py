"""Sizes and arrangement of figures: panels, wrapped texts, legends, axes of time."""

from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import style

WIDER = 1.05  # rendered text is at most this much wider than the font metrics say


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size (in) that makes room for its labels itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def text_width(texts: list[str], of: str = "ytick.labelsize") -> float:
    """Width of the widest of `texts` as names at an axis (or in the size `of` of style.RC), in."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=style.RC["font.family"], size=style.RC[of])
    wide = [text_to_path.get_text_width_height_descent(t, font, ismath=False) for t in texts]
    return max(width for width, _, _ in wide) / 72


def wrap_text(text: str, width: float) -> list[str]:
    """Lines of `text` as the label of an axis `width` in long: cut at "; ", else "," or spaces."""
    lines = [text]
    for between, kept in (("; ", ""), (", ", ","), (" ", "")):
        packed = (_packed(line.split(between), between, kept, width) for line in lines)
        lines = [part for found in packed for part in found]
    return lines


def _packed(parts: list[str], between: str, kept: str, width: float) -> list[str]:
    """Lines of as many of `parts` as fit, one at least; of `between` a cut leaves `kept`."""
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
    """The fewest columns, at most `most`, that need no more rows than `most` columns do."""
    return -(-num // -(-num // most))


def panel_grid(num: int, columns: int, width: float, height: float, **options: Any) -> tuple:
    """A figure with `num` axes in reading order, each row `height` in high."""
    rows = -(-num // columns)
    figure = new_figure(width, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in axes[num:]:
        empty.remove()
    return figure, axes[:num]


def panel_columns(num: int, rows: int, widest: int, height: float) -> tuple[Any, list[np.ndarray]]:
    """A figure with `num` columns of `rows` axes: `widest` side by side, then another band.

    A band is `height` in high.
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


def label_column(axes: np.ndarray, words: list[str]) -> None:
    """Names and ticks of a column of axes along t: on the left of a band and at its bottom."""
    is_first = axes[0].get_subplotspec().is_first_col()
    for ax, text in zip(axes, words, strict=True):
        time_axis(ax)
        ax.tick_params(labelleft=is_first, labelbottom=ax is axes[-1])
        ax.set_ylabel(text if is_first else "")


def step_curve(rows: pd.DataFrame) -> list[np.ndarray]:
    """Corners t, value, low and high of a step curve over the bins t_low..t_high, cut at gaps."""
    rows = rows.sort_values("t_low")
    low, high = rows["t_low"].to_numpy(), rows["t_high"].to_numpy()
    corners = [np.stack([low, high], 1).ravel()]
    corners += [np.repeat(rows[c].to_numpy(np.float64), 2) for c in ("value", "low", "high")]
    gaps = 2 * (1 + np.flatnonzero(np.abs(low[1:] - high[:-1]) > 1e-9))
    return [np.insert(c, gaps, np.nan) for c in corners]


def legend_above(figure: Any, handles: list, columns: int) -> None:
    """A legend above the axes, outside of them."""
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, len(handles)))


def fit_scale(axes: Any, which: str, values: np.ndarray, half_widths: np.ndarray) -> None:
    """Give the axis `which` (x, y) the scale that shows all `values`, linear where that does.

    Logarithmic where all intervals are positive and span a factor of 30; where some reach zero,
    linear within the power of ten above the median half-width and logarithmic outside.
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
    """x runs as the sampler does, from t = 1 (noise) to t = 0 (data)."""
    axes.set_xlim(1, 0)
    axes.set_xticks([1, 0.5, 0], ["1", "0.5", "0"])
