"""The diffusion transformer (DiT): one network for experts and for learned routers.

An image becomes tokens z (one per patch) of `width` features, to which every block adds

    z <- z + gate_1 attention((1 + scale_1) norm(z) + shift_1)
    z <- z + cross_attention(z, text)                      only with `text_dim`; no norm, no gate
    z <- z + gate_2 mlp((1 + scale_2) norm(z) + shift_2)

The six vectors come from c = time_embed(t) + label_embed(label): by a linear map of silu(c) in
every block ("adaln": DiT, Peebles & Xie 2023, arXiv:2212.09748), or by one such map for all blocks
plus a table in each ("adaln_single": PixArt-alpha, Chen et al. 2024, arXiv:2310.00426). A final
layer, modulated in the same way, maps the tokens to a velocity; or a head maps a CLS token to
logits. At initialisation every block is the identity and the output is 0. The experts and the
router of Paris (Jiang et al. 2025, arXiv:2510.03434) are two sets of options; parameters have the
names of its published weights. To add a modulation, add its name to MODULATIONS and compute its
vectors in `Modulated`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from routing.flow.paths import Time
from routing.networks.embeddings import (
    Image,
    grid_sinusoid,
    patchify,
    sinusoid,
    unpatchify,
)

MODULATIONS = ("adaln", "adaln_single")
TIME_FEATURES = 256

Tokens = Float[Tensor, "batch tokens width"]
Modulation = Float[Tensor, "batch vectors width"]  # c, or the 6 vectors that all blocks share
Vector = Float[Tensor, "batch 1 width"]
Text = Float[Tensor, "batch keys features"]
TextMask = Bool[Tensor, "batch keys"]  # True where a text token is attended to


@dataclass(frozen=True)
class Architecture:
    """The options that determine the parameters of a `DiT`.

    `num_classes` adds a class label; the label `num_classes` is the null class of classifier-free
    guidance. `text_dim` adds text tokens with that many features. `num_logits` replaces the
    velocity by logits. None disables an option.
    """

    image_size: int
    channels: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    modulation: str = "adaln"
    num_classes: int | None = None
    text_dim: int | None = None
    num_logits: int | None = None

    def __post_init__(self):
        """Validate the options."""
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.modulation not in MODULATIONS:
            names = ", ".join(MODULATIONS)
            raise ValueError(f"modulation must be one of {names}, got {self.modulation!r}")
        if self.image_size % self.patch_size:
            whole = f"image_size={self.image_size}"
            raise ValueError(f"patch_size must divide {whole}, got {self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width={self.width}, got {self.num_heads}")
        if self.width % 4:
            wanted = "a multiple of 4 (positions in two directions)"
            raise ValueError(f"width must be {wanted}, got {self.width}")


class Attention(nn.Module):
    """Multi-head attention with the parameters of nn.MultiheadAttention."""

    def __init__(self, width: int, num_heads: int, out_gain: float = 1.0):
        """Initialise as in DiT, with gain `out_gain` for the output map."""
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj = _linear(width, width, out_gain)

    def forward(
        self, z: Tokens, context: Text | None = None, mask: TextMask | None = None
    ) -> Tokens:
        """Return self-attention of `z`, or cross-attention to `context` where `mask` is True."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if context is None:
            q, k, v = F.linear(z, weight, bias).chunk(3, dim=-1)
        else:
            sizes = (z.shape[-1], 2 * z.shape[-1])
            (weight_q, weight_kv), (bias_q, bias_kv) = weight.split(sizes), bias.split(sizes)
            q = F.linear(z, weight_q, bias_q)
            k, v = F.linear(context, weight_kv, bias_kv).chunk(2, dim=-1)
        q, k, v = (y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in (q, k, v))
        mask = None if mask is None else mask[:, None, None]  # batch heads queries keys
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Modulated(nn.Module):
    """A layer modulated by `num` vectors (shift, scale, ...) computed from the condition."""

    def __init__(self, a: Architecture, num: int):
        """Initialise all vectors to 0."""
        super().__init__()
        self.num, self.is_shared = num, a.modulation == "adaln_single"
        if self.is_shared:
            # Departs from PixArt-alpha, which draws the table: zeros close the gates, as in DiT.
            self.scale_shift_table = nn.Parameter(torch.zeros(num, a.width))
        else:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), _linear(a.width, num * a.width, 0.0))

    def vectors(self, c: Modulation) -> tuple[Vector, ...]:
        """Return the `num` vectors for the condition `c`."""
        if self.is_shared:
            return (self.scale_shift_table + c).chunk(self.num, dim=1)
        return self.adaLN_modulation(c).chunk(self.num, dim=-1)


