"""Pretrained networks from a folder on this machine: config.json and weights as safetensors.

A folder is named by its path, or by its id in the manifest (routing.pretrained.manifest), which
then says what
is in it. Nothing is fetched, nothing is unpickled, and no weight is left at its random start: a
network whose file lacks some of its weights is refused. The sha256 of the weights goes with it.
"""

from pathlib import Path
from typing import Any

from torch import nn

from routing.pretrained import manifest
from routing.pretrained.weight_files import refuse_broken
from routing.workflow import devices


def found(folder: str) -> Path:
    """The folder of a path or id. Raises ValueError if it is absent or not what it is called."""
    path = manifest.locate(folder) if folder in manifest.entries() else Path(folder)
    if not path.is_dir():
        raise ValueError(
            f"folder: wanted a folder on this machine or an id of the manifest, got {folder!r}; "
            f"python -m routing.pretrained.manifest list has the ids"
        )
    return path


def need(folder: Path, *files: str) -> Path:
    """The path of the first of these `files` that `folder` has; ValueError if it has none."""
    for path in (folder / name for name in files):
        if path.is_file():
            return path
    pickled = sorted(folder.glob("*.bin"))
    if pickled and files[0].endswith(".safetensors"):
        raise ValueError(
            f"folder: wanted {files[0]} in {folder}, got {pickled[0].name}, which is pickled and "
            f"may run any code; convert it to safetensors"
        )
    raise ValueError(f"folder: wanted {' or '.join(files)} in {folder}, got none; put it there")


def network(
    kind: Any, folder: Path, file: str, sha256: str | None = None, **options: Any
) -> tuple[nn.Module, str]:
    """The network of class `kind` (of diffusers or transformers), and the sha256 of its `file`.

    float32, on the GPU where there is one, frozen, in evaluation. Raises ValueError unless the
    folder holds all that the network needs, and a file of this `sha256` if one is wanted.
    """
    path = need(folder, file)
    need(folder, "config.json")
    digest = manifest.sha256_of(path)
    if sha256 not in (None, digest):
        raise ValueError(
            f"folder: wanted weights with sha256 {sha256}, got {digest} in {path}; give the file "
            f"that was meant"
        )
    net, report = loaded(kind, folder, use_safetensors=True, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise _not_one(kind, folder, f"{len(missing)} weights are not in {file}, as {missing[0]}")
    refuse_broken(net.state_dict(), f"folder: {path}")
    net = net.float().to(devices.best())
    return net.eval().requires_grad_(False), digest


def loaded(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained(folder, **options)` of files that are here, or a ValueError."""
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except Exception as error:  # of whatever kind: it is about this folder
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        raise _not_one(kind, folder, detail) from None


def _not_one(kind: Any, folder: Path, detail: str) -> ValueError:
    return ValueError(
        f"folder: wanted {kind.__name__}, got {folder}, from which none can be loaded ({detail}); "
        f"give the folder that save_pretrained wrote"
    )
