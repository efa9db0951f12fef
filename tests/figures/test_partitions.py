"""Figures of partitions: drawn numbers are counted again, or those of scikit-learn or scipy."""

import dataclasses
import itertools
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from figures_world import (
    DIVIDED,
    FAMILIES,
    FakeJob,
    best_of,
    divided,
    drawn,
    make,
    make_job,
    texts_of,
)
from pretrained import autoencoder
from scipy import optimize, stats
from sklearn import metrics as sk
from stages import refused

from routing.figures import agreement, clusters, contact_sheet, imbalance, shares
from routing.figures.shared import (
    arm_styles,
    cluster_members,
    image_grids,
    line_end_labels,
    metric_labels,
    partition_arms,
    partition_facts,
)
from routing.figures.shared.figure_inputs import FigureInputs
from routing.pretrained import autoencoders
from routing.statistics.rank_correlation import spearman_interval


@pytest.fixture(scope="module")
def many():
    """Five families of partitions, two policies, the monolith."""
    return FigureInputs(divided())


def changed(inputs, spec=None, **files):
    """The same run with other parts of the spec, or other files."""
    return FigureInputs(FakeJob(inputs.spec | (spec or {}), inputs.job.files | files))


# What is read


def test_real_images_are_those_of_the_index():
    inputs = FigureInputs(make_job("colour", ("monolith", "full")))
    index, files = inputs.job.files["index"][0], inputs.job.files["data"]
    assert index["shard"].nunique() == 3
    rows = np.array([899, 0, 450, 301, 0])
    wanted = [
        files[index.loc[i, "shard"]]["samples"][index.loc[i, "row"]] / 127.5 - 1 for i in rows
    ]
    assert inputs.images(rows) == pytest.approx(np.stack(wanted), abs=1e-6)
    assert inputs.images(rows).shape == (5, 3, 6, 5) and inputs.levels == 255


class Watched(FakeJob):
    """A job that records which files are mapped."""

    def mapped(self, name, index=0):
        self.seen.append((name, index))
        return self.files[name][index]


@dataclasses.dataclass(frozen=True)
class Halving:
    """An autoencoder for tests: an image is half of a latent, three channels of four."""

    def load(self):
        return self

    def decode(self, latents):
        NUMS.append(len(latents))
        return latents[:, :3] / 2


NUMS: list[int] = []


def latent_job(monkeypatch):
    """A run on latents of four channels, of colour images."""
    module = types.ModuleType("routing.pretrained.autoencoders")
    module.load = lambda of: {"halving": Halving}[of["name"]]()
    monkeypatch.setitem(sys.modules, "routing.pretrained.autoencoders", module)
    monkeypatch.setattr("routing.pretrained.autoencoders", module, raising=False)
    base = make_job("colour", ("monolith", "full"))
    rng = np.random.default_rng(5)
    latents = [
        part | {"samples": rng.uniform(-2, 2, (40, 4, 6, 5)).astype(np.float16)}
        for part in base.files["samples"]
    ]
    metadata = [
        {"spec": base.whose("samples", i), "autoencoder": {"name": "halving"}}
        for i in range(len(latents))
    ]
    files = base.files | {"samples": latents, "samples notes": metadata}
    job = Watched(base.spec | {"autoencoder": {"name": "some"}}, files)
    job.seen = []
    NUMS.clear()
    return job


def test_only_latents_that_are_shown_are_read_and_decoded(monkeypatch):
    job = latent_job(monkeypatch)
    inputs, latents = FigureInputs(job), job.files["samples"]
    found = inputs.samples("full", 7)
    assert found == pytest.approx(latents[2]["samples"][:7, :3].astype(float) / 2)
    assert job.seen == [("samples", 2)] and NUMS == [7]
    both = inputs.samples("full", 45)
    wanted = np.concatenate([latents[2]["samples"], latents[3]["samples"][:5]])
    assert both == pytest.approx(wanted[:, :3].astype(float) / 2) and len(both) == 45
    assert len(inputs.samples("full", 1000)) == 80
    parts = list(inputs.sample_shards("full"))  # latents stay what they are
    assert [p.shape for p in parts] == [(40, 4, 6, 5)] * 2 and parts[0] is latents[2]["samples"]


def test_grids_of_latents_show_images_beside_stored_ones(monkeypatch):
    job = latent_job(monkeypatch)
    table = make("grids", num_images=9).draw(FigureInputs(job)).table
    own = np.stack(table.loc[table["arm"] == "full", "pixels"])
    latents = job.files["samples"][2]["samples"][:9, :3].astype(np.float32) / 2
    assert np.array_equal(own, np.rint((latents + 1) * 127.5).reshape(9, -1))
    assert NUMS == [9, 9]
    real = table[table["arm"] == "data"].iloc[3]
    index = job.files["index"][0].loc[real["number"]]
    stored = job.files["data"][index["shard"]]["samples"][index["row"]]
    assert np.array_equal(real["pixels"], stored.ravel())


