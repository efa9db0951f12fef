"""What embedding costs above the network itself, on this machine.

    python benchmarks/embed.py [--check]

For each network, images of 32 pixels stored as bytes are embedded as the stage embed does it
(memory map, values, normalisation, resize, network, features on disk), against the same network
called on the same batches made ready beforehand. Both use the same threads in one process and run
in turn, round after round; the factor is the median over rounds of the ratios of throughput within
a round, so that what else the machine does falls on both sides.

MobileNetV2 is the real one if --weights names its file, else drawn; the ViT-S of DINOv2 is drawn,
in the layout of the published file: a forward pass costs the same. With --check the exit status
is 1 if a factor is below its bound.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from safetensors.torch import save_file

from routing.data import pixel_values
from routing.loading.feature_encoders import fitted_encoders
from routing.pretrained.image_networks import Backbone, DINOv2, Timm
from routing.stages import embed
from routing.workflow import artifacts
from routing.workflow.streamed_artifacts import write_array_blocks

BOUND = 0.9  # throughput of embedding over that of the bare network
STORED = 32  # pixels
REAL = {"pad_type": "same", "bn_eps": 1e-3, "num_classes": 1001}  # the shared file


def mobilenet(folder: Path, size: int, weights: Path | None) -> Backbone:
    """MobileNetV2 at `size` pixels, from its file or drawn."""
    import timm

    path = weights or folder / "mobilenet.safetensors"
    if weights is None:
        save_file(timm.create_model("mobilenetv2_100", **REAL).state_dict(), path)
    half = (0.5, 0.5, 0.5)
    options = {"image_size": size, "mean": half, "std": half, "options": REAL}
    return Timm("mobilenetv2_100", str(path), **options).load()


def vit(folder: Path, size: int) -> Backbone:
    """A drawn ViT-S/14 at `size` pixels."""
    import timm

    path = folder / "vit.safetensors"
    net = timm.create_model("vit_small_patch14_dinov2", num_classes=0)  # 518 pixels, as published
    save_file(net.state_dict(), path)
    return DINOv2("small", str(path), image_size=size).load()


def contestants(network: Backbone, stored: np.ndarray, folder: Path) -> dict:
    """Functions without argument that give the features of all of `stored`."""
    encode = fitted_encoders.NetworkEncoder(network, "none", {})
    path = folder / "samples.safetensors"
    path.write_bytes(artifacts.with_checksum(artifacts.arrays_bytes({"samples": stored}, {})))
    size = fitted_encoders.CPU_BATCH if encode.device == "cpu" else fitted_encoders.GPU_BATCH
    values = torch.from_numpy(pixel_values.to_values(stored, 255)).split(size)
    ready = [network.prepared(batch) for batch in values]

    def bare():
        with torch.inference_mode(), network.mixed():
            return torch.cat([network.net(batch).float() for batch in ready]).cpu().numpy()

    def whole():
        shard = artifacts.map_arrays(path)["samples"]
        blocks = embed.features(encode, shard, 255)
        made = write_array_blocks(folder / "features.safetensors", blocks, dict)
        return artifacts.map_arrays(made)["features"]

    np.testing.assert_allclose(whole(), bare(), rtol=1e-2, atol=1e-3)  # and both are warm
    return {"bare": bare, "embed": whole}


def measured(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; they take turns to be first."""
    seconds = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="mobilenet_v2_imagenet.safetensors")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help=f"fail below {BOUND:.1f}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    stored = rng.integers(256, size=(options.images, 3, STORED, STORED), dtype=np.uint8)
    factors = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = {
            "mobilenetv2 96 px": mobilenet(folder, 96, options.weights),
            "vit-s/14 98 px": vit(folder, 98),
        }
        device = next(iter(networks.values())).device.type
        print(
            f"{options.images} images of {STORED} px, {device}, {torch.get_num_threads()} threads,"
            f" {options.rounds} rounds\n"
        )
        print(f"{'network':<20}{'bare_per_s':>12}{'embed_per_s':>12}{'factor':>8}")
        for label, network in networks.items():
            with contextlib.redirect_stderr(io.StringIO()):  # the bar of the stage
                seconds = measured(contestants(network, stored, folder), options.rounds)
            pairs = zip(seconds["bare"], seconds["embed"], strict=True)
            factors.append(median(bare / whole for bare, whole in pairs))
            speed = [options.images / median(seconds[run]) for run in ("bare", "embed")]
            print(f"{label:<20}{speed[0]:>12.1f}{speed[1]:>12.1f}{factors[-1]:>8.3f}", flush=True)
    print(f"\nembed / bare  {min(factors):.3f} at least  (bound {BOUND:.1f})")
    return int(options.check and min(factors) < BOUND)


if __name__ == "__main__":
    sys.exit(main())
