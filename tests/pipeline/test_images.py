"""Real files through real Snakemake: shards, damaged files, latents, captions, metrics."""

import re
import shutil
from itertools import combinations

import numpy as np
import pytest
import torch
import yaml
from clones import DAMAGED, NUM_PICTURES
from safetensors.torch import load_file

from routing.data import pixel_values
from routing.pretrained import autoencoders
from routing.workflow import artifacts, stage_names

pytest_plugins = ["clones"]
pytestmark = pytest.mark.slow

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's images in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)
SHARD = "embed/resnet/features-00001.safetensors"
FOLLOW = {  # what is made of this shard
    *(f"partition: compute {name}" for name in ("overlapping", "two_stage")),
    *(f"experts: train expert {k} of partition overlapping, training seed 0" for k in range(3)),
    "samples: arm two, training seed 0, shard 00000",
    *(f"sample_features: arm two in {space}" for space in ("latent_pca", "resnet", "small_clip")),
    "lpips: distances within arm two",
    "reference_statistics: the real images in resnet",
    *(
        f"arm_metrics: arm {n} against the real images"
        for n in ("heldout", "near", "guided", "two")
    ),
    "metric_tables: compare all arms",
    *(f"figures: draw {name}" for name in ("contact", "grids", "quality")),
    "figures: write the table report",
}
OF_IMAGES = {  # what no latent is needed for
    *(f"data: read shard 0000{i} of the source" for i in range(2)),
    "index: join the rows of all shards",
    "text_embeddings: encode the captions with sentence",
    *(f"fit_encoder: fit {name}" for name in ("resnet", "small_clip")),
    *(
        f"embed: encoder {name}, shard 0000{i}"
        for name in ("resnet", "small_clip")
        for i in range(2)
    ),
    "clip_score_captions: embed the captions with small_clip",
    "lpips: distances within the held-out real images",
    *(f"partition: compute {name}" for name in ("overlapping", "two_stage")),
}


def test_every_image_is_in_the_index_or_rejected(images_run):
    rejected = artifacts.read_table(images_run.path("index/rejected.parquet"))
    assert rejected[["source_id", "shard"]].values.tolist() == [[DAMAGED, 1]]
    index = artifacts.read_table(images_run.path("index/index.parquet"))
    assert len(index) == NUM_PICTURES - 1 and DAMAGED not in set(index["source_id"])
    assert index["sample_id"].tolist() == list(range(len(index)))
    assert index["shard"].value_counts().to_dict() == {0: 24, 1: 23}
    assert set(index["label"]) == {"ash_tree", "birch"}


def test_every_stage_leaves_artifacts(images_run):
    assert {name.split("/")[0] for name in images_run.contents()} == set(stage_names.STAGES) - {
        "audit",
        "classifier",  # distances are measured in an encoder's space
    }


def test_latents_are_drawn_and_images_measured(images_run):
    samples = "samples/near/0/samples-00000.safetensors"
    drawn = artifacts.read_arrays(images_run.path(samples))["samples"]
    assert drawn.shape == (16, 2, 4, 4)
    spaces = [
        artifacts.read_arrays(images_run.path(f"sample_features/{space}/near.safetensors"))[
            "features"
        ]
        for space in ("resnet", "latent_pca")
    ]
    fitted = artifacts.read_arrays(images_run.path("fit_encoder/latent_pca/encoder.safetensors"))
    seen = (drawn.reshape(16, -1) - fitted["mean"]) @ fitted["projection"]
    np.testing.assert_allclose(spaces[1], seen, rtol=1e-4, atol=1e-5)
    assert spaces[0].shape == (16, 4) and np.ptp(spaces[0], axis=0).min() > 0


# What the metrics say.

TEXTS = {f"clip_score_{kind}small_clip" for kind in ("", "hessel_", "hundred_")}
OF_ALL = {
    "fd_resnet",
    "copy_ratio_resnet",
    "authenticity_resnet",
    *(f"{kind}_resnet_cluster_{k}" for kind in ("recall", "coverage") for k in (0, 1, "worst")),
    *(f"cluster_{kind}" for kind in ("share_0", "share_1", "tv", "kl", "coverage")),
    *(f"mmd_{kind}small_clip" for kind in ("", "unbiased_")),
    "lpips_vgg_other_diversity",
}
OF_ARM = {  # `two` asks for no text; the reference arm and real images have no distance to it
    "heldout": OF_ALL | TEXTS,
    "guided": OF_ALL | TEXTS | {"lpips_vgg_other_to_near"},
    "near": OF_ALL | TEXTS,
    "two": OF_ALL | {"lpips_vgg_other_to_near"},
}


