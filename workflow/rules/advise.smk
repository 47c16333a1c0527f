"""
Reads   <results>/tables/scores.csv and segmentation.csv (numbers of images), and the fitted predictor (config key advise.predictor)
Writes  <results>/tables/advice.csv  a row per pair and seed: adapt or keep
"""


rule advise:
    """Tell for every pair, labelled or not, whether to adapt; nothing is fitted."""
    input:
        scores="<results>/tables/scores.csv",
        segmentation="<results>/tables/segmentation.csv",
        predictor=PREDICTOR,
    output:
        advice=report(
            "<results>/tables/advice.csv",
            caption="../report/advice.rst",
            category="4 Tables",
            labels={"what": "The advice on every pair"},
        ),
    log:
        "<logs>/advise.log",
    benchmark:
        "<benchmarks>/advise.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("advise"),
    script:
        "../scripts/advise.py"
