"""What a stage can see: an edit counts exactly where it is in sight, and only if it is one."""

import ast
import os
import shutil
import textwrap

import pytest

from routing.workflow import code_digest, stage_names

TOY = {  # stage -> helpers, with every way to write an import
    "__init__": '"""The package."""\n__version__ = "1"\n',
    "__main__": "import sys\nimport routing.workflow.job\n",
    "workflow/job": "from routing.workflow import artifacts\n",
    "workflow/artifacts": "import json\n",
    "stages/data": "def run(job):\n    from routing.deep.one import f\n    return f\n",
    "stages/embed": "from routing import left, store as s\nimport numpy\n",
    "stages/experts": "import routing.right as r, os\n",
    "stages/router": "class A:\n  def f(self):\n    if True:\n      import routing.deep.two\n",
    "left": "from routing.right import g  # not routing.alone\n",
    "right": "def g():\n    return 'import routing.alone'\n",
    "alone": "X = 1\n",
    "deep/__init__": "Y = 1\n",
    "deep/one": "from routing.deep import two\n",
    "deep/two": "from routing import right\n",
}
SEES = {  # written by hand: which stages see which file
    "__init__": {"data", "embed", "experts", "router", "lonely"},
    "__main__": {"data", "embed", "experts", "router", "lonely"},
    "workflow/job": {"data", "embed", "experts", "router", "lonely"},
    "workflow/artifacts": {"data", "embed", "experts", "router", "lonely"},
    "stages/data": {"data"},
    "stages/embed": {"embed"},
    "stages/experts": {"experts"},
    "stages/router": {"router"},
    "left": {"embed"},
    "right": {"data", "embed", "experts", "router"},
    "alone": set(),
    "deep/__init__": {"data", "router"},
    "deep/one": {"data"},
    "deep/two": {"data", "router"},
}
STAGES = ("data", "embed", "experts", "router", "lonely")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    package = tmp_path / "routing"
    for name, text in TOY.items():
        path = package / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    (package / "stages" / "lonely.py").write_text("")
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    monkeypatch.setattr(code_digest, "REQUIREMENTS", tmp_path / "requirements.txt")
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\n")
    return package