def value(run, arm, metric):
    table = artifacts.read_table(run.path("metric_tables/metrics.parquet"))
    (found,) = table.loc[(table["arm"] == arm) & (table["metric"] == metric), "value"]
    return found


def test_every_arm_has_its_metrics(images_run):
    table = artifacts.read_table(images_run.path("metric_tables/metrics.parquet"))
    assert {arm: set(rows["metric"]) for arm, rows in table.groupby("arm")} == OF_ARM
    assert np.isfinite(table[["value", "lo", "hi"]].to_numpy()).all()
    assert (table["lo"] <= table["value"]).all() and (table["value"] <= table["hi"]).all()


def test_scores_are_of_seeds_and_their_mean_is_the_metric(images_run):
    table = artifacts.read_table(images_run.path("metric_tables/scores.parquet"))
    # Of shares and coverage the scores are the counted samples, see tests/stages.
    table = table[~table["metric"].str.startswith("cluster_")]
    arms = {metric: set(rows["arm"]) for metric, rows in table.groupby("metric")}
    assert arms == {
        "clip_score_small_clip": {"heldout", "guided", "near"},
        "clip_score_hessel_small_clip": {"heldout", "guided", "near"},
        "lpips_vgg_other_to_near": {"guided", "two"},
    }
    for (arm, metric), rows in table.groupby(["arm", "metric"]):
        if metric == "lpips_vgg_other_to_near":
            assert rows["seed"].tolist() == list(range(16))
        assert rows["value"].mean() == pytest.approx(value(images_run, arm, metric), rel=1e-9)


def test_pairs_of_arms_are_compared_where_both_were_measured(images_run):
    table = artifacts.read_table(images_run.path("metric_tables/comparisons.parquet"))
    pairs = {
        metric: {frozenset(pair) for pair in rows[["arm", "other"]].to_numpy()}
        for metric, rows in table.groupby("metric")
    }
    every = {frozenset(pair) for pair in combinations(("guided", "near", "two"), 2)}
    assert pairs["clip_score_small_clip"] == {frozenset({"guided", "near"})}
    assert pairs["lpips_vgg_other_to_near"] == {frozenset({"guided", "two"})}
    assert pairs["lpips_vgg_other_diversity"] == pairs["copy_ratio_resnet"] == every
    tests = {metric: set(rows["test"]) for metric, rows in table.groupby("metric")}
    assert tests["clip_score_small_clip"] == tests["lpips_vgg_other_to_near"] == {"sign flip"}
    assert tests["lpips_vgg_other_diversity"] == tests["copy_ratio_resnet"] == {"seed blocks"}


def drawn(run, arm):
    """The samples of an arm as images in [-1, 1], and the positions of their prompts."""
    path = run.path(f"samples/{arm}/0/samples-00000.safetensors")
    arrays, note = (
        artifacts.read_arrays(path),
        dict(artifacts.read_provenance(path)["autoencoder"]),
    )
    note["folder"] = str(run.folder / note["folder"])
    x = autoencoders.load(note).decode(torch.from_numpy(arrays["samples"]))
    x = torch.from_numpy(pixel_values.quantised(x.numpy(), 255))
    return x, arrays.get("prompts")


def test_lpips_is_what_the_package_says(images_run):
    import lpips

    trunk = load_file(images_run.folder / "networks" / "vgg.safetensors")
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    theirs.net.load_state_dict(
        {n: trunk[f"features.{n.split('.', 1)[1]}"].float() for n in theirs.net.state_dict()}
    )
    x, near = drawn(images_run, "guided")[0], drawn(images_run, "near")[0]
    i, j = map(list, zip(*combinations(range(len(x)), 2), strict=True))
    with torch.no_grad():
        to_near, apart = theirs(x, near).mean().item(), theirs(x[i], x[j]).mean().item()
    assert value(images_run, "guided", "lpips_vgg_other_to_near") == pytest.approx(
        to_near, abs=1e-6
    )
    assert value(images_run, "guided", "lpips_vgg_other_diversity") == pytest.approx(
        apart, rel=1e-3
    )


