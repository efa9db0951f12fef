"""Stage data: read one shard of a source and store its samples.

Ready samples (digits, points) are stored as they are. Encoded images are decoded in threads by the
image rule (`routing.data.decoding`), in the order of the source. They are written block by block,
so that memory grows with the texts of a shard (a few hundred bytes per image) and not with its
pixels. Every image of the source is in one of two tables:

    rows        source_id, label, caption, licence, row (in this shard's samples)
    rejected    source_id, reason

Sources are the table of `routing.data.sources`.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from routing.data.decoding import ImageRule, Rejected, decode, ignore_pillow_warnings
from routing.data.sources import (
    SOURCES,
    InMemorySource,
    Item,
    MixtureSource,
    StreamedSource,
    shard_range,
)
from routing.workflow import choices

BLOCK_SIZE = 256  # images written at once,
BLOCK_BYTES = 1 << 26  # or fewer, if they are large
PREFETCH = 4  # images per thread that are read ahead
DUPLICATE = "duplicate id"


def run(job) -> None:
    """Write `samples` (safetensors), `rows` and `rejected` (Parquet)."""
    spec = job.spec
    source = choices.build(choices.with_plugins("sources", SOURCES), spec["source"], "data.source")
    if not 0 <= spec["shard"] < spec["num_shards"]:
        raise ValueError(
            f"shard: wanted 0 to {spec['num_shards'] - 1}, got {spec['shard']}; correct --spec"
        )
    if isinstance(source, InMemorySource) is (spec["image"] is not None):
        wanted = (
            "no image rule, for"
            if isinstance(source, InMemorySource)
            else "an image rule (size), for"
        )
        raise ValueError(
            f"data.image: wanted {wanted} the source {spec['source']['name']!r}, got "
            f"{spec['image']}; change it"
        )
    if isinstance(source, InMemorySource):
        _write_ready(job, source)
    else:
        _write_streamed(job, source, ImageRule(**spec["image"]))


def _write_ready(job, source: InMemorySource) -> None:
    samples = source.load(job.spec["seed"])
    in_shard = shard_range(len(samples.labels), job.spec["shard"], job.spec["num_shards"])
    part = slice(in_shard.start, in_shard.stop)
    rows = pd.DataFrame(
        {
            "source_id": _texts(samples.source_ids[part]),
            "label": samples.labels[part],
            "caption": _texts(samples.captions[part]),
            "licence": _texts([samples.licence] * len(in_shard)),
            "row": np.arange(len(in_shard)),
        }
    )
    if samples.components is not None:
        rows["component"] = samples.components[part]
    metadata = {"licence": [samples.licence], "visibility": samples.visibility}
    world = job.spec["source"] if isinstance(source, MixtureSource) else None
    stored = {"samples": samples.stored[part]}
    job.write_arrays("samples", stored, levels=samples.levels, world=world, **metadata)
    job.write_table("rows", rows, **metadata)
    job.write_table("rejected", _rejected([]), **metadata)


def _write_streamed(job, source: StreamedSource, rule: ImageRule) -> None:
    records = ShardRecords(source.path)
    threads = _num_threads()
    items = source.items(job.spec["shard"], job.spec["num_shards"])

    def pixels(item: Item) -> np.ndarray | str:
        try:
            return decode(item.image, rule)
        except Rejected as rejected:
            return rejected.reason

    metadata = {  # functions are called when all blocks are written
        "licence": lambda: sorted(records.licences),
        "visibility": source.visibility,
        "origin": records.origin,
    }
    with ignore_pillow_warnings(), ThreadPoolExecutor(threads) as pool:
        decoded = map_in_order(pool, pixels, records.valid_items(items), PREFETCH * threads)
        blocks = ({"samples": block} for block in records.blocks(decoded, rule.size))
        job.write_array_blocks(
            "samples", blocks, levels=255, world=None, rule=rule.name, **metadata
        )
    job.write_table_blocks("rows", records.rows, **metadata)
    job.write_table("rejected", _rejected(records.rejected), **metadata)


class ShardRecords:
    """Rows of the images of a shard that are kept, and reasons why the others are rejected."""

    def __init__(self, path: str):
        """Start without images, for the source at `path`."""
        self.path, self.num, self.digest = path, 0, hashlib.sha256()
        self.rows: list[pd.DataFrame] = []  # a frame per block: columns of text, not objects
        self.rejected: list[tuple[str, str]] = []  # source_id, reason
        self.licences: set[str] = set()
        self.num_kept = 0
        self._seen: set[int] = set()
        self._label: int | str | None = None  # the first

    def valid_items(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items without a problem and with a new id; reject the others."""
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
        """Yield blocks of the decoded images, at least one; reject items without an image.

        `decoded` has, for each item, its image or the reason why it cannot be decoded.
        """
        block_size = max(1, min(BLOCK_SIZE, BLOCK_BYTES // (3 * size * size)))
        kept: list[Item] = []
        images: list[np.ndarray] = []
        for item, found in decoded:
            if isinstance(found, str):
                self._reject(item, found)
                continue
            self._check_label(item)
            kept.append(item)
            images.append(found)
            if len(images) == block_size:
                self._keep(kept)
                yield np.stack(images)
                kept, images = [], []
        if images or not self.rows:
            self._keep(kept)
            yield np.stack(images) if images else np.empty((0, 3, size, size), np.uint8)

    def origin(self) -> dict[str, Any]:
        """Return what was read: path, number of images, and one sha256.

        The digest is over the length and the bytes of each encoded image, in order.
        """
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

    def _check_label(self, item: Item) -> None:
        """Raise ValueError unless the label is an int64, or text, as the first one was."""
        self._label = item.label if self._label is None else self._label
        if isinstance(item.label, str) is not isinstance(self._label, str):
            raise ValueError(
                f"data.source: wanted labels that are all whole numbers or all text, got "
                f"{self._label!r} and {item.label!r} (of {item.source_id}); name another label"
            )
        if not isinstance(item.label, str) and not -(2**63) <= item.label < 2**63:
            raise ValueError(
                f"data.source: wanted labels from -2^63 to 2^63 - 1, or text, got {item.label} "
                f"(of {item.source_id}); store it as text, or name another label"
            )

    def _reject(self, item: Item, reason: str) -> None:
        self.rejected.append((item.source_id, reason))


def map_in_order(
    pool: ThreadPoolExecutor, function: Callable, items: Iterable, window: int
) -> Iterator[tuple[Any, Any]]:
    """Yield (item, function(item)) in the order of `items`, at most `window` of them in flight."""
    in_flight: deque = deque()
    for item in items:
        in_flight.append((item, pool.submit(function, item)))
        if len(in_flight) == window:
            item, future = in_flight.popleft()
            yield item, future.result()
    while in_flight:
        item, future = in_flight.popleft()
        yield item, future.result()


def _num_threads() -> int:
    """Return OMP_NUM_THREADS (which rules set), or the number of cores this process may use."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    if value.isdigit() and int(value):
        return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _rejected(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    ids, reasons = (_texts(pair[i] for pair in pairs) for i in (0, 1))
    return pd.DataFrame({"source_id": ids, "reason": reasons})


def _texts(values: Iterable[str]) -> pd.api.extensions.ExtensionArray:
    """Return a column of text; its type is text without rows, too."""
    return pd.array(list(values), dtype="str")


def _clean(text: str) -> str:
    """Return text in UTF-8; bytes of file names that are not UTF-8 become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
