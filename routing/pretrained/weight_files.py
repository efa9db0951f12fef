"""The tensors in a file of weights, whichever of three formats it has."""

import zipfile
from pathlib import Path
from typing import Any


def tensors(path: Path) -> dict[str, Any]:
    """The tensors in a file: safetensors, a state dict, or an archive of TorchScript.

    A pickle is read for tensors alone; an archive is code of its maker, so read only files whose
    sha256 was looked at (`locate`).
    """
    import torch

    if path.suffix != ".safetensors" and (start := _start(path))[:1] != b"\x80":
        if not zipfile.is_zipfile(path):
            raise ValueError(
                f"weights: {path}: wanted a file that torch has saved, got one that begins with "
                f"{start!r}; fetch it again"
            )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_script(path):
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each of the three has its own kinds of errors
        text = " ".join(str(error).split())[:160]
        raise ValueError(f"weights: {path} cannot be read ({text}); fetch it again") from None
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(hasattr(v, "shape") for v in state.values()):
        raise ValueError(
            f"weights: {path}: wanted named tensors, got {type(state).__name__}; give a state dict"
        )
    return state


def refuse_broken(state: dict[str, Any], where: str) -> None:
    """Raise ValueError (one line) if weights are nan or inf: all features would be."""
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{where}: wanted finite weights, got nan or inf in {len(broken)} of {len(state)} "
            f"tensors, as {broken[0]}; give another file"
        )


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