@pytest.fixture
def copy(tmp_path, monkeypatch):
    package = tmp_path / "routing"
    shutil.copytree(code_digest.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    return package


def digests(stages=STAGES):
    return {stage: code_digest.stage_digest(stage) for stage in stages}


def changed(before):
    return {stage for stage, digest in digests(before).items() if digest != before[stage]}


def edit(path, change):
    path.write_text(change(path.read_text()))


def test_the_hand_written_table_is_complete():
    assert SEES.keys() == TOY.keys()


@pytest.mark.parametrize("name", TOY)
def test_an_edit_counts_where_it_can_be_seen(toy, name):
    before, closures = digests(), {stage: code_digest.closure(stage) for stage in STAGES}
    edit(toy / f"{name}.py", lambda text: text + "\nNEW = 1\n")
    assert changed(before) == SEES[name]
    for stage in STAGES:
        differ = code_digest.differences(closures[stage], code_digest.closure(stage))
        assert differ == ([f"routing/{name}.py"] if stage in SEES[name] else [])


@pytest.mark.parametrize("name", TOY)
def test_a_file_that_goes_or_comes_counts_where_it_is_asked_for(toy, name):
    before, text = digests(), (toy / f"{name}.py").read_text()
    (toy / f"{name}.py").unlink()
    assert changed(before) >= SEES[name]
    (toy / f"{name}.py").write_text(text)
    assert changed(before) == set()


def test_another_file_of_the_folder_is_out_of_sight(toy):
    before = digests()
    (toy / "more.py").write_text("from routing.stages import data\n")
    assert changed(before) == set()


SAME = '''
"""Another docstring, of two
lines."""
# a comment


class A:
    """A class."""

    def f(self, x = 1,
          y=2):  # another comment
        """A method."""
        return x + y


    async def g(self):
        "Of one line."


def h():
    pass
'''
PLAIN = """
class A:
    def f(self, x=1, y=2):
        return x + y
    async def g(self): pass
def h(): pass
"""


def test_comments_docstrings_and_layout_do_not_count(toy):
    edit(toy / "stages" / "data.py", lambda text: PLAIN)
    before = digests()
    edit(toy / "stages" / "data.py", lambda text: SAME)
    assert changed(before) == set()
    os.utime(toy / "stages" / "data.py", (1, 1))
    os.utime(toy / "stages" / "data.py")
    assert changed(before) == set()


@pytest.mark.parametrize(
    "old, new",
    [
        ("x + y", "x - y"),
        ("x + y", "y + x"),
        ("y=2", "y=3"),
        ("y=2", "y=2.0"),
        ("def h", "def k"),
        ("x=1, y=2", "y=2, x=1"),
        ("async def g", "def g"),
        ("def h(): pass", "def h(): 'doc'; return 'text'"),
        ("def h(): pass", "def h(): 1"),
        ("return x + y", "'text is no docstring'; z = 'text'; return x + y"),
        ("class A:", "class A(B):"),
        ("def h", "@cache\ndef h"),
    ],
)
def test_every_real_change_counts(toy, old, new):
    edit(toy / "stages" / "data.py", lambda text: PLAIN)
    before = digests()
    edit(toy / "stages" / "data.py", lambda text: text.replace(old, new, 1))
    assert changed(before) == {"data"}


def test_the_environment_counts_everywhere(toy, monkeypatch):
    before = digests()
    code_digest.REQUIREMENTS.write_text("numpy==2.4.7\n")
    assert changed(before) == set(STAGES)
    code_digest.REQUIREMENTS.unlink()
    assert changed(before) == set(STAGES)
    assert code_digest.closure("data")["envs/requirements.txt"] == "absent"


def test_closures_of_different_files_are_told_apart():
    assert code_digest.differences({"a": "1", "b": "2"}, {"a": "1", "b": "2"}) == []
    assert code_digest.differences(
        {"a": "1", "b": "2", "c": "3"}, {"d": "4", "b": "0", "a": "1"}
    ) == [
        "b",
        "c",
        "d",
    ]


# Facts about this package that a reader of the rules relies on.
KNOWN = {
    "workflow/job": set(stage_names.STAGES),
    "workflow/artifacts": set(stage_names.STAGES),
    "__main__": set(stage_names.STAGES),
    # Figures look up in the table of metrics which direction is better.
    "metrics/formulas/frechet_distance": {"reference_statistics", "arm_metrics", "figures"},
    "flow/samplers": {"samples"},
    "figures/shared/style": {"figures"},
    "training/loop": {"experts", "router", "classifier"},
    "workflow/streamed_artifacts": set(stage_names.STAGES),
    "data/sources/parquet": {"data"},
    "data/decoding": {"data"},
    "pretrained/text_encoders": {"text_embeddings"},
    "pretrained/autoencoders": {"latents", "lpips", "sample_features", "figures"},
    "partitions/labels": {"partition"},
    "partitions/membership": {"partition", "experts", "router", "figures"},
    "pretrained/image_networks/clip": {
        "fit_encoder",
        "embed",
        "clip_score_captions",
        "samples",
        "lpips",
        "sample_features",
    },
    "stages/audit": {"audit"},
    "config/experiment": set(),
    "config/cache": set(),
}


@pytest.mark.parametrize("name", KNOWN)
def test_who_sees_what_in_this_package(copy, name):
    before = digests(stage_names.STAGES)
    edit(copy / f"{name}.py", lambda text: text + "\nNEW = 1\n")
    assert changed(before) == KNOWN[name]


def test_a_copy_elsewhere_has_the_same_digests(copy):
    here = digests(stage_names.STAGES)
    code_digest.PACKAGE.rename(copy.with_name("other"))
    shutil.copytree(copy.with_name("other"), copy)
    assert digests(stage_names.STAGES) == here


def test_every_stage_sees_itself_the_door_and_the_environment():
    for stage in stage_names.STAGES:
        seen = code_digest.closure(stage)
        plumbing = {"routing/__main__.py", "routing/workflow/job.py", "envs/requirements.txt"}
        assert plumbing | {f"routing/stages/{stage}.py"} <= seen.keys()
        assert seen["envs/requirements.txt"] != "absent"
        assert list(seen) == sorted(seen) and all(len(d) == 16 for d in seen.values())


def test_nothing_is_imported_to_find_out(toy):
    edit(toy / "stages" / "data.py", lambda text: "raise SystemExit('imported')\n")
    assert "routing/stages/data.py" in code_digest.closure("data")


def test_every_import_of_the_package_is_of_a_form_that_is_seen():
    """A star import or `import_module` with a name made at run time would hide an edit."""
    for path in code_digest.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                where = f"{path.name}:{node.lineno}"
                assert node.level == 0, f"{where}: write imports from the root of the package"
                assert all(alias.name != "*" for alias in node.names), where
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                if name in ("import_module", "__import__"):
                    assert path.name == "__main__.py", f"{path.name}:{node.lineno}"


def test_toy_texts_are_python():
    for text in (*TOY.values(), SAME, PLAIN):
        ast.parse(textwrap.dedent(text))
