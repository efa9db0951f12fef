"""Networks with random weights, as diffusers, transformers, open_clip and torchvision write them.

All are tiny but VGG-16, whose trunk LPIPS wants whole.
"""

import json
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file


def autoencoder(folder):
    """Three levels (4 pixels to a latent), two latent channels, outputs beyond [-1, 1]."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    net = AutoencoderKL(
        block_out_channels=(4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=2,
        sample_size=16,
    ).eval()
    with torch.no_grad():
        net.decoder.conv_out.weight *= 2
    net.save_pretrained(folder)
    return net


WORDS = ["a", "red", "fox", "blue", "sky", "quiet"]


def clip(folder):
    """One layer, eight word pieces at most, a tokenizer that knows letters and WORDS."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    pieces = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = ["".join(parts[:2]), *parts[2:]]
            pieces.append(parts[0])
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    CLIPTokenizer(vocabulary, list(dict.fromkeys(merges))).save_pretrained(folder)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=len(pieces) - 2,
        eos_token_id=len(pieces) - 1,
    )
    net = CLIPTextModel(config).eval()
    for parameter in net.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    net.save_pretrained(folder)
    return net


def both_towers(folder):
    """A CLIP as open_clip's `local-dir:` has it: images of 32 pixels, 77 word pieces."""
    from open_clip.model import CLIP

    config = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 64,
            "patch_size": 8,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        },
    }
    torch.manual_seed(0)
    net = CLIP(**config, quick_gelu=False).eval()
    for parameter in net.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(net.token_embedding.weight)
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return net


def vgg16(path):
    """The convolutions of torchvision's VGG-16, in half precision: 29 MB."""
    from torchvision import models

    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = models.vgg16().features.state_dict()
    state = {}
    for name, like in shapes.items():  # He: activations of about one size in every layer
        spread = (2 / like[0].numel()) ** 0.5 if like.dim() > 1 else 0.1
        state[f"features.{name}"] = (spread * torch.randn(like.shape)).half()
    save_file(state, path)


def copied(folder, to, weights=None, **config):
    """A copy of `folder` with other values in its config, and `weights(dict)` applied."""
    shutil.copytree(folder, to)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    if weights is not None:
        (file,) = to.glob("*.safetensors")
        arrays = load_file(file)
        weights(arrays)
        save_file(arrays, file, {"format": "pt"})
    return to


def fill(value):
    """To use as `weights`: every weight is `value`."""
    return lambda arrays: [a.fill_(value) for a in arrays.values()]


@pytest.fixture
def offline(monkeypatch):
    """Whoever reaches for the network fails."""

    def refuse(*what, **options):
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
