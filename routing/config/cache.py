"""The resolved config for the Snakefile, cached on disk.

To resolve a config all tables of choices are imported, and with them torch, which takes about two
seconds. Snakemake parses the Snakefile once per command and twice per Slurm job. So the resolved
config is stored under `.snakemake/`, by the digest of the config and of the code that resolves it.
Errors are not cached.
"""

import hashlib
import json
from pathlib import Path

from routing.workflow import code_digest, plugin_packages
from routing.workflow.artifacts import write_atomically

CACHE = Path(".snakemake") / "routing"


def resolved(raw: dict) -> dict:
    """Return `routing.config.experiment.resolve(raw)`, cached. Raises ValueError like it."""
    plugins = plugin_packages.packages(plugin_packages.groups())  # a config may name any row
    digest = code_digest.module_digest("routing.config.experiment")
    parts = [raw, digest, code_digest.plugin_digests(plugins)]
    key = repr(parts)  # in the written order, because the order of arms matters
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    from routing.config import experiment

    text = json.dumps(experiment.resolve(raw))
    write_atomically(path, text.encode())
    return json.loads(text)
