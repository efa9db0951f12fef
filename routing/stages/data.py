"""Stage data: one shard of a source becomes samples, their rows, and what was rejected.

Ready samples (digits, points) are stored as they are. Encoded images are decoded by the image
rule (`routing.data.decoding`) in threads, in their order, a bounded number at a time, and
written as
they come: memory grows with the texts of a shard (a few hundred bytes per image), not with its
pixels. The tables are

    rows        source_id, label, caption, licence, row (in this shard's samples)
    rejected    source_id, reason

and every image of the source is in one of them. Sources are the table of `routing.sources`.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from routing.data.decoding import ImageRule, Rejected, decode, quietly
from routing.data.sources import SOURCES, Item, MixtureSource, Ready, Streamed, share
from routing.workflow import choices

BLOCK = 256  # images written at once,
BLOCK_BYTES = 1 << 26  # or fewer where they are large
AHEAD = 4  # images per thread that are read before they are wanted
DUPLICATE = "duplicate id"


def run(job) -> None:
    """Write `samples` (safetensors), `rows` and `rejected` (Parquet)."""
    spec = job.spec
    source = choices.build(choices.with_plugins("sources", SOURCES), spec["source"], "data.source")
    if not 0 <= spec["shard"] < spec["num_shards"]:
        raise ValueError(
            f"shard: wanted 0 to {spec['num_shards'] - 1}, got {spec['shard']}; correct --spec"
        )
    if isinstance(source, Ready) is (spec["image"] is not None):
        wanted = "no image rule, for" if isinstance(source, Ready) else "an image rule (size), for"
        raise ValueError(
            f"data.image: wanted {wanted} the source {spec['source']['name']!r}, got "
            f"{spec['image']}; change it"
        )
    if isinstance(source, Ready):
        _write_ready(job, source)
    else:
        _write_streamed(job, source, ImageRule(**spec["image"]))


def _write_ready(job, source: Ready) -> None:
    samples = source.load(job.spec["seed"])
    mine = share(len(samples.labels), job.spec["shard"], job.spec["num_shards"])
    part = slice(mine.start, mine.stop)
    rows = pd.DataFrame(
        {
            "source_id": _texts(samples.source_ids[part]),
            "label": samples.labels[part],
            "caption": _texts(samples.captions[part]),
            "licence": _texts([samples.licence] * len(mine)),
            "row": np.arange(len(mine)),
        }
    )
    if samples.components is not None:
        rows["component"] = samples.components[part]
    notes = {"licence": [samples.licence], "visibility": samples.visibility}
    world = job.spec["source"] if isinstance(source, MixtureSource) else None
    stored = {"samples": samples.stored[part]}
    job.write_arrays("samples", stored, levels=samples.levels, world=world, **notes)
    job.write_table("rows", rows, **notes)
    job.write_table("rejected", _rejected([]), **notes)


def _write_streamed(job, source: Streamed, rule: ImageRule) -> None:
    ledger = Ledger(source.path)
    threads = _num_threads()
    items = source.items(job.spec["shard"], job.spec["num_shards"])

    def pixels(item: Item) -> np.ndarray | str:
        try:
            return decode(item.image, rule)
        except Rejected as rejected:
            return rejected.reason

    notes = {
        "licence": lambda: sorted(ledger.licences),
        "visibility": source.visibility,
        "origin": ledger.origin,
    }
    with quietly(), ThreadPoolExecutor(threads) as pool:
        decoded = in_order(pool, pixels, ledger.admitted(items), AHEAD * threads)
        blocks = ({"samples": block} for block in ledger.blocks(decoded, rule.size))
        job.write_rows("samples", blocks, levels=255, world=None, rule=rule.name, **notes)
    job.write_table_blocks("rows", ledger.rows, **notes)
    job.write_table("rejected", _rejected(ledger.rejected), **notes)


class Ledger:
    """What became of every image of a shard."""

    def __init__(self, path: str):
        """Nothing read yet from the source at `path`."""
        self.path, self.num, self.digest = path, 0, hashlib.sha256()
        self.rows: list[pd.DataFrame] = []  # a frame per block: columns of text, not objects
        self.rejected: list[tuple[str, str]] = []  # source_id, reason
        self.licences: set[str] = set()
        self.num_kept = 0
        self._seen: set[int] = set()
        self._label: int | str | None = None  # the first

    def admitted(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that may be decoded: no problem, and an id that has not been seen."""
        for item in items:
            item = item._replace(
                source_id=_clean(item.source_id),
                label=_clean(item.label) if isinstance(item.label, str) else item.label,
                caption=_clean(item.caption),
                licence=_clean(item.licence),
            )
            if item.image is not None:
                self.num += 1
                self.digest.update(len(item.image).to_bytes(8, "little") + item.image)
            # 64 bits of each id: among a million, a false duplicate has a chance of 3e-8.
            key = hashlib.blake2b(item.source_id.encode(), digest_size=8).digest()
            key = int.from_bytes(key, "little")
            reason = DUPLICATE if key in self._seen else item.problem
            self._seen.add(key)
            if reason is None:
                yield item
            else:
                self._reject(item, reason)

    def blocks(
        self, decoded: Iterable[tuple[Item, np.ndarray | str]], size: int
    ) -> Iterator[np.ndarray]:
        """The images of the items that were decoded, some at a time; at least one block."""
        block = max(1, min(BLOCK, BLOCK_BYTES // (3 * size * size)))
        kept: list[Item] = []
        images: list[np.ndarray] = []
        for item, found in decoded:
            if isinstance(found, str):
                self._reject(item, found)
                continue
            kept.append(self._labelled(item))
            images.append(found)
            if len(images) == block:
                self._keep(kept)
                yield np.stack(images)
                kept, images = [], []
        if images or not self.rows:
            self._keep(kept)
            yield np.stack(images) if images else np.empty((0, 3, size, size), np.uint8)

    def origin(self) -> dict[str, Any]:
        """What was read: the digest is over each encoded image's length and bytes, in order."""
        return {"path": self.path, "images": self.num, "sha256": self.digest.hexdigest()}

    def _keep(self, items: list[Item]) -> None:
        labels = [item.label for item in items]
        is_text = isinstance(self._label, str)
        frame = {
            "source_id": _texts(item.source_id for item in items),
            "label": _texts(labels) if is_text else np.array(labels, np.int64),
            "caption": _texts(item.caption for item in items),
            "licence": _texts(item.licence for item in items),
            "row": np.arange(self.num_kept, self.num_kept + len(items)),
        }
        self.rows.append(pd.DataFrame(frame))
        self.licences.update(frame["licence"])
        self.num_kept += len(items)

    def _labelled(self, item: Item) -> Item:
        """The item, if its label is of the kind of the first."""
        self._label = item.label if self._label is None else self._label
        if isinstance(item.label, str) is not isinstance(self._label, str):
            raise ValueError(
                f"data.source: wanted labels that are all whole numbers or all text, got "
                f"{self._label!r} and {item.label!r} (of {item.source_id}); name another label"
            )
        return item

    def _reject(self, item: Item, reason: str) -> None:
        self.rejected.append((item.source_id, reason))


def in_order(
    pool: ThreadPoolExecutor, function: Callable, items: Iterable, window: int
) -> Iterator[tuple[Any, Any]]:
    """(item, function(item)) in the order of `items`, at most `window` of them under way."""
    under_way: deque = deque()
    for item in items:
        under_way.append((item, pool.submit(function, item)))
        if len(under_way) == window:
            item, found = under_way.popleft()
            yield item, found.result()
    while under_way:
        item, found = under_way.popleft()
        yield item, found.result()


def _num_threads() -> int:
    """OMP_NUM_THREADS (what a rule gives to its job), else the cores this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _rejected(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    ids, reasons = (_texts(pair[i] for pair in pairs) for i in (0, 1))
    return pd.DataFrame({"source_id": ids, "reason": reasons})


def _texts(values: Iterable[str]) -> pd.api.extensions.ExtensionArray:
    """A column of text, also where there are no rows."""
    return pd.array(list(values), dtype="str")


def _clean(text: str) -> str:
    """Text that can be stored: bytes of file names that are no UTF-8 are written out."""
    return text.encode("utf-8", "backslashreplace").decode()
