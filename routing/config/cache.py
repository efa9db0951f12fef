"""The resolved config for the Snakefile, without paying for torch at every parse.

Resolving needs every table of choices, and so torch (about two seconds). Snakemake parses the
Snakefile once per command and twice per Slurm job, so the answer is remembered under
`.snakemake/`, by the digest of the raw config and of all code it depends on. A config with an
error is never remembered.
"""

import hashlib
import json
from importlib import metadata
from pathlib import Path

from routing.workflow import code_digest
from routing.workflow.artifacts import write_atomically

CACHE = Path(".snakemake") / "routing"


def resolved(raw: dict) -> dict:
    """`routing.config.experiment.resolve(raw)`, remembered. Raises ValueError (one line)."""
    found = metadata.entry_points()
    groups = sorted(group for group in found.groups if group.startswith("routing."))
    added = [f"{g}:{e.name}={e.value}" for g in groups for e in found.select(group=g)]
    digest = code_digest.module_digest("routing.config.experiment")
    key = repr([raw, digest, added])  # as written: the order of arms counts
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    from routing.config import experiment

    answer = json.dumps(experiment.resolve(raw))
    write_atomically(path, answer.encode())
    return json.loads(answer)
