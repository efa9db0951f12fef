"""Every artifact of the run against its checksum, its inputs and the code."""

from snakemake.io import regex_from_filepattern as _regex


def outputs_of_this_config():
    """A regular expression for every output of a rule, with the names in this config."""
    found = [_regex(str(file)) for rule in workflow.rules for file in rule.output]
    any_partition = f"(?P<partition>{one_of(SPEC['partitions'])})"
    any_cluster = r"(?P<cluster>\d+)"
    patterns = [pattern for pattern in found if any_cluster not in pattern]
    for pattern in set(found) - set(patterns):
        for partition, num in PLAN["num_experts"].items():
            clusters = one_of(str(k) for k in range(num))
            patterns.append(
                pattern.replace(any_partition, partition).replace(
                    any_cluster, f"(?:{clusters})"
                )
            )
    return sorted(set(patterns))


rule audit:
    log:
        f"{R}/logs/audit.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        # A function: only then Snakemake has completed the patterns of all rules.
        spec=lambda wildcards: json.dumps(
            {"root": R, "outputs": outputs_of_this_config()}
        ),
        code=code("audit"),
    message:
        "audit: check every artifact under results/{RUN}"
    shell:
        "python -m routing audit --spec {params.spec:q} --log {log}"
