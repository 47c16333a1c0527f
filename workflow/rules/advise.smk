"""
Reads   <results>/tables/scores.csv and segmentation.csv (numbers of images), <results>/rehearsed/**.csv, and the fitted
        predictor (config key advise.predictor)
Writes  <results>/tables/advice.csv  a row per pair and seed: what to do, and what to expect of every action
"""


rule advise:
    """Tell for every pair, labelled or not, what to do: the predictor, corrected by the rehearsal of the source."""
    input:
        scores="<results>/tables/scores.csv",
        segmentation="<results>/tables/segmentation.csv",
        rehearsals=expand("<results>/rehearsed/{network}.csv", network=STUDY.rehearsed),
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
        "../../envs/predict.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("advise"),
        scores=essence("score", "prediction"),
        order=STUDY.order,
        options=config["predict"],
    script:
        "../scripts/advise.py"
