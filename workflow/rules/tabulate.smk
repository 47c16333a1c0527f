"""
Reads   <results>/evaluated/**.csv, <results>/oracle/*.csv, <results>/distances/**.csv, <results>/scores/**.csv,
        <results>/data/**.h5 and <results>/targets/**.h5 of real domains (what was read, no pixels)
Writes  <results>/tables/segmentation.csv, gains.csv, distances.csv, scores.csv: the results contract
        <results>/tables/pairs.csv: a row per pair and seed, all that is known of it: what later stages read
        <results>/tables/networks.csv: the scores of every network on its own domain
        <results>/tables/domains.csv: what was read of every real domain
        <results>/tables/channels.csv: shares of dead and non-Gaussian channels of every source
"""


rule tabulate:
    """Join the rows of all jobs into the tables, sorted, and work out the gains."""
    input:
        evaluated=expand("<results>/evaluated/{job}.csv", job=STUDY.job_names),
        oracles=expand("<results>/oracle/seed{seed}.csv", seed=STUDY.seeds),
        distances=expand("<results>/distances/{job}.csv", job=STUDY.job_names),
        channels=expand("<results>/distances/{job}.channels.csv", job=STUDY.job_names),
        scores=expand("<results>/scores/{job}.csv", job=STUDY.job_names),
        data=expand("<results>/data/{data}.h5", data=STUDY.read_data),
        targets=expand("<results>/targets/{images}.h5", images=STUDY.read_images),
    output:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        pairs=report(
            "<results>/tables/pairs.csv",
            caption="../report/pairs.rst",
            category="4 Tables",
            labels={"what": "Every pair"},
        ),
        networks="<results>/tables/networks.csv",
        distances="<results>/tables/distances.csv",
        channels="<results>/tables/channels.csv",
        scores="<results>/tables/scores.csv",
        domains="<results>/tables/domains.csv",
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
        specs=STUDY.specs(STUDY.domains, []),
        passed_over=STUDY.passed_over,
    script:
        "../scripts/tabulate.py"
