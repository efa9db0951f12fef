"""Published weights give published values, where their files are; no test here draws any.

Each test wants one file of the manifest, in $ROUTING_WEIGHTS or weights/, and is skipped with its
id where that is absent (a file that is there and is not what it should be fails). Nothing is
fetched. Values come from three places: published numbers (the source beside each), the library
that published them run on the same file, and the published forward written down in float64. With
networks of random weights the other tests ask the same; only here could a wrong normalisation, a
swapped channel or another activation be what everybody calls FID.

Not asked, since no file of the manifest has their images or their network: CMMD 7.696 of
cmmd-pytorch (a few pictures of its repository), precision and recall of torch-fidelity (VGG-16).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from dinov2_reference import published
from places import ROOT
from pretrained import offline  # noqa: F401

from routing.data import pixel_values
from routing.metrics.feature_space_names import WEIGHTS
from routing.metrics.formulas.clip_score import cosines
from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.metrics.formulas.inception_score import inception_score, torch_fidelity_order
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.lpips_distance import paired_distances
from routing.pretrained import manifest
from routing.pretrained.clip_text_networks import TextTower
from routing.pretrained.image_networks import BACKBONES, CLIP, DINOv2, Inception
from routing.pretrained.image_networks.clip import CLIP_WEIGHTS
from routing.pretrained.lpips_networks import NETS, LPIPSNetwork
from routing.pretrained.weight_files import read_tensors
from routing.workflow import choices

pytestmark = pytest.mark.usefixtures("offline")
CHINA = 0  # of scikit-learn's two sample images: a palace with tiled roofs, and a dahlia
CAPTIONS = ["a photo of a temple in China", "a close-up photo of a flower"]
HEADS = {"dinov2-small": 6, "dinov2-base": 12, "dinov2-large": 16}
ASKED = ["inception-v3", *HEADS, *CLIP_WEIGHTS.values(), *(net.weights for net in NETS.values())]


def needed(name):
    """The file of an id of the manifest; a skip if it is absent, an error if it is another."""
    (file,) = manifest.entry(name).files
    path = manifest.weights_folder() / file.file
    if not path.is_file():
        pytest.skip(f"{name}: absent, {path}")
    return manifest.locate(name)


@pytest.fixture(scope="module")
def photographs():
    """Bytes [2, 3, 427, 427]: the squares in the middle."""
    from sklearn.datasets import load_sample_images

    stored = np.stack(load_sample_images().images)
    left = (stored.shape[2] - stored.shape[1]) // 2
    return torch.from_numpy(stored[:, :, left : left + stored.shape[1]]).permute(0, 3, 1, 2)


def values(stored):
    """In [-1, 1]."""
    return torch.from_numpy(pixel_values.to_values(np.ascontiguousarray(stored), 255))


def relative(found, truth):
    return ((found.cpu().double() - truth).norm() / truth.norm()).item()


def test_every_file_that_a_metric_reads_is_asked():
    trunks = {net.weights for net in NETS.values()}
    assert sorted(ASKED) == sorted(trunks | set(WEIGHTS.values()) - {"dinov2-giant"})  # 4.5 GB


def test_a_file_that_is_another_is_no_reason_to_skip(tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTING_WEIGHTS", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="lpips-alex: absent"):
        needed("lpips-alex")
    (tmp_path / manifest.entry("lpips-alex").files[0].file).write_bytes(b"another")
    with pytest.raises(ValueError, match="wanted 244408911 bytes, got 7"):
        needed("lpips-alex")


# Inception-v3 of torch-fidelity: FID, KID, IS.


def test_inception_is_torch_fidelitys(photographs):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = needed("inception-v3")
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        feature_extractor_weights_path=str(path),
    )
    ours = Inception().load()
    small = photographs[:, :, ::8, ::8].contiguous()  # to larger ones, as in CIFAR-10
    for stored in (photographs, small):
        with torch.no_grad():
            features, logits = (part.double() for part in theirs(stored))
        found = ours(values(stored))
        assert relative(found, features) < 1e-5
        assert relative(ours.logits(found), logits) < 1e-5


def cifar10(split):
    """Bytes of the split [images, 3, 32, 32]; a skip if its file is absent."""
    import pyarrow.parquet as pq

    file = next(f for f in manifest.entry("cifar-10").files if split in f.file)
    path = Path("data") / file.file
    if not path.is_file():
        pytest.skip(f"cifar-10: absent, {path}")
    rows = pq.read_table(path, columns=["img"])["img"].to_pylist()
    return torch.from_numpy(np.stack([decoded(row["bytes"]) for row in rows]))


def decoded(file):
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(file)).convert("RGB")).transpose(2, 0, 1)


def embedded(net, *sets):
    """Features of each set, 256 images at a time."""
    return [torch.cat([net(values(part)).cpu() for part in s.split(256)]) for s in sets]


def distance(x, y):
    """The Frechet distance."""
    return frechet_distance(x, FrechetReference.fit(y), torch.ones(1, len(x))).item()


def cifar10_numbers(net, train, test):
    """IS of the training images, FID of the training images to the test images; features."""
    x, y = embedded(net, train, test)
    logits = net.logits(x.to(net.device)).cpu()
    score = inception_score(logits, torch_fidelity_order(len(x)), 10, torch.ones(1, len(x)))
    return score.item(), distance(x, y), (x, y)


def some(stored, num):
    """The images of torch-fidelity's tests: files chosen at random, read in order of the names."""
    rows = np.random.RandomState(2020).choice(len(stored), num, replace=False)
    return stored[np.sort(rows)]


