"""Networks of diffusers and transformers from a local folder: config.json and safetensors.

A folder is given by its path, or by its id in the manifest (`routing.pretrained.manifest`).
Nothing is downloaded and nothing is unpickled. A file that lacks some weights of the network is
an error.
"""

from pathlib import Path
from typing import Any

from torch import nn

from routing.pretrained import manifest
from routing.pretrained.weight_files import require_finite
from routing.workflow import devices


def locate_folder(folder: str) -> Path:
    """Return the folder of a path or an id. Raises ValueError if it is absent or wrong."""
    path = manifest.locate(folder) if folder in manifest.entries() else Path(folder)
    if not path.is_dir():
        raise ValueError(
            f"folder: wanted a folder on this machine or an id of the manifest, got {folder!r}; "
            f"list the ids with python -m routing.pretrained.manifest list"
        )
    return path


def require_file(folder: Path, *files: str) -> Path:
    """Return the path of the first of `files` in `folder`. Raises ValueError if it has none."""
    for path in (folder / name for name in files):
        if path.is_file():
            return path
    pickled = sorted(folder.glob("*.bin"))
    if pickled and files[0].endswith(".safetensors"):
        raise ValueError(
            f"folder: wanted {files[0]} in {folder}, got {pickled[0].name}, which is pickled and "
            f"can run any code; convert it to safetensors"
        )
    raise ValueError(f"folder: wanted {' or '.join(files)} in {folder}, got none; put it there")


def load_network(
    kind: Any, folder: Path, file: str, sha256: str | None = None, **options: Any
) -> tuple[nn.Module, str]:
    """Return the network of class `kind` (of diffusers or transformers) and the sha256 of `file`.

    The network is in float32, frozen, in evaluation mode, and on the GPU if there is one. Raises
    ValueError if the folder lacks something, or if `file` does not have the given `sha256`.
    """
    path = require_file(folder, file)
    require_file(folder, "config.json")
    digest = manifest.sha256_of(path)
    if sha256 not in (None, digest):
        raise ValueError(
            f"folder: wanted weights with sha256 {sha256}, got {digest} in {path}; use the "
            f"right file"
        )
    net, report = from_pretrained(
        kind, folder, use_safetensors=True, output_loading_info=True, **options
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise _load_error(kind, folder, f"{len(missing)} weights are missing: {missing[0]}")
    require_finite(net.state_dict(), f"folder: {path}")
    net = net.float().to(devices.best_device())
    return net.eval().requires_grad_(False), digest


def from_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder, **options)` of local files. Raises ValueError."""
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except Exception as error:  # whatever its type, it is about this folder
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        raise _load_error(kind, folder, detail) from None


def _load_error(kind: Any, folder: Path, detail: str) -> ValueError:
    return ValueError(
        f"folder: wanted {kind.__name__}, which cannot be loaded from {folder} ({detail}); use a "
        f"folder written by save_pretrained"
    )