def test_latents_are_decoded_by_the_autoencoder_that_encoded_them(tmp_path):
    net = autoencoder(tmp_path)
    made = autoencoders.load({"name": "autoencoder_kl", "folder": str(tmp_path)})
    latents = np.random.default_rng(0).normal(size=(4, 2, 4, 4)).astype(np.float16)
    base = make_job("colour", ("monolith", "full"))
    metadata = [{"spec": base.whose("samples", i), "autoencoder": made.note} for i in range(4)]
    files = base.files | {"samples": [{"samples": latents}] * 4, "samples notes": metadata}
    job = FakeJob(
        base.spec | {"autoencoder": {"name": "autoencoder_kl", "folder": "elsewhere"}}, files
    )
    wanted = made.decode(torch.from_numpy(latents.astype(np.float32))).numpy()
    assert np.array_equal(FigureInputs(job).samples("full", 4), wanted)
    torch.nn.init.constant_(net.decoder.conv_out.bias, 0.5)
    net.save_pretrained(tmp_path)  # other weights in the same folder
    with refused(f"autoencoder.folder: wanted weights with sha256 {made.note['sha256']}, got"):
        FigureInputs(job).samples("full", 4)


def test_latents_without_an_autoencoder_are_not_images():
    base = make_job("colour", ("monolith", "full"))
    latents = [part | {"samples": np.zeros((40, 4, 6, 5))} for part in base.files["samples"]]
    job = FakeJob(base.spec, base.files | {"samples": latents})
    with pytest.raises(ValueError, match="1 or 3 channels, got 4; decode them"):
        make("grids").draw(FigureInputs(job))


def test_the_white_between_tiles_grows_with_them():
    for side, gap in ((8, 1), (63, 1), (64, 2), (256, 8)):
        paper = image_grids.image_grid(np.zeros((4, 1, side, side)), 2, 1)
        assert paper.shape == (2 * side + gap, 2 * side + gap, 3)
        assert paper.mean() == pytest.approx(1 - 4 * side**2 / (2 * side + gap) ** 2)


# Members and labels


def test_images_of_two_clusters_are_in_both():
    own = np.array([[0, 1], [1, 2], [2, 0], [0, 2], [1, 0]])
    chosen = np.array([True, True, True, False, True])
    found = cluster_members.positions_by_cluster(own, chosen, 4)
    assert [rows.tolist() for rows in found] == [[0, 2, 4], [0, 1, 4], [1, 2], []]


def test_members_are_training_images(many):
    train = (many.index["split"] == "train").to_numpy()
    table = many.assignments("overlapping_4")
    found = cluster_members.training_members(many, "overlapping_4")
    for k, rows in enumerate(found):
        wanted = [
            i
            for i in range(len(train))
            if train[i] and k in (table["cluster"][i], table["second"][i])
        ]
        assert rows.tolist() == wanted
    assert sum(map(len, found)) == 2 * train.sum()
    assert [len(rows) for rows in found] == many.cluster_sizes("overlapping_4").tolist()


@pytest.mark.parametrize(
    "values, names, codes",
    [
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([3.0, np.nan, 1.5], ("1.5", "3", "no label"), [1, 2, 0]),
        ([None, "a"], ("a", "no label"), [1, 0]),
        ([None, None], ("no label",), [0, 0]),
    ],
)
def test_labels_are_numbers_texts_or_missing(values, names, codes):
    found = cluster_members.sample_labels(pd.DataFrame({"label": pd.Series(values)}))
    assert found.names == names and found.codes.tolist() == codes
    assert found.is_partial == bool(pd.isna(pd.Series(values)).any())


def test_labels_that_read_like_our_own_words_are_labels():
    names = ("no label", "other", "pear")
    found = cluster_members.SampleLabels(np.array([0] * 2 + [1] * 5 + [2] * 3), names)
    counts = cluster_members.label_counts(found, [np.arange(10)], 2, 2)
    assert counts["label"].to_list() == ["other", "pear", "other"]
    assert counts["is_rest"].to_list() == [False, False, True]
    lines = cluster_members.common_label_lines(counts, 4, 99)
    assert lines == ["other (50 %), pear (30 %)"]
    many = FigureInputs(make_job())
    index = many.index.assign(label=["no label", "other", "a"] * 300)
    inputs = changed(many, index=[many.job.files["index"][0].assign(label=index["label"])])
    table = make("agreement", partitions=["semantic"]).draw(inputs).table
    assert agreement.LABELS in set(table["partition"])  # all images have a label
    (axes, *_) = make("clusters").draw(inputs).figure.axes[1::2]
    written = {text.get_text() for text in axes.texts}
    assert {"other", "no label"} <= written


