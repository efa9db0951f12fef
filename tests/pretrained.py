"""Tiny networks with random weights in folders, as diffusers and transformers write them."""

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
