"""
Reads   <results>/tables/gains.csv, <results>/tables/distances.csv
Writes  <results>/tables/correlations.csv
"""


rule correlate:
    """Ask how well each distance orders the outcomes, with intervals over domains."""
    input:
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
    output:
        correlations="<results>/tables/correlations.csv",
    log:
        "<logs>/correlate.log",
    benchmark:
        "<benchmarks>/correlate.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("correlate"),
        outcomes=config["correlate"]["outcomes"],
        bootstrap=config["correlate"]["bootstrap"],
    script:
        "../scripts/correlate.py"
