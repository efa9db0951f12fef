"""A GPU that is none: tensors that say "cuda:0", hold their numbers on the CPU and refuse to mix.

    with elsewhere.Device() as gpu:
        x = torch.ones(3, device=gpu.device)      # or  .to(gpu.device)
        x + torch.ones(3)                         # raises Mixed, as CUDA would

What CUDA allows is allowed: a number on the CPU as an operand, rows to be taken named on the CPU,
copies. Values are those of the CPU bit for bit, so that what a computation says here can be
compared with what it says there. The numbers of a tensor here are no array until it is moved back.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
ROWS = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}  # may be on the CPU
BLIND = {aten.is_pinned.default}


class Mixed(RuntimeError):
    """An operation was given tensors of two devices."""


class Here(torch.Tensor):
    """A tensor on the device; `held` are its numbers."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=Device.device,
        )

    def __init__(self, held):
        self.held = held

    def tolist(self):
        """Read, as of any tensor."""
        return self.cpu().tolist()

    def __repr__(self):
        return f"Here({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return on_device(func, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Numbers written out are made on the CPU and moved: torch would leave them out otherwise."""

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


class Device(TorchDispatchMode):
    """While it is entered, whatever is made on `device` is a tensor `Here`."""

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
    """How often the CPU has asked for numbers of the device, for which it waits."""
    return NUM_READS[0]


def on_device(func, args, kwargs):
    """Run `func` on the CPU; its results are on the device if its tensors are, or it says so."""
    leaves, _ = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    here = [leaf for leaf in tensors if isinstance(leaf, Here)]
    is_here = bool(here)
    if kwargs.get("device") is not None:
        is_here = kwargs["device"].type == Device.device.type
        kwargs = kwargs | {"device": torch.device("cpu")}
    if here and func not in COPIES:
        refuse_mixed(func, args, tensors)
    if func is aten.copy_.default:
        is_here = isinstance(args[0], Here)
    if func in (aten._pin_memory.default, aten.is_pinned.default):
        return args[0] if func is aten._pin_memory.default else False
    wrapped = {id(leaf.held): leaf for leaf in here}
    args, kwargs = tree_map(lambda a: a.held if isinstance(a, Here) else a, (args, kwargs))
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*args, **kwargs)
    if not is_here:
        NUM_READS[0] += bool(here)
        if func is aten._to_copy.default and here and found is args[0]:
            found = found.clone()
        return found

    def moved(a):
        """What an operation has changed in place stays the tensor that it was."""
        return wrapped[id(a)] if id(a) in wrapped else Here(a)

    return tree_map(lambda a: moved(a) if isinstance(a, torch.Tensor) else a, found)


def refuse_mixed(func, args, tensors):
    """Raise Mixed if there is a tensor of the CPU that CUDA would refuse."""
    rows = tree_flatten(args[1])[0] if func in ROWS else []
    for tensor in tensors:
        if isinstance(tensor, Here) or tensor.ndim == 0 or any(tensor is row for row in rows):
            continue
        raise Mixed(f"{func}: a tensor {tuple(tensor.shape)} of the CPU beside those of the GPU")
