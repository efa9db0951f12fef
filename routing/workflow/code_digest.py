"""Digests of the code that a stage imports.

Snakemake notices neither an edit to an imported module nor a change of the environment, so every
rule has `stage_digest(stage)` as a parameter. It is the digest of the pinned requirements and of
the syntax trees of all modules of this package that the stage imports, directly or through other
modules, without docstrings and comments. So an edit reruns exactly the stages that import the
edited module, and an edit of a comment or a new file time reruns nothing. Modules are parsed and
not imported, so the Snakefile can compute this for every rule.

A stage depends on an installed package if a module that it imports looks up a table of choices,
with_plugins("group", ...) or tables = {option: ("group", ...)}, to which the package adds rows
(`routing.workflow.plugin_packages`). Then all Python files of the package count, its version, its
entry points for these tables, and what the modules that they name import of this package.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from routing.workflow import plugin_packages
from routing.workflow.plugin_packages import PluginPackage

PACKAGE = Path(__file__).parents[1]
REQUIREMENTS = PACKAGE.parent / "envs" / "requirements.txt"


class Source(NamedTuple):
    """What matters of one source file."""

    digest: str  # 16 hex digits
    imports: tuple[str, ...]  # names as written, those of relative imports with their dots
    groups: tuple[str, ...]  # the tables of choices that it looks up


def closure(stage: str) -> dict[str, str]:
    """Return the digest (16 hex digits) of each file that `stage` depends on.

    These are the modules that it imports, the pinned requirements, and of every installed package
    that adds rows to its tables `plugin:<distribution>/<file>`, with the names `version` and
    `entry_points` for these.
    """
    return module_closure("routing.__main__", f"routing.stages.{stage}")


def module_closure(*modules: str) -> dict[str, str]:
    """Return the digest (16 hex digits) of each file that these modules depend on."""
    sources, packages = _reached(modules)
    seen = {path.relative_to(PACKAGE.parent).as_posix(): s.digest for path, s in sources.items()}
    seen |= plugin_digests(packages)
    seen["envs/requirements.txt"] = _environment()
    return dict(sorted(seen.items()))


def plugins(stage: str) -> dict[str, str]:
    """Return {distribution: version} of the installed packages that add rows to its tables."""
    _, packages = _reached(["routing.__main__", f"routing.stages.{stage}"])
    return {package.distribution: package.version for package in packages}


def plugin_digests(packages: list[PluginPackage]) -> dict[str, str]:
    """Return the digests of the files, the version and the entry points of packages."""
    seen = {}
    for package in packages:
        name = f"plugin:{package.distribution}"
        for file, path in package.files.items():
            seen[f"{name}/{file}"] = _read(path, path.stat().st_mtime_ns).digest
        seen[f"{name}/version"] = _sha(package.version.encode())
        seen[f"{name}/entry_points"] = _sha("\n".join(package.rows).encode())
    return seen


def stage_digest(stage: str) -> str:
    """Return one digest (16 hex digits) of `closure(stage)`."""
    return _digest(closure(stage))


def module_digest(module: str) -> str:
    """Return one digest (16 hex digits) of all files that a module depends on."""
    return _digest(module_closure(module))


def differences(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """Return the names of the files whose digests differ, or that only one of the two has."""
    return sorted(n for n in recorded.keys() | here.keys() if recorded.get(n) != here.get(n))


def _reached(
    modules: list[str] | tuple[str, ...],
) -> tuple[dict[Path, Source], list[PluginPackage]]:
    """Return the sources of this package that `modules` import, and the packages with rows.

    Modules of these packages are followed from those that their entry points name.
    """
    sources: dict[Path, Source] = {}
    roots, seen, groups = {"routing": [PACKAGE.parent]}, set(), set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = None if module in seen else _file(module, roots)
        seen.add(module)
        if path is None:
            continue
        source = _read(path, path.stat().st_mtime_ns)
        if module.split(".")[0] == "routing":
            sources[path] = source
        for package in plugin_packages.packages(list(set(source.groups) - groups)):
            roots |= package.roots | {"routing": [PACKAGE.parent]}
            waiting += _with_parents(package.modules)
        groups |= set(source.groups)
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        names = _with_parents(_absolute(source.imports, inside))
        waiting += [name for name in names if name.split(".")[0] in roots]
    return sources, plugin_packages.packages(sorted(groups))


@cache
def _read(path: Path, _mtime_ns: int) -> Source:
    data = path.read_bytes()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        if path.is_relative_to(PACKAGE):
            raise
        return Source(_sha(data), (), ())  # a file of another package, which may not be in use
    found = Source("", tuple(_imports(tree)), tuple(_groups(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    node.body = node.body[1:] or [ast.Pass()]
    return found._replace(digest=_sha(ast.dump(tree).encode()))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module imports, as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            between = "." if node.module else ""
            yield from (f"{base}{between}{alias.name}" for alias in node.names)


def _groups(tree: ast.AST) -> Iterator[str]:
    """Yield the tables of choices that a module looks up."""
    for node in ast.walk(tree):
        group = None
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            group = [node.args[0]] if name == "with_plugins" else []
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(getattr(target, "id", None) == "tables" for target in targets):
                group = [v.elts[0] for v in node.value.values if isinstance(v, ast.Tuple)]
        yield from (g.value for g in group or [] if isinstance(g, ast.Constant))


def _absolute(names: tuple[str, ...], package: str) -> list[str]:
    """Return names of imports in `package` without leading dots."""
    return [
        importlib.util.resolve_name(name, package)
        for name in names
        if not name.startswith(".") or len(name) - len(name.lstrip(".")) <= package.count(".") + 1
    ]


def _with_parents(names: list[str] | tuple[str, ...]) -> list[str]:
    parents = [".".join(n.split(".")[:i]) for n in names for i in range(1, n.count(".") + 2)]
    return sorted(set(parents))


def _file(module: str, roots: dict[str, list[Path]]) -> Path | None:
    for folder in roots.get(module.split(".")[0], []):
        base = folder.joinpath(*module.split("."))
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
    return None


def _digest(files: dict[str, str]) -> str:
    return _sha("\n".join(f"{name} {digest}" for name, digest in files.items()).encode())


def _environment() -> str:
    return _sha(REQUIREMENTS.read_bytes()) if REQUIREMENTS.is_file() else "absent"


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
