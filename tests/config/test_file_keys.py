"""Keys of config files: refused if written twice or not as text, with file, line and key."""

import json
import re

import pytest
import yaml
from places import ROOT
from stages import refused

from routing.config.file_keys import check_keys

CONFIGS = [ROOT / "workflow_config.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_the_repository_pass(path):
    check_keys(path)


def config(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


TWICE = {  # text: (line of the second, key, line of the first)
    "run: a\nseed: 1\nrun: b\n": (3, "run", 1),
    "arms:\n  top1: {policy: a}\n  full: {}\n  top1:\n    policy: b\n": (4, "arms.top1", 2),
    "a: {b: {c: 1, 'd': 2}}\ne: {b: {d: 1, \"d\": 2}}\n": (2, "e.b.d", 2),
    "metrics:\n  list:\n  - {name: kid}\n  - {name: kid,\n     name: fid}\n": (
        *(5, "metrics.list.1.name"),
        4,
    ),
    "\ufeffrun: a\n# \u00fc\nrun: b\n": (3, "run", 1),
    "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  a: 3\n  a: 4\n": (5, "y.a", 4),
    '{\n\t"arms": {\n\t\t"full": 1,\n\t\t"full": 2}}': (4, "arms.full", 3),
}


@pytest.mark.parametrize("text", TWICE, ids=range(len(TWICE)))
def test_a_key_that_is_written_twice(text, tmp_path):
    path = config(tmp_path, text)
    line, key, first = TWICE[text]
    with refused(
        re.escape(f"{path}:{line}: wanted every key once, got {key} again (first in line {first})")
    ):
        check_keys(path)


NO_TEXT = {"on": "bool", "off": "bool", "yes": "bool", "No": "bool", "true": "bool"} | {
    "5": "int",
    "1.5": "float",
    "null": "null",
    "2024-01-01": "timestamp",
}


@pytest.mark.parametrize("key", NO_TEXT)
def test_a_key_that_yaml_reads_as_another_type(key, tmp_path):
    path = config(tmp_path, f"run: a\npolicies:\n  {key}: {{name: full}}\n")
    assert not isinstance([*yaml.safe_load(path.read_text())["policies"]][0], str)
    with refused(
        re.escape(
            f"{path}:3: wanted keys that are text, got policies.{key}, which YAML reads as "
            f"{NO_TEXT[key]}; quote it: '{key}'"
        )
    ):
        check_keys(path)
    check_keys(config(tmp_path, f"policies: {{'{key}': {{name: full}}}}\n"))


def test_what_is_allowed(tmp_path):
    """Merges, anchors in several places or in themselves, values of any type, tags, JSON."""
    merged = (
        "base: &base {policy: full, sampler: euler}\n"
        "more: &more {router: prior}\n"
        "arms:\n"
        "  a: {<<: *base, policy: top1}\n"
        "  b: {<<: [*base, *more]}\n"
        "  c:\n    <<: *base\n    <<: *more\n"
        "  d: *base\n"
    )
    path = config(tmp_path, merged)
    check_keys(path)
    assert yaml.safe_load(path.read_text())["arms"]["a"]["policy"] == "top1"
    deep = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 60)
    )
    for text in (deep, "a: &a {b: *a}\n", "", "a: {x: on, y: 5}\n", "a: !mine {b: 1}\nb: 1\n"):
        check_keys(config(tmp_path, text))
    check_keys(config(tmp_path, json.dumps({"a": {"on": 1, "5": 2}}, indent="\t"), "mine.json"))
