"""DINOv2 as the published code computes it, in float64."""

import math

import torch
import torch.nn.functional as F

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def cubic(s):
    """Keys' kernel with a = -3/4, as torch's bicubic has it without antialias."""
    s, a = abs(s), -0.75
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def published_grid(old, new):
    """The matrix [new, old] by which the hub's code resamples one axis of the positions."""
    matrix, scale = torch.zeros(new, old, dtype=torch.float64), old / (new + 0.1)
    scale = 1 / ((new + 0.1) / old)
    for i in range(new):
        at = (i + 0.5) * scale - 0.5
        first = math.floor(at)
        for j in range(first - 1, first + 3):
            matrix[i, min(max(j, 0), old - 1)] += cubic(at - j)
    return matrix


def published(state, x, num_heads, size=224):
    """The normed class token of the published DINOv2 for images in [-1, 1], in float64."""
    s = {name: value.double() for name, value in state.items()}
    x = F.interpolate(x.double(), (size, size), mode="bicubic", antialias=True)
    x = ((x + 1) / 2 - MEAN.double()[:, None, None]) / STD.double()[:, None, None]
    dim, grid = s["cls_token"].shape[-1], size // 14
    patches = x.reshape(len(x), 3, grid, 14, grid, 14).permute(0, 2, 4, 1, 3, 5).flatten(3)
    kernel = s["patch_embed.proj.weight"].flatten(1)
    tokens = patches.flatten(1, 2) @ kernel.T + s["patch_embed.proj.bias"]
    side = round((s["pos_embed"].shape[1] - 1) ** 0.5)
    table = s["pos_embed"][0, 1:].reshape(side, side, dim)
    if side != grid:
        M = published_grid(side, grid)
        table = torch.einsum("ia,jb,abd->ijd", M, M, table)
    tokens = tokens + table.reshape(-1, dim)
    first = (s["cls_token"] + s["pos_embed"][:, :1]).expand(len(x), 1, dim)
    h = torch.cat([first, tokens], 1)

    def norm(h, name):
        centred = h - h.mean(-1, keepdim=True)
        h = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return h * s[f"{name}.weight"] + s[f"{name}.bias"]

    def linear(h, name):
        return h @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    depth = len({name.split(".")[1] for name in s if name.startswith("blocks.")})
    for i in range(depth):
        b = f"blocks.{i}"
        qkv = linear(norm(h, f"{b}.norm1"), f"{b}.attn.qkv")
        q, k, v = qkv.reshape(*h.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        p = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        said = (p @ v).transpose(1, 2).flatten(2)
        h = h + s[f"{b}.ls1.gamma"] * linear(said, f"{b}.attn.proj")
        g = norm(h, f"{b}.norm2")
        if f"{b}.mlp.w12.weight" in s:
            gate, value = linear(g, f"{b}.mlp.w12").chunk(2, -1)
            g = linear(gate * torch.sigmoid(gate) * value, f"{b}.mlp.w3")
        else:
            g = linear(g, f"{b}.mlp.fc1")
            g = linear(g * 0.5 * (1 + torch.erf(g / 2**0.5)), f"{b}.mlp.fc2")
        h = h + s[f"{b}.ls2.gamma"] * g
    return norm(h[:, 0], "norm")
