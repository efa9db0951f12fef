"""What a figure was asked for and does not show is written on it and in the log."""

import pytest
from figures_world import CASES, FakeJob, guided, job_for, make, texts_of

from routing.figures.registry import FIGURES
from routing.figures.shared import figure_text
from routing.figures.shared.figure_inputs import FigureInputs
from routing.stages import figures as stage


def one_scale():
    """Guided arms of one scale of `separate` and one of `shared`, and the monolith's curve."""
    base = guided()
    kept = ["full_separate_2", "full_shared_2", *(n for n in base.spec["arms"] if "mono" in n)]
    return kept, FigureInputs(base)


def written(drawing):
    if drawing.texts:
        return drawing.texts["md"].replace("\\", "")
    texts = [figure_text.plain_text(text) for text, _, _ in texts_of(drawing.figure)]
    return " ".join(" ".join(texts).split())


def test_guidance_names_the_arms_of_a_single_scale(capsys):
    kept, inputs = one_scale()
    figure = make("guidance", arms=kept)
    drawing = stage.draw(figure, inputs)
    assert set(drawing.table["kind"]) == {"monolith"}
    assert drawing.left_out == ("full_separate_2", "full_shared_2")
    assert "not shown: full separate 2, full shared 2 (no value, or not comp" in written(drawing)
    assert drawing.rendered("png") and drawing.rendered("pdf")
    width, height = drawing.figure.bbox.size
    for text, box, _ in texts_of(drawing.figure):
        assert box.y0 >= -1 and box.x0 >= -1 and box.x1 <= width + 1, text


def unmeasured(job, arm):
    """The run with no metric of `arm`."""
    files = dict(job.files)
    for name in ("metrics", "differences", "replicates"):
        files[name] = [files[name][0][files[name][0]["arm"] != arm].reset_index(drop=True)]
    pairs = files["comparisons"][0]
    kept = (pairs["arm"] != arm) & (pairs["other"] != arm)
    files["comparisons"] = [pairs[kept].reset_index(drop=True)]
    return FakeJob(job.spec, files)


OF_METRICS = (
    "quality differences frontier results router_table router_matrix partition_quality "
    "partition_table imbalance critical_difference comparison distinguishable"
).split()


@pytest.mark.parametrize("name", OF_METRICS)
def test_an_arm_without_a_value_is_named(name):
    job = job_for(name)
    is_division = "plain_4_top1" in job.spec["arms"]
    arm = "plain_4_top1" if is_division else "top1"
    figure = make(name)
    assert stage.draw(figure, FigureInputs(job)).left_out == ()
    drawing = stage.draw(figure, FigureInputs(unmeasured(job, arm)))
    assert drawing.left_out == (arm,)
    assert f"not shown: {arm.replace('_', ' ')} (no value" in written(drawing)
    if drawing.texts:
        note = f"% not shown: {arm.replace('_', ' ')} (no value, or not comparable in this figure)"
        assert drawing.texts["tex"].endswith(note + "\n")


@pytest.mark.parametrize("name", FIGURES)
def test_a_complete_figure_has_no_note(name):
    drawing = stage.draw(make(name), FigureInputs(job_for(name)))
    assert drawing.left_out == (), CASES[name]


def test_the_log_has_every_name_and_the_figure_the_first(capsys):
    class Job(FakeJob):
        def write_bytes(self, kind, data):
            pass

        write_table = write_bytes

    base = guided()
    arms = [n for n in base.spec["arms"] if n.startswith("mono")] + ["full_shared_2"]
    spec = base.spec | {"figure_name": "first"}
    spec |= {"figure": {"name": "guidance", "metrics": ["fd_digits"], "arms": arms}}
    stage.run(Job(spec, base.files))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("figures.first: not shown: full shared 2 (")