def subsets_kid(x, y, size, num=100):
    """The mean of the KID over the pairs of subsets that torch-fidelity draws."""
    rng, found = np.random.RandomState(2020), []
    for _ in range(num):
        a, b = (s[rng.choice(len(s), size, replace=False)] for s in (x, y))
        found.append(kernel_distance(a, KernelReference.fit(b), torch.ones(1, size)))
    return torch.cat(found).mean().item()


def test_cifar10_has_its_published_numbers():
    """IS 11.23678 of the training images (README of torch-fidelity), FID 3.1 to 3.2 between them.

    The IS moves in the third digit with the order of the images, in which they are dealt into
    splits; the FID is said by two sources (stylegan2-ada issue 53, gan_lib_tensorflow).
    """
    needed("inception-v3")
    train, test = cifar10("train"), cifar10("test")
    if not torch.cuda.is_available():
        pytest.skip("inception-v3 of 60,000 images: wants a GPU")
    score, between, _ = cifar10_numbers(Inception().load(), train, test)
    assert score == pytest.approx(11.23678, abs=0.05) and 3.0 < between < 3.3


def test_5000_images_of_cifar10_have_the_numbers_of_torch_fidelity():
    """Of 5,000 training and 5,000 test images, from its tests of all versions of torch.

    They allow 1e-4, and 1e-7 of the KID, to one code; another code rounds elsewhere. The choice is
    by position: the rows of the file must be in the order of the published batches.
    """
    needed("inception-v3")
    train, test = (some(cifar10(split), 5000) for split in ("train", "test"))
    if not torch.cuda.is_available():
        pytest.skip("inception-v3 of 10,000 images: wants a GPU")
    score, between, features = cifar10_numbers(Inception().load(), train, test)
    assert score == pytest.approx(10.75051, abs=1e-2)
    assert between == pytest.approx(10.32333, abs=2e-3)
    assert subsets_kid(*features, 1000) == pytest.approx(-2.907863e-05, abs=1e-6)


def test_5000_images_of_cifar10_in_clip_have_the_distance_of_torch_fidelity():
    """0.492375 of the same images, brought to 224 pixels by Pillow; from its tests (1e-5)."""
    needed("clip-vit-b-32")
    train, test = (some(cifar10(split), 5000) for split in ("train", "test"))
    if not torch.cuda.is_available():
        pytest.skip("clip-vit-b-32 of 10,000 images: wants a GPU")
    net = CLIP(resize="bicubic_pil", precision="float32").load()
    assert distance(*embedded(net, train, test)) == pytest.approx(0.492375, abs=2e-4)


class StandIn:
    """Some numbers of an image for features, and of those for logits."""

    device = torch.device("cpu")

    def __call__(self, x):
        flat = x.flatten(1)
        return torch.cat([flat[:, 7:2000:333], flat.square().mean(1, keepdim=True)], 1)

    def logits(self, features):
        return features[:, :5] * torch.arange(1.0, 6)


def write_images(path, rows):
    """A file in the layout of uoft-cs/cifar10."""
    from io import BytesIO

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    files = []
    for row in rows:
        file = BytesIO()
        Image.fromarray(row).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": "x.png"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"img": files, "label": [0] * len(files)}), path)