def test_partitions_and_families_may_have_our_own_names():
    many = FigureInputs(divided())
    partition = {"labels": many.partitions["plain_4"]}
    spec = many.job.spec
    more = {"partitions": spec["partitions"] | partition}
    more["num_experts"] = spec["num_experts"] | {"labels": 4}
    files = many.job.files
    own = files["partitions"][list(spec["num_experts"]).index("plain_4")]
    inputs = changed(many, more, partitions=[*files["partitions"], own])
    table = make("agreement", partitions=["labels", "plain_8"]).draw(inputs).table
    assert set(table["partition"]) == {"labels", "plain_8", agreement.LABELS}
    families = {"monolith": ["plain_4"]}
    for name in ("partition_quality", "imbalance"):
        drawing = make(name, families=families, policies=["full"]).draw(many)
        assert drawing.table["is_monolith"].to_list() == [False, True]
        assert drawing.table["partition"].to_list() == ["plain_4", "monolith"]
    quality = make("partition_quality", families=families, policies=["full"]).draw(many)
    (line,) = [c[0].get_xdata() for c in quality.figure.axes[0].containers]
    assert line.tolist() == [4]  # without the point of the real monolith


def test_few_labels_keep_their_order_in_every_cluster():
    found = cluster_members.SampleLabels(np.array([1, 1, 0, 2, 1, 3]), ("a", "b", "c", "unseen"))
    parts = [np.array([0, 1, 2]), np.array([3, 4])]
    table = cluster_members.label_counts(found, parts, 3, 1)
    assert table["label"].to_list() == ["a", "b", "c"] * 2  # not those of nobody
    assert table["images"].to_list() == [1, 2, 0, 0, 1, 1]
    assert table["share"].to_list() == pytest.approx([1 / 3, 2 / 3, 0, 0, 0.5, 0.5])
    assert table["cluster"].to_list() == [0, 0, 0, 1, 1, 1]


def test_of_many_labels_each_cluster_has_its_own_commonest():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 40, 2000)
    found = cluster_members.SampleLabels(codes, tuple(f"label {i}" for i in range(40)))
    parts = [np.flatnonzero(codes % 2 == k) for k in range(2)]
    table = cluster_members.label_counts(found, parts, 12, 5)
    for k, rows in table.groupby("cluster"):
        counts = pd.Series(codes[parts[k]]).value_counts()
        assert rows["label"].iloc[-1] == cluster_members.OTHER and len(rows) == 6
        assert rows["is_rest"].to_list() == [False] * 5 + [True]
        assert rows["images"].to_list()[:5] == sorted(counts, reverse=True)[:5]
        for row in rows.head(5).itertuples():
            assert row.images == counts[int(row.label.removeprefix("label "))]
        assert rows["images"].sum() == len(parts[k]) and rows["share"].sum() == pytest.approx(1)
    few = cluster_members.label_counts(found, [np.array([0, 1, 0])], 1, 5)  # all named: no others
    assert not few["is_rest"].any() and (few["images"] > 0).all()
    assert len(cluster_members.label_counts(found, [np.arange(0), np.arange(2000)], 12, 5)) == 6


def test_common_labels_are_lines_of_text():
    counts = pd.DataFrame(
        {
            "label": ["pear", "apple", "other", "quince", "none"],
            "images": [12, 45, 40, 3, 0],
            "share": [0.12, 0.45, 0.4, 0.03, 0.0],
            "is_rest": [False, False, True, False, False],
        }
    )
    assert cluster_members.common_label_lines(counts, 4, 26) == [
        "apple (45 %), pear (12 %)",
        "quince (3 %)",
    ]
    assert cluster_members.common_label_lines(counts, 2, 24) == ["apple (45 %)", "pear (12 %)"]
    assert cluster_members.common_label_lines(counts, 2, 25) == ["apple (45 %), pear (12 %)"]
    assert cluster_members.common_label_lines(counts, 2, 99) == ["apple (45 %), pear (12 %)"]
    assert cluster_members.common_label_lines(counts, 1, 13) == ["app… (45 %)"]
    some = pd.DataFrame({"label": ["ant", "bee"], "images": [995, 5], "share": [0.995, 0.004]})
    some["is_rest"] = False
    assert cluster_members.common_label_lines(some, 2, 99) == ["ant (100 %)"]
    assert (
        cluster_members.truncated("abcdef", 6) == "abcdef"
        and cluster_members.truncated("ab cdef", 4) == "ab…"
    )


