"""Progress bars of long stages: one line every few seconds, in a terminal, a log file or CI.

Jobs run side by side and share one screen. A bar that redraws its line would be overwritten by
another job, so each update is a line of its own, which begins with the label of the job.
"""

import sys
from collections.abc import Iterable

from tqdm import tqdm

INTERVAL_S = 5.0
FORMAT = "{desc} [{bar:24}] {n_fmt}/{total_fmt}, {remaining_s:.0f} s left{postfix}"


def progress_bar(
    label: str, total: int, items: Iterable | None = None, *, initial: int = 0
) -> tqdm:
    """Return a progress bar over `items`, or over `total` units that its `update` counts.

    `initial` units were finished by an earlier run of the same job. Nothing is printed within the
    first INTERVAL_S seconds.
    """
    return _Bar(
        items,
        desc=label,
        total=total,
        initial=initial,
        file=_Lines(),
        bar_format=FORMAT,
        ascii="-#",
        mininterval=INTERVAL_S,
        delay=INTERVAL_S,
        miniters=1,
        smoothing=0,  # the time left follows from the mean rate
        position=0,
        leave=False,  # no line at the end
    )


class _Bar(tqdm):
    monitor_interval = 0  # no thread


class _Lines:
    """A stream to standard error in which every update of a bar becomes a line."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()
