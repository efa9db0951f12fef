"""The pages of docs/ and the README, compared with the code that they describe."""

import ast
import importlib.util
import re
import tomllib

import pytest
import yaml
from places import ROOT

from routing.config.registries import TABLES
from routing.config.schema import schema
from routing.figures.registry import FIGURES

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def page(name):
    return (DOCS / name).read_text()


def script(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Generated pages


def test_the_configuration_page_is_what_the_script_writes():
    made = script("generate").configuration()
    assert page("configuration.md") == made, "run: uv run python docs/generate.py"


def test_every_option_has_a_sentence_and_every_sentence_an_option():
    generate = script("generate")
    sentences = generate.option_sentences()
    used = set()
    for group, entry in schema()["$defs"].items():
        for row in entry.get("oneOf", []):
            if name := row.get("properties", {}).get("name", {}).get("const"):
                for option in row["properties"].keys() - {"name"}:
                    key = generate.sentence_key(sentences, group, name, option)
                    assert key, f"docs/options.yaml: add a sentence for {group}.{name}.{option}"
                    used.add(key)
    assert used == sentences.keys()
    assert all(s[0].isupper() or s[0] == "`" for s in sentences.values())
    assert all(s.endswith(".") for s in sentences.values())


def test_the_most_specific_sentence_counts():
    key = script("generate").sentence_key
    sentences = {"a": "1", "g.a": "2", "g.r.a": "3"}
    assert key(sentences, "g", "r", "a") == "g.r.a" and key(sentences, "g", "s", "a") == "g.a"
    assert key(sentences, "h", "r", "a") == "a" and key(sentences, "h", "r", "b") is None


def test_the_page_of_figures_is_what_the_script_writes():
    gallery = script("gallery")
    origins = gallery.read_origins()
    assert page("figures.md") == gallery.page(origins), "run: uv run python docs/gallery.py"
    assert origins.keys() <= FIGURES.keys()
    pictures = {path.stem for path in gallery.IMAGES.iterdir()} - {gallery.ORIGINS.stem}
    assert pictures == origins.keys()
    assert all(path.stat().st_size <= 1.1 * gallery.MAX_BYTES for path in gallery.IMAGES.iterdir())


def test_pictures_of_runs_become_small(tmp_path, monkeypatch):
    from PIL import Image

    gallery = script("gallery")
    monkeypatch.setattr(gallery, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(gallery, "ORIGINS", tmp_path / "images" / "origins.yaml")
    gallery.IMAGES.mkdir()
    folder = tmp_path / "results" / "digits" / "figures"
    folder.mkdir(parents=True)
    Image.effect_noise((1380, 740), 60).save(folder / "frontier.png")
    (folder / "results.md").write_text("\n".join(f"| {i} |" for i in range(30)))
    found = gallery.collect(tmp_path / "results")
    assert found == {"frontier": "digits/frontier", "results": "digits/results"}
    assert Image.open(gallery.IMAGES / "frontier.png").width <= gallery.WIDTH
    assert (gallery.IMAGES / "results.txt").read_text().count("\n") == gallery.TABLE_LINES
    assert gallery.read_origins() == found


# Pages written by hand


LISTED = {  # tables of choices whose rows a page must name
    "concepts.md": ("routers", "objectives", "policies", "guidances", "samplers"),
    "data.md": ("sources", "encoders", "partitions"),
    "metrics.md": ("metrics",),
    "figures.md": ("figures",),
}


@pytest.mark.parametrize("name", LISTED)
def test_a_page_names_all_rows_of_its_tables(name):
    text = page(name)
    for group in LISTED[name]:
        for row in TABLES[group].keys() - {"learned"}:
            cell = "none" if (group, row) == ("guidances", "none") else f"`{row}`"
            assert f"| {cell} |" in text or f"## {cell}\n" in text, f"{group}: {row}"


def test_extending_names_all_groups_of_entry_points():
    for group in [*TABLES, "backbones"]:
        assert f"| `routing.{group}` |" in page("extending.md"), group


def test_every_experiment_is_listed():
    for path in (ROOT / "experiments").glob("*.yaml"):
        assert f"`experiments/{path.name}`" in page("data.md"), path.name


def test_every_folder_of_the_package_is_listed_in_the_order_of_the_layers():
    listed = re.findall(r"^\| `(\w+)/` \|", page("architecture.md"), re.M)
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text())
    assigned = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    assert listed == ast.literal_eval(assigned["LAYERS"])


def outputs():
    """(stage, name and suffix of a file) of everything that the rules write."""
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for block in re.findall(r"^    output:\n((?:        .*\n)+)", path.read_text(), re.M):
            for file in re.findall(r'"([^"]+\.\w+)"', block):
                stem, suffix = file.split("/")[-1].rsplit(".", 1)
                yield path.stem, re.sub(r"-\{+shard\}+", "-NNNNN", stem), suffix


def test_every_file_of_the_results_is_listed():
    text = page("results.md")
    found = set(outputs())
    assert len(found) > 40
    for stage, stem, suffix in found:
        if stage == "figures":
            continue
        stem = re.sub(r"\{+\w+\}+", "<arm>", stem)
        assert re.search(rf"`{stage}/[^`]*{stem}\.{suffix}`", text), (stage, stem, suffix)


def test_every_direct_dependency_has_a_licence():
    groups = [PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"].values()]
    table = page("architecture.md").split("## Licences")[1]
    for pin in sum(groups, []):
        name = pin.split("==")[0].replace("torch_fidelity", "torch-fidelity")
        assert re.search(rf"[ ,|]{re.escape(name)}[,| ]", table), name


def test_versions_and_licence_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PROJECT["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "Apache License" in (ROOT / "LICENSE").read_text()


# Links, commands, and what must not be said


def slug(heading):
    """The anchor that GitHub and MkDocs give to a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.lower())
    return re.sub(r"\s+", "-", words.strip())


def anchors(path):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", path.read_text(), re.M)}


@pages
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if path.parent == DOCS:
            assert target.resolve().is_relative_to(DOCS), f"{link} is not part of the site"
        if anchor:
            assert anchor in anchors(target), link


@pages
def test_files_in_commands_exist(path):
    text = path.read_text()
    for name in re.findall(r"--configfile (\S+\.yaml)", text):
        assert name.strip("`),.") == "mine.yaml" or (ROOT / name).is_file(), name
    folders = "experiments|rules|envs|profiles|routing|tests|benchmarks"
    for name in re.findall(rf"\b((?:{folders})/[\w./-]+)(?![\w./<-])", text):
        assert (ROOT / name.rstrip("/.")).exists(), name
    for name in re.findall(r"`(docs/[\w./-]+)`", text):
        assert (ROOT / name.rstrip(".")).exists(), name
    for module in re.findall(r"python -m (routing[\w.]*)", text):
        parts = ROOT.joinpath(*module.split("."))
        assert (parts / "__main__.py").is_file() or parts.with_suffix(".py").is_file(), module


@pages
def test_no_page_names_a_registry_or_a_path_of_one_machine(path):
    text = path.read_text().lower()
    hosts = ("pypi", "pythonhosted", "anaconda.org", "npmjs", "unpkg")
    folders = ("/tmp/", "/root/", "/home/")
    for word in (*hosts, *folders):
        assert word not in text, word


def test_the_site_has_every_page():
    text = re.sub(r"!!python/name:\S+", "x", (ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r": (\w+\.md)", text))
    assert named == {path.name for path in DOCS.glob("*.md")}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160