def test_long_labels_stand_above_their_bars():
    job = make_job("colour", ("monolith", "full"))
    drawing = make("clusters").draw(FigureInputs(job))
    texts = [text for text, _, _ in texts_of(drawing.figure)]
    for _, rows in drawing.table.groupby("cluster"):
        (share,) = rows.loc[rows["label"] == "apple", "share"]
        assert any(text.startswith(f"apple ({100 * share:.0f} %), kind of") for text in texts)
    assert len(drawing.table) == 5 * (clusters.NUM_TOP + 1)
    bars = drawing.figure.axes[1].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(drawing.table["share"][:6].to_list())
    short = drawn("clusters").figure.axes[1].texts
    assert all(text.get_text().isdigit() for text in short) and short


def test_of_many_classes_the_commonest_have_panels(many, monkeypatch):
    monkeypatch.setattr(shares, "MAX_PANELS", 4)
    label = many.index.loc[many.index["split"] == "train", "label"]
    counts = label.value_counts()
    truth = make("shares", partition="plain_2", of="class")._training_shares(many)
    assert list(truth) == sorted(truth) and len(truth) == 4
    assert sorted(truth.values()) == pytest.approx(sorted(counts.iloc[:4] / len(label)))


# The contact sheet


@pytest.mark.parametrize("num, wanted", list(itertools.product(range(1, 30), (1, 3, 6))))
def test_the_farthest_is_shown_and_none_twice(num, wanted):
    near, far = contact_sheet.near_and_far(num, wanted)
    assert near.tolist() == list(range(min(wanted, num)))
    assert len(far) == min(wanted, max(0, num - wanted))
    assert not set(near) & set(far) and len(set(far)) == len(far)
    if len(far):
        assert far[-1] == num - 1
        steps = np.diff([len(near) - 1, *far])
        assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("partition, num", [("plain_8", 4), ("overlapping_4", 3)])
def test_the_contact_sheet_shows_what_its_table_says(many, partition, num):
    drawing = make("contact_sheet", partition=partition, num_images=num).draw(many)
    table, assigned = drawing.table, many.assignments(partition)
    train = (many.index["split"] == "train").to_numpy()
    values = many.images(np.arange(len(train)))
    for k in range(many.num_experts[partition]):
        own = assigned["cluster"] == k
        if "second" in assigned:
            own |= assigned["second"] == k
        distance = np.sort(assigned.loc[own.to_numpy() & train, f"distance_{k}"])
        rows = table[table["cluster"] == k]
        near = rows[rows["kind"] == "nearest"]
        assert near["distance"].to_list() == distance[:num].tolist()
        assert rows["distance"].max() == distance[-1] and len(rows) == 2 * num
        assert (assigned[f"distance_{k}"][rows["row"]].to_numpy() == rows["distance"]).all()
        assert (rows["size"] == len(distance)).all()
        assert rows["share"].iloc[0] == pytest.approx(len(distance) / train.sum())
        assert rows["label"].to_list() == many.index["label"][rows["row"]].astype(str).to_list()
        for column, kind in enumerate(contact_sheet.KINDS):
            paper = np.asarray(drawing.figure.axes[2 * k + column].images[0].get_array())
            for place, row in enumerate(rows.loc[rows["kind"] == kind, "row"]):
                tile = paper[:8, 9 * place : 9 * place + 8, 0]
                assert tile == pytest.approx((values[row, 0] + 1) / 2, abs=1e-6)
    assert (
        make("contact_sheet", partition=partition, num_images=num).draw(many).table.equals(table)
    )


def test_a_small_cluster_has_few_images(many):
    small = many.assignments("plain_2").assign(cluster=0)
    train = np.flatnonzero(many.index["split"] == "train")
    small.loc[train[:2], "cluster"] = 1
    files = list(many.job.files["partitions"])
    files[list(many.num_experts).index("plain_2")] = small
    drawing = make("contact_sheet", partition="plain_2").draw(changed(many, partitions=files))
    assert (drawing.table["cluster"] == 1).sum() == 2 and not drawing.figure.axes[3].images
    assert drawing.rendered("png")


# Names at the ends of lines


def test_heights_are_the_nearest_that_are_apart():
    rng = np.random.default_rng(2)
    for num in (1, 2, 5, 8):
        y = rng.uniform(0, 10, num)
        found = line_end_labels.spread_heights(y, 1.5)
        order = np.argsort(y)
        assert (np.diff(found[order]) >= 1.5 - 1e-9).all()
        best = optimize.minimize(
            lambda z, y=y[order]: ((z - y) ** 2).sum(),
            y[order] + 0.1,
            constraints={"type": "ineq", "fun": lambda z: np.diff(z) - 1.5} if num > 1 else (),
            method="SLSQP",
        ).x
        assert found[order] == pytest.approx(best, abs=1e-3)
    assert line_end_labels.spread_heights(np.array([0.0, 10.0, 5.0]), 1.0).tolist() == [0, 10, 5]
    assert line_end_labels.spread_heights(np.array([3.0, 3.0]), 1.0).tolist() == [2.5, 3.5]


