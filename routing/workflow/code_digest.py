"""Digests of the code that a stage imports.

Snakemake notices neither an edit to an imported module nor a change of the environment, so every
rule has `stage_digest(stage)` as a parameter. It is the digest of the pinned requirements and of
the syntax trees of all modules of this package that the stage imports, directly or through other
modules, without docstrings and comments. So an edit reruns exactly the stages that import the
edited module, and an edit of a comment or a new file time reruns nothing. Modules are parsed and
not imported, so the Snakefile can compute this for every rule.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
REQUIREMENTS = PACKAGE.parent / "envs" / "requirements.txt"


def closure(stage: str) -> dict[str, str]:
    """Return the digest (16 hex digits) of each file that `stage` depends on.

    These are the modules that it imports and the pinned requirements.
    """
    return module_closure("routing.__main__", f"routing.stages.{stage}")


def module_closure(*modules: str) -> dict[str, str]:
    """Return the digest (16 hex digits) of each file that these modules depend on."""
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = _file(module)
        if path is None:
            continue
        name = path.relative_to(PACKAGE.parent).as_posix()
        if name in seen:
            continue
        digest, imports = _read(path, path.stat().st_mtime_ns)
        seen[name] = digest
        waiting += imports
    seen["envs/requirements.txt"] = _environment()
    return dict(sorted(seen.items()))


def stage_digest(stage: str) -> str:
    """Return one digest (16 hex digits) of `closure(stage)`."""
    return _digest(closure(stage))


def module_digest(module: str) -> str:
    """Return one digest (16 hex digits) of all files that a module depends on."""
    return _digest(module_closure(module))


def differences(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """Return the names of the files whose digests differ, or that only one of the two has."""
    return sorted(n for n in recorded.keys() | here.keys() if recorded.get(n) != here.get(n))


@cache
def _read(path: Path, _mtime_ns: int) -> tuple[str, list[str]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    node.body = node.body[1:] or [ast.Pass()]
    return _sha(ast.dump(tree).encode()), _imports(tree)


def _imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    parents = [".".join(n.split(".")[:i]) for n in found for i in range(1, n.count(".") + 2)]
    return sorted({n for n in parents if n.split(".")[0] == "routing"})


def _file(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
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
