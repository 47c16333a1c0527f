"""
Reads   <results>/tables/gains.csv, segmentation.csv, scores.csv and distances.csv, and the shipped predictor where there are real domains
Writes  <results>/tables/predictors.csv   a row per predictor, protocol and outcome
        <results>/tables/small_tree.txt   the small tree of the gain, in words
        <results>/predictor.npz           a forest fitted on every labelled pair of this study
        <results>/figures/predictors_*.svg, one per protocol
"""

PROTOCOLS = registry("learning", "PROTOCOLS") + ["synthetic_to_real"]
REAL = [name for name, domain in config["domains"].items() if "path" in domain]


rule predict:
    """Fit predictors of the gain in folds and judge them on what was held out."""
    input:
        gains="<results>/tables/gains.csv",
        segmentation="<results>/tables/segmentation.csv",
        scores="<results>/tables/scores.csv",
        distances="<results>/tables/distances.csv",
        frozen=[config["advise"]["predictor"]] if REAL else [],
        code=code("predict"),
    output:
        **{
            protocol: f"<results>/figures/predictors_{protocol}.svg"
            for protocol in PROTOCOLS
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
        real=REAL,
        options=config["predict"],
        protocols=PROTOCOLS,
    script:
        "../scripts/predict.py"