def test_every_line_has_its_name_at_its_end(many):
    figure = drawn("partition_quality").figure
    boxes = {text: box for text, box, _ in texts_of(figure)}
    assert {name.replace("_", " ") for name in FAMILIES} <= set(boxes)
    for axes in figure.axes:
        window = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 > window.x1
            assert window.y0 - 6 < (box.y0 + box.y1) / 2 < window.y1 + 6
        lines = [line for line in axes.lines if line.get_linewidth() == 0.4]
        assert [x.get_color() for x in lines] == [text.get_color() for text in axes.texts]
        for line, text in zip(lines, axes.texts, strict=True):
            path = line.get_transform().transform(line.get_xydata())
            box = text.get_window_extent()
            assert path[-1][1] == pytest.approx((box.y0 + box.y1) / 2, abs=1.5)
            ends_of = [
                axes.transData.transform(x.get_xydata()[-1])
                for x in axes.lines
                if x.get_color() == line.get_color() and x.get_marker() == "o"
            ]
            assert min(np.abs(path[0] - end).max() for end in ends_of) < 1e-6


# Quality by partition


def test_partition_quality_draws_each_family_over_its_number_of_experts(many):
    drawing = drawn("partition_quality")
    given = many.metrics.query("metric == 'fd_digits'").set_index("arm")
    table = drawing.table
    assert len(table) == 2 * 12 + 1 and len(drawing.figure.axes) == 2
    for row in table.itertuples():
        assert (row.value, row.lo, row.hi) == tuple(given.loc[row.arm, ["value", "lo", "hi"]])
        of = many.arms[row.arm]
        assert (row.partition, row.policy) == (of["partition"], of["policy"])
        if row.family != partition_arms.MONOLITH:
            assert row.partition in FAMILIES[row.family]
            assert str(row.num_experts) == row.partition.split("_")[1]
    for axes, policy in zip(drawing.figure.axes, ("full", "top1"), strict=True):
        assert axes.get_title() == policy
        for i, (family, bars) in enumerate(zip(FAMILIES, axes.containers, strict=True)):
            rows = table[(table["family"] == family) & (table["policy"] == policy)]
            x, value = bars[0].get_xydata().T
            assert value.tolist() == rows["value"].to_list()
            shift = 2 ** (0.035 * (i - 2))
            assert x == pytest.approx(rows["num_experts"] * shift)
            segments = [s[:, 1].tolist() for s in bars[2][0].get_segments()]
            assert np.array(segments) == pytest.approx(rows[["lo", "hi"]].to_numpy())
            assert (
                bars[0].get_color() == partition_arms.family_style(many, FAMILIES, family)["color"]
            )
        monolith = given.loc["monolith"]
        lines = [x for x in axes.lines if x.get_color() == arm_styles.MONOLITH_COLOUR]
        assert [x.get_ydata()[0] for x in lines] == [monolith["value"]]
        band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
        assert (band.y0, band.y1) == pytest.approx(tuple(monolith[["lo", "hi"]]))
        assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "4", "8"]
    assert drawing.figure.axes[0].get_ylim() == drawing.figure.axes[1].get_ylim()


def test_a_line_goes_from_few_experts_to_many_however_its_family_is_written(many):
    families = {"plain": ["plain_8", "plain_2", "plain_4"]}
    for axes in make("partition_quality", families=families).draw(many).figure.axes:
        x, _ = axes.containers[0][0].get_xydata().T
        assert x.tolist() == [2, 4, 8]


def test_policies_stand_in_the_requested_order(many):
    drawing = make("partition_quality", policies=["top1", "full"]).draw(many)
    assert [ax.get_title() for ax in drawing.figure.axes] == ["top1", "full"]
    drawing = make("imbalance", policies=["top1"]).draw(many)
    assert set(drawing.table["policy"][:-1]) == {"top1"} and len(drawing.figure.axes) == 1


def test_families_of_one_method_differ_in_dashes_and_filling(many):
    looks = {name: partition_arms.family_style(many, FAMILIES, name) for name in FAMILIES}
    assert looks["plain"]["color"] == looks["other_encoder"]["color"]
    for key in ("linestyle", "fillstyle"):
        assert looks["plain"][key] != looks["other_encoder"][key]
    colours = [looks[name]["color"] for name in ("plain", "balanced", "random", "overlapping")]
    assert len(set(colours)) == 4
    turned = dict(reversed(FAMILIES.items()))  # a method keeps its colour wherever it stands
    assert all(
        partition_arms.family_style(many, turned, n)["color"] == looks[n]["color"]
        for n in FAMILIES
    )
    assert len(set(partition_arms.METHOD_COLOURS.values())) == len(partition_arms.METHOD_COLOURS)


