"""The keys of a config file, as they are written: each is text, and each is written once.

A YAML parser keeps the last of two equal keys, so that an arm could vanish without a message. And
it reads the unquoted words on, off, yes and no as booleans. The parsed config shows neither, so
this module reads the nodes of the file. Keys that come from a merge (`<<: *defaults`) may be
written again; that is how a merged value is overridden.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

MERGE, TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


def check_keys(path: Path) -> None:
    """Check the config file at `path`, in YAML or JSON.

    Raises ValueError, one line with file, line and key, if a key is written twice or is not text.
    """
    # JSON may be indented with tabs, YAML may not. Lines stay the same.
    root = yaml.compose(path.read_text(encoding="utf-8").expandtabs(), yaml.SafeLoader)
    for where, mapping in _mappings(root, "", set()):
        lines: dict[str, int] = {}
        for key, _ in mapping.value:
            line, name = key.start_mark.line + 1, f"{where}{_written(key)}"
            if key.tag == MERGE:
                continue
            if key.tag != TEXT:
                kind = key.tag.rpartition(":")[2]
                raise ValueError(
                    f"{path}:{line}: wanted keys that are text, got {name}, which YAML reads as "
                    f"{kind}; quote it: '{_written(key)}'"
                )
            if key.value in lines:
                raise ValueError(
                    f"{path}:{line}: wanted every key once, got {name} again (first in line "
                    f"{lines[key.value]}), which would replace the first; rename or remove one"
                )
            lines[key.value] = line


def _mappings(
    node: yaml.Node | None, where: str, seen: set[int]
) -> Iterator[tuple[str, yaml.MappingNode]]:
    """Yield (path of keys with a dot at its end, mapping) for every mapping, each one once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))  # an anchor is one node in several places
    if isinstance(node, yaml.MappingNode):
        yield where, node
        for key, value in node.value:
            yield from _mappings(value, f"{where}{_written(key)}.", seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _mappings(value, f"{where}{number}.", seen)


def _written(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else "[...]"
