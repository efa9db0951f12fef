"""The resolved config for the Snakefile, cached on disk.

To resolve a config all tables of choices are imported, and with them torch, which takes about two
seconds. Snakemake parses the Snakefile once per command and twice per Slurm job. So the resolved
config is stored under `.snakemake/`, by the digest of the config and of the code that resolves it.
Errors are not cached.
"""

import hashlib
import json
from importlib import metadata
from pathlib import Path

from routing.workflow import code_digest
from routing.workflow.artifacts import write_atomically

CACHE = Path(".snakemake") / "routing"


def resolved(raw: dict) -> dict:
    """Return `routing.config.experiment.resolve(raw)`, cached. Raises ValueError like it."""
    installed = metadata.entry_points()
    groups = sorted(group for group in installed.groups if group.startswith("routing."))
    plugins = [f"{g}:{e.name}={e.value}" for g in groups for e in installed.select(group=g)]
    digest = code_digest.module_digest("routing.config.experiment")
    key = repr([raw, digest, plugins])  # in the written order, because the order of arms matters
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    from routing.config import experiment

    text = json.dumps(experiment.resolve(raw))
    write_atomically(path, text.encode())
    return json.loads(text)
