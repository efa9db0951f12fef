"""The example package of docs/extending.md: its rows are found, accepted, and right."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
import torch
import yaml
from figures_world import make_job
from places import ROOT

from routing.figures.registry import FIGURES
from routing.figures.shared.figure_inputs import FigureInputs
from routing.metrics.protocol import ArmSamples
from routing.metrics.registry import METRICS
from routing.workflow import choices

EXAMPLE = ROOT / "docs" / "example_package"
PROJECT = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
GROUPS = PROJECT["project"]["entry-points"]


def policies():
    from routing.ensemble.policies import POLICIES

    return POLICIES


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example package as an installer leaves it: on the path, with its entry points."""
    info = tmp_path / "routing_example-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: routing-example\nVersion: 0.1.0\n"
    )
    lines = []
    for group, rows in GROUPS.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in rows.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    monkeypatch.syspath_prepend(tmp_path)
    yield [str(tmp_path), str(EXAMPLE / "src")]
    for name in [name for name in sys.modules if name.split(".")[0] == "routing_example"]:
        del sys.modules[name]


def row(group, own, name, **options):
    return choices.build(choices.with_plugins(group, own), {"name": name} | options, "x")


def test_the_policy_sharpens_the_posterior(installed):
    rng = torch.Generator().manual_seed(0)
    p = torch.rand((64, 5), generator=rng, dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    t, u = torch.rand(64, generator=rng), torch.rand(64, generator=rng)

    def weights(temperature, rows=slice(None)):
        policy = row("policies", policies(), "sharpened", temperature=temperature)
        return policy(p[rows], t[rows], u[rows], None)[0]

    squares = p**2 / (p**2).sum(1, keepdim=True)
    assert torch.allclose(weights(0.5), squares, rtol=1e-12, atol=0)
    assert torch.allclose(weights(1.0), p, rtol=1e-12, atol=0)
    top1 = torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0)
    assert torch.allclose(weights(1e-7), top1, atol=1e-9)
    alone = torch.cat([weights(0.5, slice(i, i + 1)) for i in range(64)])
    assert torch.equal(alone, weights(0.5))
    with pytest.raises(ValueError, match="x: sharpened: temperature must be > 0, got 0.0"):
        weights(0.0)


def test_the_metric_is_the_weighted_mean_of_lengths(installed):
    metric = row("metrics", METRICS, "feature_norm")
    features = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    arm = ArmSamples(
        features=features,
        reference=None,
        weights=torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]).double(),
        metric_name=lambda kind: f"{kind}_digits",
        order=torch.arange(3),
    )
    (found,) = metric.replicates(arm).items()
    assert found[0] == "feature_norm_digits" and found[1].tolist() == [2.0, 3.0]


def test_the_figure_shows_the_cost_of_every_arm(installed):
    inputs = FigureInputs(make_job("digits"))
    drawing = row("figures", FIGURES, "cost_bars", arms=["sticky", "full"]).draw(inputs)
    assert drawing.table["arm"].tolist() == ["sticky", "full"]
    for arm, evaluations in drawing.table.itertuples(index=False):
        cost = inputs.cost(arm).set_index("component")
        assert evaluations == cost.loc["total", "evaluations"] > 0
    assert drawing.rendered("png").startswith(b"\x89PNG")


CONFIG = """
policies: {sharp: {name: sharpened, temperature: 0.5}}
arms: {sharp: {partition: semantic, router: learned, policy: sharp, sampler: euler}}
metrics: {list: [{name: feature_norm}]}
figures: {cost: {name: cost_bars}}
"""
RESOLVE = """
import json, sys
from routing.config.experiment import resolve
print(json.dumps(resolve(json.load(sys.stdin))))
"""


def resolved(config, paths):
    """What a fresh Python makes of the config: tables are read when it starts."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, str(ROOT)])}
    command = [sys.executable, "-c", RESOLVE]
    return subprocess.run(
        command, input=json.dumps(config), env=environment, capture_output=True, text=True
    )


def test_a_config_may_use_the_rows_only_where_the_package_is_installed(installed):
    config = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())
    added = yaml.safe_load(CONFIG)
    for section in ("policies", "arms", "figures"):
        config[section] |= added[section]
    config["metrics"]["list"] += added["metrics"]["list"]
    done = resolved(config, installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["policies"]["sharp"] == {"name": "sharpened", "temperature": 0.5}
    assert found["metrics"]["list"][-1]["name"] == "feature_norm"
    assert found["plan"]["figure_inputs"]["cost"] == ["costs"]
    assert "unknown name" in resolved(config, []).stderr


def test_the_page_shows_the_files_and_the_config():
    page = (ROOT / "docs" / "extending.md").read_text()
    shown = [EXAMPLE / "pyproject.toml", *sorted((EXAMPLE / "src").rglob("[a-z]*.py"))]
    assert len(shown) == 4
    for path in shown:
        assert path.read_text().strip() in page, path.name
    for line in CONFIG.strip().splitlines():
        assert line.split(": ", 1)[1].strip("{}") in page, line


@pytest.mark.slow
def test_a_typo_in_an_entry_point_breaks_only_the_configs_that_name_it(installed):
    lists = next(ROOT.joinpath(installed[0]).glob("*.dist-info")) / "entry_points.txt"
    text = lists.read_text().replace("routing_example.", "routing_exmple.")
    for group in ("text_encoders", "experts"):  # tables that a config does not choose from by key
        text += f"[routing.{group}]\nbad = routing_exmple:Bad\n"
    lists.write_text(text)
    config = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())
    done = resolved(config, installed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(resolved(config, []).stdout)
    config["policies"]["sharp"] = {"name": "sharpened"}
    assert (
        "\nValueError: policies.sharp: entry point routing.policies:sharpened "
        "(routing_exmple.policies:Sharpened) cannot be loaded (ModuleNotFoundError: No module "
        "named 'routing_exmple'); correct or uninstall its package\n"
    ) in resolved(config, installed).stderr
