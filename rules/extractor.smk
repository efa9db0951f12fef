"""The classifier in whose features the default experiment is measured."""


rule extractor:
    input:
        samples=IMAGES,
        index=INDEX,
    output:
        weights=f"{R}/extractor/{{extractor}}/weights.safetensors",
        loss=f"{R}/extractor/{{extractor}}/loss.parquet",
        report=f"{R}/extractor/{{extractor}}/report.parquet",
    log:
        f"{R}/logs/extractor/{{extractor}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(
            extractor_name=wildcards.extractor,
            extractor=SPEC["extractors"][wildcards.extractor],
        ),
        code=code("extractor"),
    message:
        "extractor: train the classifier {wildcards.extractor}"
    shell:
        "python -m routing extractor --in samples={input.samples} --in index={input.index}"
        " --out weights={output.weights} --out loss={output.loss} --out report={output.report}"
        " --spec {params.spec:q} --log {log}"
