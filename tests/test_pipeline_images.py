"""Real files through real Snakemake: shards, damaged and missing files, latents and captions."""

import re
import shutil

import numpy as np
import pytest
from clones import DAMAGED, NUM_PICTURES

from routing import code, store

pytest_plugins = ["clones"]

SHARD = "embed/resnet/features-00001.safetensors"
FOLLOW = {  # what is made of this shard
    *(f"partition: divide the images, {name}" for name in ("overlapping", "two_stage")),
    *(f"experts: train expert {k} of partition overlapping, training 0" for k in range(3)),
    "samples: arm two, training 0, shard 00000",
    *(f"features: arm two in {space}" for space in ("latent_pca", "resnet")),
    "references: the real images in resnet",
    *(f"scores: arm {n} against the real images" for n in ("heldout", "near", "guided", "two")),
    "metrics: all arms beside each other",
    *(f"figures: draw {name}" for name in ("contact", "grids", "quality")),
    "figures: write the table report",
}
OF_IMAGES = {  # what no latent is needed for
    *(f"data: read shard 0000{i} of the source" for i in range(2)),
    "index: the rows of all shards",
    "captions: encode them with sentence",
    "encoder: fit resnet",
    *(f"embed: features of encoder resnet, shard 0000{i}" for i in range(2)),
    *(f"partition: divide the images, {name}" for name in ("overlapping", "two_stage")),
}


def test_every_image_is_in_the_index_or_rejected(images_run):
    rejected = store.read_table(images_run.path("index/rejected.parquet"))
    assert rejected[["source_id", "shard"]].values.tolist() == [[DAMAGED, 1]]
    index = store.read_table(images_run.path("index/index.parquet"))
    assert len(index) == NUM_PICTURES - 1 and DAMAGED not in set(index["source_id"])
    assert index["sample_id"].tolist() == list(range(len(index)))
    assert index["shard"].value_counts().to_dict() == {0: 24, 1: 23}
    assert set(index["label"]) == {"ash_tree", "birch"}


def test_every_stage_leaves_artifacts(images_run):
    assert {name.split("/")[0] for name in images_run.contents()} == set(code.STAGES) - {
        "audit",
        "phrases",
        "perceptual",
        "extractor",  # distances are measured in an encoder's space
    }


def test_latents_are_drawn_and_images_measured(images_run):
    samples = "samples/near/0/samples-00000.safetensors"
    drawn = store.read_arrays(images_run.path(samples))["samples"]
    assert drawn.shape == (16, 2, 4, 4)
    spaces = [
        store.read_arrays(images_run.path(f"features/{space}/near.safetensors"))["features"]
        for space in ("resnet", "latent_pca")
    ]
    fitted = store.read_arrays(images_run.path("encoder/latent_pca/encoder.safetensors"))
    seen = (drawn.reshape(16, -1) - fitted["mean"]) @ fitted["projection"]
    np.testing.assert_allclose(spaces[1], seen, rtol=1e-4, atol=1e-5)
    assert spaces[0].shape == (16, 4) and np.ptp(spaces[0], axis=0).min() > 0


def test_the_second_run_has_nothing_to_do_and_the_audit_passes(images_run):
    assert images_run.make("figures").lines("Nothing to be done")
    verdict = images_run.make("audit")
    assert verdict.lines("seals, inputs and code agree")
    assert len(verdict.lines("  ok")) == len(images_run.contents())


def test_a_lost_shard_remakes_what_follows_and_is_the_same(images_run, clone):
    place = clone(images_run)
    place.path(SHARD).unlink()
    assert place.plan() == set()  # nobody asks for it
    assert place.plan(f"results/tiny/{SHARD}") == {
        "embed: features of encoder resnet, shard 00001"
    }
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
        ["data: ", "'pictures' is no folder"],
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
