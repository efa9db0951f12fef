"""A bar inside long stages: one line every few seconds, readable in a terminal, a log or CI.

Jobs run side by side and share one screen, so a bar that redraws itself would be overwritten by
its neighbour; each line therefore says whose it is.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
WIDTH = 24


class Progress:
    """Counts units of work done out of `total` and says so at most every `every_s` seconds."""

    def __init__(self, label: str, total: int, done: int = 0, every_s: float = 5.0):
        """Start counting at `done`, the units that an earlier run had finished."""
        self.label, self.total, self.done, self.every_s = label, total, done, every_s
        self.first, self.start = done, time.monotonic()
        self.last = self.start

    def advance(self, units: int = 1, note: str = "") -> None:
        """Add finished units; `note` is shown behind the bar."""
        self.done += units
        now = time.monotonic()
        if now - self.last < self.every_s:
            return
        self.last = now
        filled = WIDTH * self.done // self.total
        left_s = (now - self.start) / (self.done - self.first) * (self.total - self.done)
        bar = "#" * filled + "-" * (WIDTH - filled)
        text = f"{self.label} [{bar}] {self.done}/{self.total}, {left_s:.0f} s left"
        print(f"{text}  {note}".rstrip(), file=sys.stderr, flush=True)


def track(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield `items` and count them on a bar."""
    progress = Progress(label, total)
    for item in items:
        yield item
        progress.advance()