def test_the_numbers_of_cifar10_are_torch_fidelitys_on_other_images(tmp_path, monkeypatch):
    """Its functions on the files that its tests would write, with a network that says nothing."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    monkeypatch.chdir(tmp_path)
    with pytest.raises(pytest.skip.Exception, match="cifar-10: absent, data/cifar-10/train"):
        cifar10("train")
    rng, net, num, features = np.random.default_rng(0), StandIn(), 70, []
    for split, of, file in zip(
        ("train", "test"), (300, 120), manifest.entry("cifar-10").files, strict=True
    ):
        rows = (rng.random((of, 32, 32, 3)) ** (1 + len(features)) * 255).astype(np.uint8)
        write_images(tmp_path / "data" / file.file, rows)
        assert torch.equal(cifar10(split), torch.from_numpy(rows).permute(0, 3, 1, 2))
        chosen = np.random.RandomState(2020).choice(of, num, replace=False)
        names = {f"{i:05d}.png": rows[i] for i in chosen}
        (read,) = embedded(
            net,
            torch.stack([torch.from_numpy(names[n]) for n in sorted(names)]).permute(0, 3, 1, 2),
        )
        features.append(read.double())
    train, test = (some(cifar10(split), num) for split in ("train", "test"))
    score, between, (x, y) = cifar10_numbers(net, train, test)
    truth = isc_features_to_metric(net.logits(features[0]))["inception_score_mean"]
    assert score == pytest.approx(truth, rel=1e-6) and score > 1.01
    statistics = [fid_features_to_statistics(f) for f in features]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert between == pytest.approx(fid, rel=1e-6)
    kid = kid_features_to_metric(*features, kid_subset_size=40, verbose=False)
    assert subsets_kid(x, y, 40) == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-6)


# DINOv2: FD-DINOv2.


@pytest.mark.parametrize("name", HEADS)
def test_dinov2_is_the_published_forward(name, photographs):
    state = read_tensors(needed(name))
    net = DINOv2(name.removeprefix("dinov2-"), precision="float32").load()
    x = values(photographs)
    truth = published(state, x, num_heads=HEADS[name])
    assert relative(net(x), truth) < 1e-4


def test_dinov2_base_has_the_sum_of_torch_fidelity():
    """-34.6249580383 of one image of noise, brought to 224 pixels as TensorFlow 1 does.

    From its tests, which allow 1e-4 to the code of the hub; another code rounds elsewhere.
    """
    needed("dinov2-base")
    rng = torch.Generator().manual_seed(2023)
    stored = torch.randint(256, (1, 3, 32, 32), generator=rng, dtype=torch.uint8)
    net = DINOv2("base", resize="tf1_bilinear", precision="float32").load()
    assert net(values(stored)).double().sum().item() == pytest.approx(-34.6249580383, abs=2e-3)


# CLIP: CLIP score, CMMD.


@pytest.mark.parametrize("model", CLIP_WEIGHTS)
def test_clip_is_open_clips(model, photographs):
    import open_clip
    from PIL import Image

    path = needed(CLIP_WEIGHTS[model])
    theirs = open_clip.load_openai_model(str(path), precision="fp32", device="cpu").eval()
    clip = CLIP(model, resize="bicubic_pil", precision="float32")
    net, tower = clip.load(), TextTower.load(clip)
    see = open_clip.image_transform(net.size, is_train=False)
    x = torch.stack([see(Image.fromarray(p.permute(1, 2, 0).numpy())) for p in photographs])
    tokens = open_clip.SimpleTokenizer()(CAPTIONS)
    with torch.no_grad():
        seen, read = theirs.encode_image(x), theirs.encode_text(tokens)
    found, texts = net(values(photographs)).cpu(), tower(CAPTIONS).cpu()
    assert relative(found, seen.double()) < 1e-4 and relative(texts, read.double()) < 1e-4
    right, wrong = cosines(found, texts), cosines(found, texts.flip(0))
    assert (right > wrong).all()  # each image has its own caption


# LPIPS.


@pytest.mark.parametrize("name", NETS)
def test_lpips_is_the_packages(name, photographs, rng):
    import lpips

    trunk = read_tensors(needed(NETS[name].weights))
    theirs = lpips.LPIPS(net=name, pnet_rand=True, verbose=False)
    theirs.net.load_state_dict(
        {n: trunk[f"features.{n.split('.', 1)[1]}"] for n in theirs.net.state_dict()}
    )
    x = values(photographs[:, :, ::4, ::4])
    near = (x + 0.05 * torch.randn(x.shape, generator=rng)).clip(-1, 1)
    with torch.no_grad():
        apart = theirs(x[:1], x[1:]).flatten().double()
        close = theirs(x, near).flatten().double()
    net = LPIPSNetwork.load(name)
    phi, phi_near = net(x).cpu(), net(near).cpu()
    torch.testing.assert_close(paired_distances(phi[:1], phi[1:]), apart, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(paired_distances(phi, phi_near), close, rtol=1e-4, atol=1e-6)
    assert close.max() < apart.min()


# MobileNetV2, the encoder of experiments/openmix.yaml.

BLOCKS = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))  # t, n, s


def mobilenet_v2(state, x):
    """The pooled units of MobileNetV2 (arXiv:1801.04381, table 2) as TensorFlow pads, float64."""
    s = {name: value.double() for name, value in state.items()}

    def convolved(x, name, bn, stride=1, groups=1, is_linear=False):
        kernel, size = s[f"{name}.weight"], x.shape[-1]
        more = max(0, (-(-size // stride) - 1) * stride + kernel.shape[-1] - size)
        x = F.pad(x, (more // 2, more - more // 2) * 2)  # the odd pixel right and below
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        mean, var, scale, shift = (
            s[f"{bn}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * scale + shift
        return x if is_linear else x.clamp(0, 6)

    x = convolved(x.double(), "conv_stem", "bn1", 2)
    for i, (expansion, num, first_stride) in enumerate(BLOCKS):
        for j in range(num):
            b, y, k = f"blocks.{i}.{j}", x, int(expansion > 1)
            if expansion > 1:
                y = convolved(y, f"{b}.conv_pw", f"{b}.bn1")
            stride = 1 if j else first_stride
            y = convolved(y, f"{b}.conv_dw", f"{b}.bn{k + 1}", stride, y.shape[1])
            last = "conv_pwl" if expansion > 1 else "conv_pw"
            y = convolved(y, f"{b}.{last}", f"{b}.bn{k + 2}", is_linear=True)
            x = x + y if j else y
    return convolved(x, "conv_head", "bn2").mean((2, 3))


@pytest.fixture(scope="module")
def mobilenet():
    """The network as experiments/openmix.yaml says it, at the size of ImageNet, and its file."""
    config = ROOT / "experiments" / "openmix.yaml"
    options = yaml.safe_load(config.read_text())["encoders"]["mobilenetv2"]
    path = manifest.weights_folder() / Path(options["weights"]).name
    if not path.is_file():
        pytest.skip(f"mobilenetv2: absent, {path}")
    names = ("name", "model", "sha256", "mean", "std", "options")
    choice = {name: options[name] for name in names}
    choice |= {"weights": str(path), "image_size": 224, "precision": "float32"}
    return choices.build(BACKBONES, choice, "encoders").load(), read_tensors(path)


def test_mobilenet_has_the_features_of_the_paper(mobilenet, photographs):
    """The norms are those of the float64 forward above on these two files of scikit-learn."""
    net, state = mobilenet
    x = values(photographs)
    resized = F.interpolate(x.double(), (224, 224), mode="bicubic", antialias=True)
    truth = mobilenet_v2(state, resized)
    found = net(x)
    assert relative(found, truth) < 1e-5
    np.testing.assert_allclose(truth.norm(dim=1), [25.7149, 32.8081], atol=1e-3)
    np.testing.assert_allclose(found.cpu().norm(dim=1), [25.7149, 32.8081], atol=1e-2)


def test_mobilenet_sees_a_palace(mobilenet, photographs):
    """china.jpg is of the Summer Palace; the dahlia of flower.jpg is no class of ImageNet."""
    from timm.data import ImageNetInfo

    net, state = mobilenet
    features = net(values(photographs[CHINA : CHINA + 1])).cpu()
    logits = features @ state["classifier.weight"].float().T + state["classifier.bias"]
    p, best = logits.softmax(1)[0].topk(5)
    names = [ImageNetInfo().index_to_description(i - 1) for i in best.tolist()]  # 0: background
    assert names[0] == "palace" and p[0] > 0.6
    assert {"palace", "monastery", "bell cote, bell cot"} < set(names)