def test_the_clip_score_is_what_open_clip_says(images_run):
    import open_clip

    folder = f"local-dir:{images_run.folder / 'networks' / 'clip'}"
    net, _ = open_clip.create_model_from_pretrained(folder)
    x, prompts = drawn(images_run, "guided")
    captions = artifacts.read_table(images_run.path("index/index.parquet"))["caption"]
    told = [i for i, row in enumerate(prompts) if captions[row]]
    assert 0 < len(told) < len(prompts)  # an empty caption has no score
    size = net.visual.image_size
    x = torch.nn.functional.interpolate(x[told], size, mode="bicubic", antialias=True)
    mean, std = (torch.tensor(of)[:, None, None] for of in (MEAN, STD))
    with torch.no_grad():
        seen = net.encode_image(((x + 1) / 2 - mean) / std, normalize=True)
        requested = [captions[prompts[i]] for i in told]
        after = [f"A photo depicts {caption}" for caption in requested]
        plain, depicted = (
            (seen * net.encode_text(open_clip.SimpleTokenizer()(of), normalize=True)).sum(1)
            for of in (requested, after)
        )
    table = artifacts.read_table(images_run.path("metric_tables/scores.parquet"))
    truths = {"clip_score": plain, "clip_score_hessel": 2.5 * depicted.clamp_min(0)}
    for kind, truth in truths.items():
        name = f"{kind}_small_clip"
        mine = table[(table["arm"] == "guided") & (table["metric"] == name)]
        assert mine["seed"].tolist() == told
        np.testing.assert_allclose(mine["value"], truth, atol=2e-5)
        mean = truth.double().mean().item()
        assert value(images_run, "guided", name) == pytest.approx(mean, abs=2e-5)


def test_pairs_within_a_caption_are_those_of_equal_ones(images_run, clone):
    """The same samples, grouped by what the arm's experts are told."""
    place = clone(images_run)
    config = yaml.safe_load((place.folder / place.config).read_text())
    config["metrics"]["lpips"]["within"] = "condition"
    (place.folder / place.config).write_text(yaml.safe_dump(config))
    refused = place.snakemake("-n")
    (line,) = refused.lines("metrics.lpips.within")
    assert refused.status and "got arm 'two' without guidance" in line
    config["arms"] = {"guided": config["arms"]["guided"]}
    config["metrics"]["reference_arm"], config["figures"] = "guided", {}
    (place.folder / place.config).write_text(yaml.safe_dump(config))
    files = [f"lpips/{arm}/scores.parquet" for arm in ("guided", "heldout")]
    place.make(*(f"results/tiny/{name}" for name in files))
    captions = artifacts.read_table(place.path("index/index.parquet"))["caption"]
    numbers = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    guided, heldout = (artifacts.read_table(place.path(name)) for name in files)
    for rows, requested in ((guided, drawn(place, "guided")[1]), (heldout, heldout["seed"])):
        assert rows["group"].tolist() == [numbers[captions[i]] for i in requested]


def test_the_second_run_has_nothing_to_do_and_the_audit_passes(images_run):
    assert images_run.make("figures").lines("Nothing to be done")
    verdict = images_run.make("audit")
    assert verdict.lines("checksums, inputs and code agree")
    assert len(verdict.lines("  ok")) == len(images_run.contents())


def test_a_lost_shard_remakes_what_follows_and_is_the_same(images_run, clone):
    place = clone(images_run)
    place.path(SHARD).unlink()
    assert place.plan() == set()  # nobody asks for it
    assert place.plan(f"results/tiny/{SHARD}") == {"embed: encoder resnet, shard 00001"}
    place.make(f"results/tiny/{SHARD}")
    assert place.contents() == images_run.contents()
    assert place.plan() == FOLLOW  # it is newer


def test_another_codec_leaves_alone_what_images_made(images_run, clone):
    place = clone(images_run)
    all_jobs = place.make("figures", "-n", "--forceall").text
    place.edit(place.config, "networks/autoencoder}", "networks/autoencoder, scale: 2.0}")
    assert place.plan() == set(re.findall(r"^Job \d+: (.*)$", all_jobs, re.M)) - OF_IMAGES


MISSING = {  # what is taken away: (the output that wants it, the words of the line)
    "networks/resnet.safetensors": (SHARD, ["embed: ", "networks/resnet.safetensors"]),
    "networks/autoencoder": (
        "latents/samples-00001.safetensors",
        ["latents: ", "networks/autoencoder"],
    ),
    "pictures": (
        "data/center_lanczos_16/samples-00001.safetensors",
        ["data: ", "'pictures' is not a folder"],
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_one_line_and_costs_no_other_artifact(name, images_run, clone):
    place = clone(images_run)
    output, words = MISSING[name]
    shutil.move(place.folder / name, place.folder / "away")
    place.path(output).unlink()
    before = place.contents()
    target = f"results/tiny/{output}"
    done = place.snakemake(target)
    line = next(line for line in done.text.splitlines() if line.startswith(words[0]))
    assert done.status != 0 and all(word in line for word in words), done.text
    assert "Traceback" not in done.text
    # Snakemake takes away what else the job was to write.
    lost = before.keys() - place.contents().keys()
    assert {lost_name.split("/")[0] for lost_name in lost} <= {output.split("/")[0]}
    shutil.move(place.folder / "away", place.folder / name)  # as the line says
    place.make(target)
    assert place.contents() == images_run.contents()
