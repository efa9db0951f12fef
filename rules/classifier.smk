"""Train a classifier whose features serve as a feature space."""


rule classifier:
    input:
        samples=IMAGES,
        index=INDEX,
    output:
        weights=f"{R}/classifier/{{classifier}}/weights.safetensors",
        loss=f"{R}/classifier/{{classifier}}/loss.parquet",
        report=f"{R}/classifier/{{classifier}}/report.parquet",
    log:
        f"{R}/logs/classifier/{{classifier}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(
            classifier_name=wildcards.classifier,
            classifier=SPEC["classifiers"][wildcards.classifier],
        ),
        code=code("classifier"),
    message:
        "classifier: train the classifier {wildcards.classifier}"
    shell:
        "python -m routing classifier --in samples={input.samples} --in index={input.index}"
        " --out weights={output.weights} --out loss={output.loss} --out report={output.report}"
        " --spec {params.spec:q} --log {log}"
