"""Installed packages are code: which stages an edit or a new version of one of them reruns."""

import ast
import json
import shutil

import pandas as pd
import pytest
from places import ROOT

from routing.config import cache, experiment
from routing.config.registries import TABLES
from routing.stages import audit
from routing.workflow import artifacts, code_digest, plugin_packages, stage_names
from routing.workflow.job import Job

EXAMPLE = ROOT / "docs" / "example_package" / "src" / "routing_example"
STAGES = {  # written by hand: the stages that look up the table
    "sources": {"data"},
    "autoencoders": {"latents", "lpips", "sample_features", "figures"},
    "text_encoders": {"text_embeddings"},
    "encoders": {"fit_encoder"},
    "backbones": {"fit_encoder", "embed", "clip_score_captions", "samples", "sample_features"},
    "partitions": {"partition"},
    "experts": {"experts"},
    "routers": {"router", "samples"},
    "objectives": {"router"},
    "policies": {"samples"},
    "guidances": {"samples"},
    "samplers": {"samples"},
    "classifiers": {"classifier"},
    "metrics": {"reference_statistics", "arm_metrics", "figures"},
    "figures": {"figures"},
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install the example package with rows in some groups; its folder is returned."""
    package = tmp_path / "site" / "routing_example"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(package.parent)

    def write(groups, version="0.1.0", value="routing_example.policies:Sharpened"):
        for old in package.parent.glob("*.dist-info"):
            shutil.rmtree(old)
        info = package.parent / f"routing_example-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: routing-example\nVersion: {version}\n"
        )
        lines = [f"[routing.{group}]\nmine = {value}\n" for group in groups]
        (info / "entry_points.txt").write_text("".join(lines))
        plugin_packages._entries.cache_clear()
        return package

    yield write
    plugin_packages._entries.cache_clear()


def closures():
    return {stage: code_digest.closure(stage) for stage in stage_names.STAGES}


def changed(before):
    """The stages whose digest differs, and the names of the files that differ."""
    now, files = closures(), set()
    for stage in stage_names.STAGES:
        files |= set(code_digest.differences(before[stage], now[stage]))
    return {stage for stage in before if now[stage] != before[stage]}, files


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_table_is_looked_up_by_a_stage():
    assert STAGES.keys() == {*TABLES, "backbones"}


@pytest.mark.parametrize("group", STAGES)
def test_an_edit_reruns_the_stages_that_look_up_the_table(install, group):
    without = closures()
    package = install([group])
    before = closures()
    stages, files = changed(without)
    assert stages == STAGES[group]
    start = "plugin:routing-example"
    own = ["__init__.py", "figures.py", "metrics.py", "policies.py"]
    added = {f"{start}/routing_example/{file}" for file in own}
    added |= {f"{start}/version", f"{start}/entry_points"}
    assert {name for name in files if name.startswith("plugin:")} == added
    for stage in stage_names.STAGES:
        names = {name for name in before[stage] if name.startswith("plugin:")}
        assert names == (added if stage in STAGES[group] else set())
        versions = {"routing-example": "0.1.0"} if stage in STAGES[group] else {}
        assert code_digest.plugins(stage) == versions
    edit(package / "policies.py", "1 / self.temperature", "2 / self.temperature")
    assert changed(before) == (STAGES[group], {f"{start}/routing_example/policies.py"})


def test_without_rows_digests_are_those_of_this_package(install):
    without = closures()
    install([])
    assert closures() == without
    assert not any(name.startswith("plugin:") for stage in without for name in without[stage])
    install(["unknown_table"])
    assert closures() == without


EDITS = {  # an edit -> the names that differ; None: nothing is rerun
    "a comment": (lambda p: edit(p / "policies.py", "# Divided", "# Each divided"), None),
    "a docstring": (lambda p: edit(p / "policies.py", "A policy that", "It"), None),
    "another file": (
        lambda p: edit(p / "metrics.py", "dim=1", "dim=-1"),
        "routing_example/metrics.py",
    ),
    "a new file": (lambda p: (p / "more.py").write_text("X = 1\n"), "routing_example/more.py"),
    "a file that goes": (lambda p: (p / "figures.py").unlink(), "routing_example/figures.py"),
    "a syntax error": (
        lambda p: (p / "policies.py").write_text("def f(:\n"),
        "routing_example/policies.py",
    ),
    "another encoding": (
        lambda p: (p / "more.py").write_bytes(b"x = '\xff'\n"),
        "routing_example/more.py",
    ),
    "a file in a folder": (
        lambda p: (p / "deep").mkdir() or (p / "deep" / "one.py").write_text("X = 1\n"),
        "routing_example/deep/one.py",
    ),
}


@pytest.mark.parametrize("case", EDITS)
def test_edits_of_a_package(install, case):
    package, (change, name) = install(["policies"]), EDITS[case]
    before = closures()
    change(package)
    expected = (
        (set(), set()) if name is None else ({"samples"}, {f"plugin:routing-example/{name}"})
    )
    stages, files = changed(before)
    if case == "a syntax error":  # what it imported is not known any more
        files = {name for name in files if name.startswith("plugin:")}
    assert (stages, files) == expected


def test_a_new_version_or_entry_point_counts(install):
    install(["policies", "samplers"])
    before = closures()
    install(["policies", "samplers"], version="0.2.0")
    assert changed(before) == ({"samples"}, {"plugin:routing-example/version"})
    install(["policies", "samplers"], value="routing_example.policies:Other")
    assert changed(before) == ({"samples"}, {"plugin:routing-example/entry_points"})
    install(["policies", "samplers", "figures"])
    stages, files = changed(before)
    assert stages == {"figures"}


def test_a_package_that_is_missing_or_one_file_is_no_error(install):
    package = install(["policies"], value="nowhere.policies:Sharpened")
    files = {name for name in code_digest.closure("samples") if name.startswith("plugin:")}
    assert files == {"plugin:routing-example/version", "plugin:routing-example/entry_points"}
    (package.parent / "single_file_row.py").write_text("X = 1\n")
    install(["policies"], value="single_file_row:Sharpened")
    assert "plugin:routing-example/single_file_row.py" in code_digest.closure("samples")


@pytest.mark.parametrize(
    "line",
    [
        "from routing.figures.shared import style",
        "import routing.figures.shared.style",
        "from routing_example import helper",
        "from . import helper",
        "from .helper import style",
        "import routing_example.helper",
    ],
)
def test_what_the_row_imports_of_this_package_counts(install, line):
    package = install(["policies"])
    (package / "helper.py").write_text("from routing.figures.shared import style\n")
    style = "routing/figures/shared/style.py"
    assert style not in code_digest.closure("samples")  # figures.py of the package imports it
    edit(package / "policies.py", "from dataclasses", f"{line}\nfrom dataclasses")
    assert style in code_digest.closure("samples")
    assert style not in code_digest.closure("data")


def test_provenance_and_audit_name_the_package(install, tmp_path, monkeypatch):
    package = install(["policies"])
    monkeypatch.chdir(tmp_path)
    for stage in ("samples", "data"):
        path = tmp_path / "results" / "r" / stage / "made.parquet"
        with Job(stage, {}, {"made": path}, {}) as job:
            job.write_table("made", pd.DataFrame({"a": [1]}))
        note = artifacts.read_provenance(path)
        assert note["versions"].get("routing-example") == ("0.1.0" if stage == "samples" else None)
        assert note["code"] == code_digest.closure(stage)
        json.dumps(note)
    edit(package / "policies.py", "1 / self.temperature", "2 / self.temperature")
    path = tmp_path / "results" / "r" / "samples" / "made.parquet"
    problem = audit.mismatch(path, artifacts.read_provenance(path), {})
    assert problem.startswith(
        "made by other code: plugin:routing-example/routing_example/policies.py differ"
    )


def test_an_edit_resolves_the_config_again(install, tmp_path, monkeypatch):
    """The default of an option may have changed, or what a row accepts."""
    package, calls = install(["encoders"]), []  # no check looks this table up
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "resolve", lambda raw: calls.append(raw) or {})
    for _ in range(2):
        cache.resolved({"run": "r"})
    assert len(calls) == 1
    edit(package / "policies.py", "temperature: float = 0.5", "temperature: float = 0.25")
    cache.resolved({"run": "r"})
    assert len(calls) == 2
    install(["encoders"], version="0.1.1")
    cache.resolved({"run": "r"})
    assert len(calls) == 3


def test_every_table_is_looked_up_by_its_name():
    """A group in a variable would hide from the digest that the stage looks the table up."""
    allowed = {"config/registries.py": 1, "workflow/choices.py": 1}  # choices: `tables` of a row
    for path in code_digest.PACKAGE.rglob("*.py"):
        name, hidden = path.relative_to(code_digest.PACKAGE).as_posix(), 0
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                assert called != "PluginTable" or name == "workflow/choices.py", name
                if called == "with_plugins":
                    hidden += not isinstance(node.args[0], ast.Constant)
        assert hidden == allowed.get(name, 0), name
