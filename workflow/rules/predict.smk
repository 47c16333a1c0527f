"""
Reads   <results>/tables/pairs.csv, scores.csv and distances.csv, <results>/rehearsed/**.csv, and the shipped
        predictor where a study has real domains or networks of another width
Writes  <results>/tables/predictors.csv   a row per predictor, protocol and outcome
        <results>/tables/small_tree.txt   the small tree of the IoU, in words
        <results>/predictor.npz           a forest fitted on every labelled pair of this study
        <results>/figures/predictors_*.svg, one per protocol, and the pairs in each, *.csv
"""


rule predict:
    """Fit predictors of what every action reaches in folds and judge them on what was held out."""
    input:
        pairs="<results>/tables/pairs.csv",
        scores="<results>/tables/scores.csv",
        distances="<results>/tables/distances.csv",
        rehearsals=expand("<results>/rehearsed/{network}.csv", network=STUDY.rehearsed),
        frozen=[PREDICTOR] if STUDY.asks_the_shipped_predictor else [],
    output:
        **{
            protocol: report(
                f"<results>/figures/predictors_{protocol}.svg",
                caption="../report/predictors.rst",
                category=figures("predict")["predictors"]["category"],
                labels={"what": f"Predicting the gain: {protocol.replace('_', ' ')}"},
            )
            for protocol in STUDY.protocols
        },
        **{
            f"{protocol}_data": f"<results>/figures/predictors_{protocol}.csv"
            for protocol in STUDY.protocols
        },
        predictors="<results>/tables/predictors.csv",
        tree="<results>/tables/small_tree.txt",
        forest="<results>/predictor.npz",
    log:
        "<logs>/predict.log",
    benchmark:
        "<benchmarks>/predict.tsv"
    conda:
        "../../envs/predict.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        *code("predict"),
        scores=essence("score", "prediction"),
        asked=STUDY.frozen,
        order=STUDY.order,
        options=config["predict"],
        protocols=STUDY.protocols,
    script:
        "../scripts/predict.py"