def test_without_the_monolith_no_line_is_drawn():
    names = tuple(name for name in DIVIDED if name.startswith("plain"))
    inputs = FigureInputs(make_job("digits", names, ("plain_2", "plain_4", "plain_8"), 1))
    options = {"families": {"plain": FAMILIES["plain"]}}
    for name in ("partition_quality", "imbalance"):
        drawing = make(name, **options).draw(inputs)
        assert set(drawing.table["family"]) == {"plain"}
        assert not any(
            x.get_color() == arm_styles.MONOLITH_COLOUR for x in drawing.figure.axes[0].lines
        )
    assert "monolith" not in make("partition_table").draw(inputs).texts["md"]


@pytest.mark.parametrize("name", ["partition_quality", "imbalance"])
@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"families": {}}, "wanted families"),
        ({"families": {"none": []}}, "wanted families"),
        ({"families": {"a": ["plain2"]}}, "did you mean 'plain_2'"),
        (
            {"families": {"a": ["monolith"]}},
            "'monolith' with one; remove it",
        ),
        ({"metric": "fd_digit"}, "did you mean 'fd_digits'"),
        ({"policies": ["top_1"]}, "did you mean 'top1'"),
        ({"router": "clusters"}, "did you mean 'cluster'"),
        ({"router": "uniform"}, "wanted arms with several experts"),
        ({"sampler": "heum"}, "did you mean 'heun'"),
        ({"sampler": "heun"}, "with partition plain_2, sampler heun"),
        ({"metric": "agreement_digits"}, "it was measured, got none"),
    ],
)
def test_what_cannot_be_compared_is_one_line(many, name, options, wanted):
    with pytest.raises(ValueError, match=wanted) as error:
        make(name, **options).draw(many)
    assert "\n" not in str(error.value)


def test_one_arm_per_partition_and_policy(many):
    twice = many.arms | {"again": many.arms["plain_2_full"] | {"router": "soft"}}
    with pytest.raises(ValueError, match="got 'plain_2_full' and 'again'; name the router"):
        make("partition_quality").draw(changed(many, {"arms": twice}))
    drawing = make("partition_quality", router="cluster").draw(changed(many, {"arms": twice}))
    assert "again" not in set(drawing.table["arm"])
    same = {"families": {"a": ["plain_2", "balanced_2"]}}
    with pytest.raises(ValueError, match=r"different numbers of experts in 'a', got \[2, 2\]"):
        make("partition_quality", **same).draw(many)
    assert len(make("imbalance", **same).draw(many).table) == 5  # points, not a line


# Imbalance


@pytest.mark.parametrize(
    "measure, quantity", [("entropy", "evenness_train"), ("ratio", "size_ratio_train")]
)
def test_imbalance_is_of_the_report(many, measure, quantity):
    drawing = make("imbalance", measure=measure).draw(many)
    table = drawing.table
    for row in table[table["family"] != partition_arms.MONOLITH].itertuples():
        report = (
            many.partition_report(row.partition)
            .query("cluster == -1")
            .set_index("quantity")["value"]
        )
        assert row.imbalance == report[quantity] and row.measure == measure
    sizes = many.cluster_sizes("plain_8")
    of_plain = table.loc[table["partition"] == "plain_8", "imbalance"]
    share = sizes / sizes.sum()
    wanted = {"ratio": sizes.max() / sizes.min(), "entropy": stats.entropy(share) / np.log(8)}
    assert of_plain.to_list() == pytest.approx([wanted[measure]] * 2)
    for axes, policy in zip(drawing.figure.axes, ("full", "top1"), strict=True):
        rows = table[(table["policy"] == policy) & (table["family"] != partition_arms.MONOLITH)]
        points = [bars[0].get_xydata()[0].tolist() for bars in axes.containers]
        assert points == rows[["imbalance", "value"]].to_numpy().tolist()
        rho = stats.spearmanr(rows["imbalance"], rows["value"]).statistic
        lo, hi = spearman_interval(rho, 12)
        title = f"{policy}:\n$\\rho$ = {rho:.2f} [{lo:.2f}, {hi:.2f}] ($n$ = 12)"
        assert axes.get_title() == title.replace("-", "−")
        markers = {
            n: {
                bars[0].get_marker()
                for bars, m in zip(axes.containers, rows["num_experts"], strict=True)
                if m == n
            }
            for n in (2, 4, 8)
        }
        assert [*map(len, markers.values())] == [1, 1, 1]
        assert len(set.union(*markers.values())) == 3
        assert axes.get_xscale() == {"entropy": "linear", "ratio": "log"}[measure]
        low, high = axes.get_xlim()
        assert low <= rows["imbalance"].min() and rows["imbalance"].max() <= high


def test_spearman_is_scipys():
    rng = np.random.default_rng(3)
    for num in (2, 3, 10, 30):
        x = pd.Series(rng.integers(0, 5, num) + np.arange(num) % 2 * 0.5)
        y = pd.Series(rng.standard_normal(num) + 0.5 * x)
        if x.nunique() > 1:
            assert imbalance.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert np.isnan(imbalance.spearman(pd.Series([1.0, 1, 1]), pd.Series([1.0, 2, 3])))
    assert imbalance.spearman(pd.Series([1, 2, 9]), pd.Series([5, 4, -7])) == -1


