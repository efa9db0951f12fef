"""Figures and tables: one job each, with the Parquet behind it."""


rule figure:
    input:
        unpack(figure_inputs),
    output:
        pdf=f"{R}/figures/{{figure}}.pdf",
        png=f"{R}/figures/{{figure}}.png",
        table=f"{R}/figures/{{figure}}.parquet",
    log:
        f"{R}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(n for n, kinds in PLAN["formats"].items() if "png" in kinds),
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=figure_spec,
        code=code("figures"),
        words=figure_words,
    message:
        "figures: draw {wildcards.figure}"
    shell:
        "python -m routing figures {params.words} --out pdf={output.pdf} --out png={output.png}"
        " --out table={output.table} --spec {params.spec:q} --log {log}"


rule table:
    input:
        unpack(figure_inputs),
    output:
        md=f"{R}/figures/{{figure}}.md",
        tex=f"{R}/figures/{{figure}}.tex",
        table=f"{R}/figures/{{figure}}.parquet",
    log:
        f"{R}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(n for n, kinds in PLAN["formats"].items() if "md" in kinds),
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=figure_spec,
        code=code("figures"),
        words=figure_words,
    message:
        "figures: write the table {wildcards.figure}"
    shell:
        "python -m routing figures {params.words} --out md={output.md} --out tex={output.tex}"
        " --out table={output.table} --spec {params.spec:q} --log {log}"
