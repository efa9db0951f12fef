"""A simulated GPU: tensors on another device whose numbers are on the CPU.

    with simulated_gpu.SimulatedGPU() as gpu:
        x = torch.ones(3, device=gpu.device)      # or  .to(gpu.device)
        x + torch.ones(3)                         # raises MixedDevices, as CUDA would

It allows what CUDA allows: a scalar on the CPU as an operand, indices on the CPU, and copies.
Values equal those of the CPU bit for bit, so that the results of a computation on both devices can
be compared. A tensor must be moved back before it can become an array.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
ROWS = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}  # may be on the CPU
BLIND = {aten.is_pinned.default}


class MixedDevices(RuntimeError):
    """An operation was given tensors of two devices."""


class GPUTensor(torch.Tensor):
    """A tensor on the simulated device; `held` are its numbers, on the CPU."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=SimulatedGPU.device,
        )

    def __init__(self, held):
        self.held = held

    def tolist(self):
        """Return the numbers, which counts as a read."""
        return self.cpu().tolist()

    def __repr__(self):
        return f"GPUTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return on_device(func, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Make tensors from literals on the CPU and move them; torch would bypass the device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            func, args = torch.tensor, args[1:]
        if func is torch.tensor:
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(
                kwargs.get("device", "cpu")
            )
        return func(*args, **kwargs)


class SimulatedGPU(TorchDispatchMode):
    """A context in which every tensor that is made on `device` is a GPUTensor."""

    device = torch.device("meta")

    def __enter__(self):
        self.literals = Literals()
        self.literals.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.literals.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return on_device(func, args, kwargs or {})


NUM_READS = [0]


def num_reads():
    """Return how often numbers were read from the device, which makes the CPU wait."""
    return NUM_READS[0]


def on_device(func, args, kwargs):
    """Run `func` on the CPU; its results are on the device if its inputs or `device` are."""
    leaves, _ = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    here = [leaf for leaf in tensors if isinstance(leaf, GPUTensor)]
    is_here = bool(here)
    if kwargs.get("device") is not None:
        is_here = kwargs["device"].type == SimulatedGPU.device.type
        kwargs = kwargs | {"device": torch.device("cpu")}
    if here and func not in COPIES:
        check_devices(func, args, tensors)
    if func is aten.copy_.default:
        is_here = isinstance(args[0], GPUTensor)
    if func in (aten._pin_memory.default, aten.is_pinned.default):
        return args[0] if func is aten._pin_memory.default else False
    wrapped = {id(leaf.held): leaf for leaf in here}
    args, kwargs = tree_map(lambda a: a.held if isinstance(a, GPUTensor) else a, (args, kwargs))
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*args, **kwargs)
    if not is_here:
        NUM_READS[0] += bool(here)
        if func is aten._to_copy.default and here and found is args[0]:
            found = found.clone()
        return found

    def moved(a):
        """Return the original tensor after an operation in place, else a new one."""
        return wrapped[id(a)] if id(a) in wrapped else GPUTensor(a)

    return tree_map(lambda a: moved(a) if isinstance(a, torch.Tensor) else a, found)


def check_devices(func, args, tensors):
    """Raise MixedDevices if CUDA would not accept one of the tensors on the CPU."""
    rows = tree_flatten(args[1])[0] if func in ROWS else []
    for tensor in tensors:
        if isinstance(tensor, GPUTensor) or tensor.ndim == 0 or any(tensor is row for row in rows):
            continue
        raise MixedDevices(f"{func}: a tensor {tuple(tensor.shape)} on the CPU, others on the GPU")