def test_equal_ratios_have_an_axis(many):
    reports = [
        r.assign(value=r["value"].where(r["quantity"] != "size_ratio_train", 1.0))
        for r in many.job.files["reports"]
    ]
    drawing = make("imbalance", measure="ratio").draw(changed(many, reports=reports))
    axes = drawing.figure.axes[0]
    assert axes.get_xlim()[0] < 1 < axes.get_xlim()[1]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1"]
    assert axes.get_title() == "full:\n$\\rho$ = – ($n$ = 12)"


# Agreement


@pytest.mark.parametrize("measure", ["nmi", "ari"])
def test_agreement_is_scikit_learns(many, measure):
    reference = {
        "nmi": sk.normalized_mutual_info_score,
        "ari": sk.adjusted_rand_score,
    }[measure]
    table = make("agreement", measure=measure).draw(many).table
    train = (many.index["split"] == "train").to_numpy()
    columns = {p: many.clusters(p)[train] for p in many.partitions if p != "monolith"}
    columns[agreement.LABELS] = many.index["label"].to_numpy()[train]
    names = list(columns)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[: i + 1]]
    assert [*zip(table["partition"], table["other"], strict=True)] == pairs
    for row in table.itertuples():
        wanted = reference(columns[row.partition], columns[row.other])
        assert row.value == pytest.approx(wanted, abs=1e-12)
        assert row.num_images == train.sum()


def test_the_map_shows_the_numbers(many):
    drawing = make("agreement", partitions=["plain_8", "random_8", "plain_4"]).draw(many)
    (axes,) = drawing.figure.axes
    names = ["plain 8", "random 8", "plain 4", "(labels)"]
    assert [t.get_text() for t in axes.get_yticklabels()] == names
    assert [t.get_text() for t in axes.get_xticklabels()] == names
    shown = {t.get_position(): t.get_text() for t in axes.texts}
    for row in drawing.table.itertuples():
        i, j = (names.index(n.replace("_", " ")) for n in (row.partition, row.other))
        assert shown[j, i] == shown[i, j] == f"{row.value:.2f}"
        assert axes.images[0].get_array()[i, j] == pytest.approx(row.value)
    assert len(shown) == 16


def test_labels_agree_only_where_all_images_have_one(many):
    index = many.job.files["index"][0]
    train = np.flatnonzero(index["split"] == "train")
    label = index["label"].astype(object)
    label.iloc[train[3]] = None
    table = make("agreement").draw(changed(many, index=[index.assign(label=label)])).table
    assert agreement.LABELS not in set(table["partition"])
    one = {"partitions": ["plain_2"]}
    with pytest.raises(ValueError, match="two partitions with more than one cluster, or one and"):
        make("agreement", **one).draw(changed(many, index=[index.assign(label="all")]))
    with pytest.raises(ValueError, match="did you mean 'plain_2'"):
        make("agreement", partitions=["plain2"]).draw(many)


# Tables


@pytest.mark.parametrize("metric, sign", [("fd_digits", -1), ("recall_digits", 1)])
def test_the_partition_table_bolds_the_best_of_each_policy(many, metric, sign):
    drawing = make("partition_table", metric=metric).draw(many)
    table, given = drawing.table, many.metrics.query("metric == @metric").set_index("arm")
    assert len(table) == 25
    for policy in ("full", "top1"):
        own = {
            a: given.loc[a, "value"] for a in many.arms if a.endswith(policy) and a in given.index
        }
        best = table[(table["policy"] == policy) & table["is_best"]]
        own = [a for a in own if many.num_experts[many.arms[a]["partition"]] > 1]
        assert best["arm"].to_list() == best_of(many, metric, own, sign)
    for row in table.itertuples():
        assert row.value == given.loc[row.arm, "value"]
        assert row.half_width == (given.loc[row.arm, "hi"] - given.loc[row.arm, "lo"]) / 2
        sizes = many.cluster_sizes(row.partition)
        assert (row.smallest, row.largest) == (sizes.min(), sizes.max())
        assert row.size_ratio_train == pytest.approx(sizes.max() / sizes.min())
    md, tex = drawing.texts["md"], drawing.texts["tex"]
    assert (
        md.count("**") == 2 * tex.count(r"\textbf") == 2 * table["is_best"].sum()
        and r"\midrule" in tex
    )
    lines = [line.strip("| ").split(" | ") for line in md.splitlines() if "|" in line]
    assert {len(line) for line in lines} == {7} and lines[0][-2:] == ["full", "top1"]
    cells = {line[0]: line for line in lines[2:]}
    row = table.set_index("arm").loc["plain_4_top1"]
    sizes = many.cluster_sizes("plain_4")
    assert cells["plain 4"][1:3] == ["4", f"{sizes.min()}–{sizes.max()}"]
    assert cells["plain 4"][-1].strip("*") == metric_labels.format_value(
        row["value"], row["half_width"]
    )
    assert cells["plain 4"][3:5] == [
        metric_labels.format_value(row["size_ratio_train"]),
        metric_labels.format_value(row["nmi"]),
    ]
    monolith = cells["monolith"]
    assert lines[-1] == monolith and monolith[-1] == monolith[-2] and monolith[2] == "–"


