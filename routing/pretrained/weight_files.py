"""Files of weights: read their tensors, and load them into a network."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

# What wrappers write in front of the names of a network, alone or one in another:
# DataParallel, torch.compile, Lightning, averages of weights.
WRAPPERS = ("module.", "_orig_mod.", "model.", "ema.")
PREFIXES = (*WRAPPERS, *(a + b for a in WRAPPERS for b in WRAPPERS if a != b))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file: safetensors, a state dict, or a TorchScript archive.

    Of a pickle only tensors are read. An archive can run code, so read only files whose sha256
    was checked (`routing.pretrained.manifest.locate`). Raises ValueError on other files.
    """
    if path.suffix != ".safetensors" and (start := _start(path))[:1] != b"\x80":
        if not zipfile.is_zipfile(path):
            raise ValueError(
                f"weights: {path}: wanted a file saved by torch, got one that begins with "
                f"{start!r}; fetch it again"
            )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_script(path):
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the formats have different errors
        text = " ".join(str(error).split())[:160]
        raise ValueError(f"weights: {path} cannot be read ({text}); fetch it again") from None
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(hasattr(v, "shape") for v in state.values()):
        raise ValueError(
            f"weights: {path}: wanted named tensors, got {type(state).__name__}; use a state dict"
        )
    return state


def require_finite(state: dict[str, Tensor], where: str) -> None:
    """Raise ValueError, one line that begins with `where`, if weights are nan or inf."""
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{where}: wanted finite weights, got nan or inf in {len(broken)} of {len(state)} "
            f"tensors, for example {broken[0]}; use another file"
        )


def load_weights(net: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load all tensors of `state` into `net`, as float32.

    Raises ValueError, one line that begins with `where`, on a tensor that is missing (except the
    batch counts of batch normalisation), unknown, of another shape or not finite.
    """
    wanted = net.state_dict()
    names = [name for name in wanted if name.endswith(".num_batches_tracked")]
    counts = dict.fromkeys(names, torch.tensor(0, device="cpu"))
    state = {n: t.float() if t.is_floating_point() else t for n, t in (counts | state).items()}
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in wanted]
    problems += [
        f"{name} has shape {list(state[name].shape)} for {list(wanted[name].shape)}"
        for name in wanted
        if name in state and list(state[name].shape) != list(wanted[name].shape)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"{where}: the weights do not fit the network: "
            f"{', '.join(problems[:3])}{more}; {_remedy(set(state) - set(counts), set(wanted))}"
        )
    require_finite(state, where)
    net.load_state_dict(state, strict=True, assign=True)
    assert not any(t.is_meta for t in [*net.parameters(), *net.buffers()]), where


def _remedy(names: set[str], wanted: set[str]) -> str:
    """Return what to do with a file that has tensors `names` for a network with `wanted`."""
    for prefix in PREFIXES:
        bare = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        if bare & wanted and not names & wanted:
            return (
                f"{len(bare)} of its {len(names)} names begin with {prefix!r}, as in the file of "
                f"a training: save these tensors alone, without the {prefix!r}"
            )
    return "use the file that belongs to the options"


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
