"""Stage audit: check every artifact of a run against its checksum, its inputs and the code.

For each Parquet and safetensors file in the folder of the run, the audit checks that

    the file has the checksum that it was written with;
    every input in its provenance still exists, with the recorded sha256;
    the source files that its stage imports have the recorded digests;
    the images and text tables written with it have the recorded sha256.

Artifacts that no rule can make with this config, for example those of an arm that was removed from
it, are named and not checked. The audit ends with the command that removes them.

Files are checked in the order of the data flow, so that the first mismatch is a cause and not a
consequence.

`unrecorded_artifacts` is a quick check for the Snakefile. It finds artifacts that Snakemake has no
record of, and that were made by other code.
"""

import re
import shlex
from base64 import urlsafe_b64encode
from pathlib import Path

from routing.workflow import artifacts as store
from routing.workflow import code_digest, stage_names

ARTIFACT_SUFFIXES = (".parquet", ".safetensors")
SNAKEMAKE_RECORDS = Path(".snakemake") / "metadata"


def run(job) -> None:
    """Print a line per artifact. Raises ValueError that explains the first mismatch.

    `outputs` of the spec are regular expressions of the files that the rules can make; without it
    all artifacts are checked.
    """
    root = Path(job.spec["root"])
    found = artifacts(root)
    if not found:
        raise ValueError(f"nothing to audit under {root}; run `snakemake figures` first")
    outputs = [re.compile(pattern) for pattern in job.spec.get("outputs", [".*"])]
    checked: set[Path] = set()
    leftovers: set[Path] = set()
    hashes: dict[Path, store.Checked] = {}
    print(f"{'artifact':<62} {'stage':<10} {'commit':<9} {'inputs':>6}  result")
    for path, provenance in found:
        is_leftover = not any(pattern.fullmatch(path.as_posix()) for pattern in outputs)
        problem = None if is_leftover else mismatch(path, provenance, hashes)
        result = "not part of this config" if is_leftover else problem or "ok"
        commit = provenance["commit"][:8] + ("" if provenance["clean"] else "+")
        num = sum(len(files) for files in provenance["inputs"].values())
        name = path.relative_to(root).as_posix()
        print(
            f"{name:<62} {provenance['stage']:<10} {commit:<9} {num:>6}  {result}",
            flush=True,
        )
        if problem:
            raise ValueError(f"{path}: {problem}")
        written = {path, *(path.with_name(name) for name in provenance.get("siblings", {}))}
        (leftovers if is_leftover else checked).update(written)
    for path in files(root):
        if path not in checked | leftovers:
            raise ValueError(
                f"{path}: not recorded by any artifact; remove it or make it by a rule"
            )
    print(f"audit: {len(checked)} files of {root}: checksums, inputs and code agree")
    leftovers = {path for path in leftovers - checked if path.is_file()}
    if leftovers:
        paths = [shlex.quote(path.as_posix()) for path in whole_folders(root, leftovers)]
        print(
            f"audit: {len(leftovers)} files are not part of this config; remove them with "
            f"`rm -r {' '.join(paths)}`, or restore the config that made them"
        )


def whole_folders(root: Path, paths: set[Path]) -> list[Path]:
    """Return `paths`, with a folder below `root` in place of its files if all of them are among.

    Unfinished work, which `files` leaves out, keeps its folder.
    """
    kept = {
        folder
        for path in root.rglob("*")
        if path.is_file()
        for folder in path.parents
        if path not in paths
    }
    found = set()
    for path in paths:
        folders = [folder for folder in path.parents if root in folder.parents]
        removed = [folder for folder in folders if folder not in kept]
        found.add(removed[-1] if removed else path)
    return sorted(found)


def artifacts(root: Path) -> list[tuple[Path, dict]]:
    """Return the artifacts under `root` with their provenance, in the order of the data flow."""
    found = [
        (path, store.read_provenance(path))
        for path in files(root)
        if path.suffix in ARTIFACT_SUFFIXES
    ]
    order = {stage: number for number, stage in enumerate(stage_names.STAGES)}
    return sorted(found, key=lambda item: (order.get(item[1]["stage"], len(order)), item[0]))


def files(root: Path) -> list[Path]:
    """Return all files of a run except logs and states of unfinished training."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0] != "logs"
        and path.suffix != ".state"
        and not path.name.startswith(".")
    )


def mismatch(path: Path, provenance: dict, hashes: dict[Path, store.Checked]) -> str | None:
    """Return what is wrong with an artifact, or None. `hashes` caches the checks of files."""

    def checked(file: Path) -> store.Checked:
        if file not in hashes:
            hashes[file] = store.check(file)
        return hashes[file]

    if problem := checked(path).problem:
        return f"{problem}; delete it and run the same command again"
    differ = code_digest.differences(provenance["code"], code_digest.closure(provenance["stage"]))
    if differ:
        return (
            f"made by other code: {', '.join(differ)} differ from the code that stage "
            f"{provenance['stage']} ran; rerun it (`snakemake -n` lists what follows)"
        )
    for name, recorded in provenance["inputs"].items():
        for entry in recorded:
            source = Path(entry["path"])
            if not source.is_file():
                return f"its input {source} ({name}) is missing; rerun the stage that makes it"
            if checked(source).sha256 != entry["sha256"]:
                return (
                    f"its input {source} ({name}) has changed since it was read (sha256 "
                    f"{entry['sha256'][:12]}, now {checked(source).sha256[:12]}); rerun this stage"
                )
    for name, recorded in provenance.get("siblings", {}).items():
        sibling = path.with_name(name)
        if not sibling.is_file():
            return f"its {name} is missing; delete this file and rerun"
        if checked(sibling).sha256 != recorded:
            return f"{name} was modified after it was written; delete it and rerun"
    return None


def unrecorded_artifacts(root: Path) -> str | None:
    """Return one line about artifacts of other code that Snakemake has no record of, or None."""
    if not root.is_dir():
        return None
    stages: dict[str, str] = {}
    for path in files(root):
        if path.suffix not in ARTIFACT_SUFFIXES or _recorded(path):
            continue
        provenance = store.read_provenance(path)
        differ = code_digest.differences(
            provenance["code"], code_digest.closure(provenance["stage"])
        )
        if differ:
            stages.setdefault(
                provenance["stage"], f"{path} (commit {provenance['commit'][:8]}): {differ[0]}"
            )
    if not stages:
        return None
    ordered = [stage for stage in stage_names.STAGES if stage in stages]
    rules = " ".join(rule for stage in ordered for rule in stage_names.rules(stage))
    return (
        f"{root} was made by other code, e.g. {stages[ordered[0]]} differs; remake what differs "
        f"with `snakemake figures --forcerun {rules}`, or give this run another name"
    )


def _recorded(path: Path) -> bool:
    name = urlsafe_b64encode(path.as_posix().encode()).decode()
    return (SNAKEMAKE_RECORDS / name).exists() if len(name) < 255 else True
