"""Where networks are computed: on a GPU where there is one, else on the CPU.

A stage asks for the device (`use`), puts its network there, moves what it reads batch by batch
(`moved`) and moves back what it writes. Samples stay memory-mapped (routing.data.shards). Choices:

    random numbers  are drawn on the CPU, noise by NumPy (routing.workflow.seeds), first weights
    by torch:
                    every device sees the same
    float32         is float32: no TF32 in products and convolutions, and no autocast; networks
                    that are trained here are small, and the mathematics is one on all devices
    float64         stays on the CPU: closed forms, Gram matrices, calibration and reports

On a CPU numbers repeat bit for bit; on a GPU sums run in an order of their own, and numbers agree
up to rounding. To use another kind of device, let `best` know its name.
"""

import os
import re
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch

Held = TypeVar("Held")
CPU = torch.device("cpu")
VARIABLE = "ROUTING_DEVICE"


def best() -> torch.device:
    """A GPU if torch sees one, else the CPU; the variable ROUTING_DEVICE overrules.

    Raises ValueError (one line) if the variable names no device, or one that is not there.
    """
    num = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = os.environ.get(VARIABLE) or ("cuda" if num else "cpu")
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if not found or (name != "cpu" and int(found[1] or 0) >= num):
        there = " or ".join(["cpu", *["cuda"] * bool(num), *(f"cuda:{i}" for i in range(num))])
        raise ValueError(f"device: wanted {there}, got {VARIABLE}={name!r}; unset or change it")
    if name != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False  # else convolutions do
    return torch.device(name)


def use(job) -> torch.device:
    """The best device, of which the provenance of the job's outputs will tell."""
    device = best()
    job.device = str(device)
    return device


def recorded(net: torch.nn.Module, *inputs: torch.Tensor) -> torch.nn.Module:
    """`net`, for calls net(*tensors) in these shapes; on a GPU its passes are CUDA graphs.

    Forward and backward are recorded on `inputs` and played back from then on: a small network
    costs a GPU less time than its hundreds of kernels take to be launched, and of many processes
    on one GPU each launch would wait for the others. Elsewhere it is `net` as it was.
    """
    if inputs[0].device.type != "cuda":
        return net
    # Recorded on a stream of its own, for which the backward pass knows to wait.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    return torch.cuda.make_graphed_callables(net, inputs)


def moved(held: Held, device: torch.device) -> Held:
    """`held` with its tensors on `device`.

    It is a tensor, or a dataclass, dict, list or tuple of what can be moved; anything else is
    left as it is. Nobody waits for a GPU that is busy with the step before: it is sent its copy
    through pinned memory, and may fetch it later.
    """
    if isinstance(held, torch.Tensor):
        if held.device.type == "cpu" and device.type == "cuda":
            return held.pin_memory().to(device, non_blocking=True)
        return held.to(device)
    if is_dataclass(held):
        parts = {field.name: moved(getattr(held, field.name), device) for field in fields(held)}
        return replace(held, **parts)
    if isinstance(held, dict):
        return {name: moved(part, device) for name, part in held.items()}
    if isinstance(held, list | tuple):
        return type(held)(moved(part, device) for part in held)
    return held
