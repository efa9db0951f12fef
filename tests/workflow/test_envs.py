"""The software is pinned once: pyproject.toml, the conda file and the exported list agree."""

import re
import tomllib

import yaml
from places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = (ROOT / "envs" / "requirements.txt").read_text()


def plain(name):
    return name.lower().replace("_", "-")


def test_direct_dependencies_are_pinned_exactly():
    groups = [PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"].values()]
    for pin in sum(groups, []):
        assert re.fullmatch(r"[A-Za-z0-9_-]+==[0-9.]+", pin), pin
    assert PROJECT["tool"]["uv"]["exclude-newer"]


def test_conda_gives_the_same():
    packages = yaml.safe_load((ROOT / "envs" / "routing.yaml").read_text())["dependencies"]
    pip = next(p["pip"] for p in packages if isinstance(p, dict))
    assert pip == PROJECT["project"]["dependencies"]
    assert "python =3.11" in packages and PROJECT["project"]["requires-python"] == "==3.11.*"


def test_the_exported_list_has_every_pin_with_hashes_and_no_address():
    listed = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", REQUIREMENTS, flags=re.M))
    listed = {plain(name): version for name, version in listed.items()}
    for pin in PROJECT["project"]["dependencies"]:
        name, version = pin.split("==")
        assert listed[plain(name)] == version, pin
    assert "://" not in REQUIREMENTS
    for block in re.split(r"\n(?=\S)", REQUIREMENTS):
        assert block.startswith("#") or "--hash=sha256:" in block, block[:60]