def test_the_monolith_is_never_the_best_of_a_policy(many):
    metrics = many.metrics.copy()
    is_monolith = (metrics["metric"] == "fd_digits") & (metrics["arm"] == "monolith")
    metrics.loc[is_monolith, ["value", "lo", "hi"]] = [-3.0, -4.0, -2.0]
    table = make("partition_table").draw(changed(many, metrics=[metrics])).table
    best = table[table["is_best"]]
    assert len(best) and "monolith" not in set(best["arm"])


def test_the_partition_table_has_the_partitions_with_its_sampler_and_guidance(many):
    sampler, guidance = many.arms["plain_2_full"]["sampler"], many.arms["plain_4_full"]["guidance"]
    others = {"plain_2": {"sampler": "heun"}, "plain_4": {"guidance": "separate_2"}}
    assert sampler != "heun" and guidance is None
    arms_ = {name: of | others.get(of["partition"], {}) for name, of in many.arms.items()}
    table = make("partition_table").draw(changed(many, {"arms": arms_})).table
    kept = [p for p in many.partitions if p not in (*others, "monolith")]
    assert list(dict.fromkeys(table["partition"])) == [*kept, "monolith"]


def test_quantities_of_a_cluster_are_not_those_of_the_partition():
    rows = [("within", -1, 3.0), ("size_train", 0, 5.0), ("within", 0, 2.0), ("within", 1, 9.0)]
    report = pd.DataFrame(rows, columns=["quantity", "cluster", "value"])
    assert partition_arms.partition_quantities(report) == {"within": 3.0}


def test_a_share_has_no_best_and_a_missing_cell_is_a_dash(many):
    few = {name: of for name, of in many.arms.items() if name != "plain_2_top1"}
    drawing = make("partition_table", metric="cluster_share_0").draw(changed(many, {"arms": few}))
    assert not drawing.table["is_best"].any() and "**" not in drawing.texts["md"]
    (line,) = [x for x in drawing.texts["md"].splitlines() if x.startswith("| plain 2 |")]
    assert line.endswith("| – |")
    some = make("partition_table", partitions=["plain_8", "plain_2"]).draw(many).table
    assert list(dict.fromkeys(some["partition"])) == ["plain_8", "plain_2", "monolith"]


def test_the_partition_report_is_the_reports(many):
    drawing = make("partition_report", partitions=["plain_8", "overlapping_4"]).draw(many)
    table = drawing.table.set_index("partition")
    for partition in ("plain_8", "overlapping_4"):
        sizes, row = many.cluster_sizes(partition), table.loc[partition]
        assert tuple(row[["smallest", "median", "largest"]]) == (
            sizes.min(), np.median(sizes), sizes.max(),
        )  # fmt: skip
        report = (
            many.partition_report(partition).query("cluster == -1").set_index("quantity")["value"]
        )
        for key in partition_facts.QUANTITIES:
            assert row[key] == report[key]
        assert row["within"] == 3.25 and row["num_experts"] == len(sizes)
    lines = [x.strip("| ").split(" | ") for x in drawing.texts["md"].splitlines() if "|" in x]
    assert [x[0] for x in lines[2:]] == ["plain 8", "overlapping 4"]
    assert {len(x) for x in lines} == {12} and lines[2][lines[0].index("within")] == "3.25"
    every = make("partition_report").draw(many).table
    assert every["partition"].to_list() == [p for p in many.partitions if p != "monolith"]


def test_a_quantity_that_no_report_has_is_no_column(many):
    reports = [r[r["quantity"] != "nmi"] for r in many.job.files["reports"]]
    reports[1] = reports[1][reports[1]["quantity"] != "purity"]
    inputs = changed(many, reports=reports)
    text = make("partition_report").draw(inputs).texts["md"]
    assert "NMI" not in text and "purity" in text
    (line,) = [x for x in text.splitlines() if x.startswith("| plain 2 |")]
    assert line.endswith("| – |")
    assert "| – |" in make("partition_table").draw(inputs).texts["md"]
    with pytest.raises(ValueError, match="did you mean 'plain_2'"):
        make("partition_report", partitions=["plain2"]).draw(inputs)
