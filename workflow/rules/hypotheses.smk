"""
Reads   <results>/tables/pairs.csv, distances.csv, channels.csv, scores.csv
Writes  <results>/tables/hypotheses.csv  a row per hypothesis: what was measured, and the verdict
"""


rule hypotheses:
    """Judge the hypotheses on when and why adaptation works."""
    input:
        pairs="<results>/tables/pairs.csv",
        distances="<results>/tables/distances.csv",
        channels="<results>/tables/channels.csv",
        scores="<results>/tables/scores.csv",
    output:
        verdicts=report(
            "<results>/tables/hypotheses.csv",
            caption="../report/verdicts.rst",
            category="4 Tables",
            labels={"what": "The hypotheses"},
        ),
    log:
        "<logs>/hypotheses.log",
    benchmark:
        "<benchmarks>/hypotheses.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("hypotheses"),
        # One each, so that the reason of a rerun names the hypothesis that was edited.
        **STUDY.judged,
        irregular=STUDY.irregular,
        judged=list(STUDY.judged),
    script:
        "../scripts/hypotheses.py"
