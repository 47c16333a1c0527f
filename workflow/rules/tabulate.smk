"""
Reads   <results>/evaluated/**.csv, <results>/oracle/*.csv, <results>/distances/**.csv, <results>/scores/**.csv
Writes  <results>/tables/segmentation.csv, gains.csv, distances.csv, scores.csv: the results contract
        <results>/tables/channels.csv: shares of dead and non-Gaussian channels of every source
"""

EVALUATED = [f"{source}/seed{seed}/{family}" for source, seed, family in STUDY.jobs]


rule tabulate:
    """Join the rows of all jobs into the tables, sorted, and work out the gains."""
    input:
        evaluated=expand("<results>/evaluated/{job}.csv", job=EVALUATED),
        oracles=ORACLES,
        distances=expand("<results>/distances/{job}.csv", job=EVALUATED),
        channels=expand("<results>/distances/{job}.channels.csv", job=EVALUATED),
        scores=expand("<results>/scores/{job}.csv", job=EVALUATED),
    output:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        channels="<results>/tables/channels.csv",
        scores="<results>/tables/scores.csv",
    log:
        "<logs>/tabulate.log",
    benchmark:
        "<benchmarks>/tabulate.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("tabulate"),
    script:
        "../scripts/tabulate.py"
