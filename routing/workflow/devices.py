"""The device on which networks are computed: a GPU if there is one, else the CPU.

A stage calls `use_best_device`, puts its network there, copies its inputs there batch by batch
(`to_device`) and copies its outputs back. The same on every device:

    random numbers  are drawn on the CPU: noise by NumPy (`routing.workflow.seeds`), initial
                    weights by torch
    float32         is float32: no TF32 in matrix products and convolutions, and no autocast, for
                    the networks that are trained here
    float64         stays on the CPU: closed forms, Gram matrices, calibration and reports

On a CPU results repeat bit for bit. On a GPU sums have another order, so results agree up to
rounding. To add another kind of device, extend `best_device`.
"""

import os
import re
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch

Tensors = TypeVar("Tensors")
CPU = torch.device("cpu")
VARIABLE = "ROUTING_DEVICE"


def best_device() -> torch.device:
    """Return the device in the variable ROUTING_DEVICE, or else a GPU, or else the CPU.

    Raises ValueError if the variable names a device that does not exist.
    """
    num = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = os.environ.get(VARIABLE) or ("cuda" if num else "cpu")
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if not found or (name != "cpu" and int(found[1] or 0) >= num):
        there = " or ".join(["cpu", *["cuda"] * bool(num), *(f"cuda:{i}" for i in range(num))])
        raise ValueError(f"device: wanted {there}, got {VARIABLE}={name!r}; unset or change it")
    if name != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False  # for convolutions
    return torch.device(name)


def use_best_device(job) -> torch.device:
    """Return the best device, and record it in the provenance of the job's outputs."""
    device = best_device()
    job.device = str(device)
    return device


def as_cuda_graphs(net: torch.nn.Module, *inputs: torch.Tensor) -> torch.nn.Module:
    """Return `net` for calls with inputs of these shapes; on a GPU its passes are CUDA graphs.

    The forward and backward pass are recorded with `inputs` and replayed at every call. The
    kernels of a small network take less time than their launches, which would also wait for the
    other processes on the GPU. On a CPU `net` is returned unchanged.
    """
    if inputs[0].device.type != "cuda":
        return net
    # The graphs are recorded on their own stream, for which the backward pass waits.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    return torch.cuda.make_graphed_callables(net, inputs)


def to_device(held: Tensors, device: torch.device) -> Tensors:
    """Return `held` with its tensors on `device`.

    `held` is a tensor, or a nested dataclass, dict, list or tuple; other values are returned
    unchanged. Copies to a GPU use pinned memory and do not wait for its previous work.
    """
    if isinstance(held, torch.Tensor):
        if held.device.type == "cpu" and device.type == "cuda":
            return held.pin_memory().to(device, non_blocking=True)
        return held.to(device)
    if is_dataclass(held):
        parts = {
            field.name: to_device(getattr(held, field.name), device) for field in fields(held)
        }
        return replace(held, **parts)
    if isinstance(held, dict):
        return {name: to_device(part, device) for name, part in held.items()}
    if isinstance(held, list | tuple):
        return type(held)(to_device(part, device) for part in held)
    return held
