"""Copies of the checkout in which real Snakemake runs are made, broken, edited and compared.

A pytest plugin: `checkout` is one fresh copy per test session, `oracle_run`, `digits_run` and
`images_run` are finished runs in copies of it (never to be changed), `clone` makes a copy that a
test may spoil.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from encoded_images import encoded, smooth
from encoder_fixtures import save_resnet
from filelock import FileLock
from places import ROOT
from pretrained import autoencoder, both_towers, vgg16

from routing.workflow import artifacts

PARTS = ("Snakefile", "workflow_config.yaml", "slurm", "envs", "experiments", "profiles", "rules")
ORACLE, DIGITS = "tests/pipeline/tiny_oracle.yaml", "tests/pipeline/tiny_digits.yaml"
IMAGES = "tests/pipeline/tiny_images.yaml"
NUM_PICTURES, DAMAGED = 48, "birch/17.png"
TIMEOUT_S = 600


@dataclass(frozen=True)
class Done:
    """How a command ended and everything that it printed."""

    status: int
    text: str

    def lines(self, word: str) -> list[str]:
        return [line for line in self.text.splitlines() if word in line]


@dataclass(frozen=True)
class Workplace:
    """A copy of the checkout, the user's folder, and the experiment that is run in it."""

    folder: Path
    config: str | None = None

    def command(self, *words: str) -> dict:
        """What to start, where and how: `snakemake WORDS`, with the package of this copy."""
        chosen = ["--configfile", self.config] if self.config else []
        places = [Path(sys.executable).parent, os.environ["PATH"]]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SNAKEMAKE_"))}
        env |= {
            "PATH": os.pathsep.join(map(str, places)),
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": "1",
        }
        return {
            "args": [sys.executable, "-m", "snakemake", *words, *chosen],
            "cwd": self.folder,
            "env": env,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def snakemake(self, *words: str, **variables: str) -> Done:
        """Run to the end; `variables` are added to the environment."""
        command = self.command(*words)
        done = subprocess.run(
            **command | {"env": command["env"] | variables}, timeout=TIMEOUT_S, check=False
        )
        return Done(done.returncode, done.stdout)

    def make(self, *words: str, **variables: str) -> Done:
        """Run to the end, which must be a good one."""
        done = self.snakemake(*words, **variables)
        assert done.status == 0, f"{done.text}\nstatus {done.status}"
        return done

    def plan(self, target: str = "figures") -> set[str]:
        """The messages of the jobs that a dry run announces."""
        text = self.make(target, "-n").text
        return set(re.findall(r"^Job \d+: (.*)$", text, re.MULTILINE))

    def broken_off(self, sign: signal.Signals, saved: Path, *words: str) -> Done:
        """Start, wait until the file `saved` has been written, and send `sign`.

        As with Ctrl-C in a terminal, the signal goes to Snakemake and to its jobs.
        """
        start = time.time_ns()
        process = subprocess.Popen(**self.command(*words), start_new_session=True)
        while not _is_newer(saved, start):
            assert process.poll() is None, process.stdout.read()
            assert time.time_ns() - start < TIMEOUT_S * 1e9
            time.sleep(0.01)
        os.killpg(process.pid, sign)
        text, _ = process.communicate(timeout=TIMEOUT_S)
        return Done(process.returncode, text)

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / "results" / "tiny" / name

    def contents(self) -> dict[str, str]:
        """The content digest of every artifact."""
        root = self.path("")
        sealed = [*root.rglob("*.parquet"), *root.rglob("*.safetensors")]
        return {
            path.relative_to(root).as_posix(): artifacts.read_provenance(path)["content"]
            for path in sealed
        }

    def files(self) -> list[Path]:
        """All files of the run but its logs."""
        root = self.path("")
        found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        return sorted(path for path in found if path.parts[0] != "logs")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace what must occur exactly once in a file of this copy."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new))

    def append(self, name: str, text: str) -> None:
        """Add `text` at the end of a file of this copy."""
        with open(self.folder / name, "a") as file:
            file.write(text)


def _is_newer(path: Path, time_ns: int) -> bool:
    try:
        return path.stat().st_mtime_ns > time_ns
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`shared(name, make)`: the folder `name`, which the first worker that asks for it makes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        path, is_done = base / name / "fresh", base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not is_done.exists():
                make(path)
                is_done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def checkout(shared) -> Workplace:
    """A copy of the files that a run needs. Not to be changed: see `clone`."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in PARTS:
            source = ROOT / name
            if source.is_dir() and not source.is_symlink():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy2(source, folder / name, follow_symlinks=False)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "routing", folder / "routing", ignore=ignored)
        for name in (ORACLE, DIGITS, IMAGES):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)

    return Workplace(shared("checkout", make))


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """`clone(place)`: a copy of a folder with its results, which a test may change."""

    def copy(place: Workplace, config: str | None = None) -> Workplace:
        folder = tmp_path_factory.mktemp("clone") / "copy"
        shutil.copytree(place.folder, folder, symlinks=True)
        return Workplace(folder, config or place.config)

    return copy


def finished(shared, checkout, name: str, config: str, prepare=None) -> Workplace:
    """A finished run of `config`, made once in a session for all workers."""

    def make(folder: Path) -> None:
        shutil.copytree(checkout.folder, folder, symlinks=True)
        place = Workplace(folder, config)
        if prepare:
            prepare(place)
        place.make("figures")

    return Workplace(shared(name, make), config)


@pytest.fixture(scope="session")
def oracle_run(shared, checkout) -> Workplace:
    return finished(shared, checkout, "oracle_run", ORACLE)


@pytest.fixture(scope="session")
def digits_run(shared, checkout) -> Workplace:
    return finished(shared, checkout, "digits_run", DIGITS)


@pytest.fixture(scope="session")
def images_run(shared, checkout) -> Workplace:
    return finished(shared, checkout, "images_run", IMAGES, with_pictures)


def with_pictures(place: Workplace) -> None:
    """The files that the config of the images names: pictures, one of them damaged, networks."""
    for i in range(NUM_PICTURES):
        label = ("ash_tree", "birch")[i % 2]
        path = place.folder / "pictures" / label / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(smooth(18 + i % 3, 22, seed=i)))
        path.with_suffix(".txt").write_text(
            f"a picture of {label} number {i % 5}" if i % 7 else ""
        )
    damaged = place.folder / "pictures" / DAMAGED
    damaged.write_bytes(damaged.read_bytes()[:200])
    (place.folder / "networks").mkdir()
    save_resnet(place.folder / "networks" / "resnet.safetensors")
    autoencoder(place.folder / "networks" / "autoencoder")
    both_towers(place.folder / "networks" / "clip")
    vgg16(place.folder / "networks" / "vgg.safetensors")