class Block(Modulated):
    """Self-attention, cross-attention where there is text, and the MLP."""

    def __init__(self, a: Architecture):
        """Initialise as the identity."""
        super().__init__(a, num=6)
        width, hidden = a.width, int(a.width * a.mlp_ratio)
        self.attn = Attention(width, a.num_heads)
        self.cross_attn = None if a.text_dim is None else Attention(width, a.num_heads, 0.0)
        self.mlp = nn.Sequential(_linear(width, hidden), nn.GELU("tanh"), _linear(hidden, width))

    def forward(
        self, z: Tokens, c: Modulation, text: Text | None = None, mask: TextMask | None = None
    ) -> Tokens:
        """Return the tokens after this block."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.vectors(c)
        z = torch.addcmul(z, gate_1, self.attn(modulated_norm(z, shift_1, scale_1)))
        if self.cross_attn is not None:
            z = z + self.cross_attn(z, text, mask)
        return torch.addcmul(z, gate_2, self.mlp(modulated_norm(z, shift_2, scale_2)))


class DiT(nn.Module):
    """The diffusion transformer of an `Architecture`."""

    def __init__(self, architecture: Architecture):
        """Draw the initial weights from torch's global generator."""
        super().__init__()
        self.architecture = a = architecture
        d, side = a.width, a.image_size // a.patch_size
        self.patch_embed = nn.Conv2d(a.channels, d, a.patch_size, a.patch_size)
        nn.init.xavier_uniform_(self.patch_embed.weight.detach().flatten(1))
        nn.init.zeros_(self.patch_embed.bias)
        self.pos_embed = nn.Parameter(grid_sinusoid(side, d)[None])
        # Departs from DiT, whose std of 0.02 for time and label suits width 1152, not width 64.
        mlp = nn.Sequential(_linear(TIME_FEATURES, d), nn.SiLU(), _linear(d, d))
        self.time_embed = nn.ModuleDict({"mlp": mlp})
        if a.num_classes is not None:
            self.label_embed = nn.Embedding(a.num_classes + 1, d)
            nn.init.normal_(self.label_embed.weight, std=d**-0.5)
        if a.text_dim is not None:
            self.text_proj = _linear(a.text_dim, d)
        if a.modulation == "adaln_single":
            self.t_block = nn.Sequential(nn.SiLU(), _linear(d, 6 * d, 0.0))
        self.layers = nn.ModuleList(Block(a) for _ in range(a.depth))
        if a.num_logits is None:
            self.final_layer = Modulated(a, num=2)
            self.final_layer.linear = _linear(d, a.patch_size**2 * a.channels, 0.0)
        else:
            self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, d))
            hidden = [_linear(d, d), nn.GELU("tanh"), nn.LayerNorm(d), nn.GELU("tanh")]
            self.head = nn.Sequential(*hidden, _linear(d, a.num_logits, 0.0))

    def forward(
        self,
        x: Image,
        t: Time,
        label: Int[Tensor, " batch"] | None = None,
        text: Text | None = None,
        text_mask: TextMask | None = None,
    ) -> Image | Float[Tensor, "batch logits"]:
        """Return the velocity at `x` and time `t`, or the logits.

        Keep `t` in float32, because it is scaled by 1000. Raises ValueError if the inputs do not
        fit the architecture. On a GPU, a label out of range fails with CUDA's own assertion.
        """
        a, p = self.architecture, self.architecture.patch_size
        _check_inputs(a, x, label, text, text_mask)
        # Equals embed(x), but with contiguous tokens: strided ones would slow every later layer.
        embed = self.patch_embed
        z = F.linear(patchify(x, p), embed.weight.flatten(1), embed.bias) + self.pos_embed
        if a.num_logits is not None:
            z = torch.cat([self.cls_token.expand(len(z), -1, -1), z], dim=1)
        c = self.time_embed["mlp"](sinusoid(1000 * t, TIME_FEATURES).to(z.dtype))[:, None]
        if label is not None:
            c = c + _embedded(self.label_embed, label)[:, None]
        if text is not None:
            text = self.text_proj(text)
        vectors = c if a.modulation == "adaln" else self.t_block(c).view(-1, 6, a.width)
        for layer in self.layers:
            z = layer(z, vectors, text, text_mask)
        if a.num_logits is not None:
            return self.head(z[:, 0])
        z = modulated_norm(z, *self.final_layer.vectors(c))
        return unpatchify(self.final_layer.linear(z), p)


def modulated_norm(z: Tokens, shift: Vector, scale: Vector) -> Tokens:
    """Return (1 + scale) norm(z) + shift ; the norm is over features, without parameters."""
    return torch.addcmul(shift, F.layer_norm(z, z.shape[-1:]), 1 + scale)


def flop_per_sample(net: DiT, num_text_tokens: int = 0) -> int:
    """Return the FLOP of a forward pass on one sample: matrix products, 2 per multiply-add."""
    a, like = net.architecture, net.pos_embed
    if (num_text_tokens > 0) != (a.text_dim is not None):
        wanted = "0" if a.text_dim is None else "1 or more"
        raise ValueError(f"num_text_tokens must be {wanted} here, got {num_text_tokens}")
    x = like.new_zeros(1, a.channels, a.image_size, a.image_size)
    label = None if a.num_classes is None else like.new_zeros(1, dtype=torch.long)
    text = None if a.text_dim is None else like.new_zeros(1, num_text_tokens, a.text_dim)
    # The counter counts 0 for the fused attention of CPUs.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(x, like.new_zeros(1), label, text)
    return counter.get_total_flops()


def _linear(num_inputs: int, num_outputs: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _embedded(embedding: nn.Embedding, label: Tensor) -> Tensor:
    try:  # the lookup checks the range for free
        return embedding(label)
    except IndexError:
        null, got = embedding.num_embeddings - 1, f"{label.min()}..{label.max()}"
        raise ValueError(f"label must be in 0..{null} ({null}: null class), got {got}") from None


def _check_inputs(a: Architecture, x: Tensor, label, text, text_mask) -> None:
    if x.shape[1:] != (a.channels, a.image_size, a.image_size):
        wanted = f"(batch, {a.channels}, {a.image_size}, {a.image_size})"
        raise ValueError(f"x must be {wanted}, got {tuple(x.shape)}")
    for name, value, option in (("label", label, "num_classes"), ("text", text, "text_dim")):
        size = getattr(a, option)
        if (value is None) != (size is None):
            verb = "give" if value is None else "leave out"
            raise ValueError(f"{verb} {name}: this network has {option}={size}")
    if text is not None and text.shape[-1] != a.text_dim:
        raise ValueError(f"text must have text_dim={a.text_dim} features, got {text.shape[-1]}")
    if text is None and text_mask is not None:
        raise ValueError("leave out text_mask: this network has text_dim=None")
