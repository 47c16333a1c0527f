"""
Reads   <results>/models/{domain}/seed{seed}.h5, <results>/data/{domain}.h5 of every trained domain
Writes  <results>/oracle/seed{seed}.csv  a row per trained domain: its score on its own test split
"""


rule oracle:
    """Score each trained network at home: the oracle of a target, and a check of every source."""
    input:
        models=expand("<results>/models/{domain}/seed{{seed}}.h5", domain=STUDY.trained),
        data=expand("<results>/data/{domain}.h5", domain=STUDY.trained),
        code=code("oracle"),
    output:
        scores="<results>/oracle/seed{seed}.csv",
    log:
        "<logs>/oracle/seed{seed}.log",
    benchmark:
        "<benchmarks>/oracle/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        domains=list(STUDY.trained),
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/oracle.py"
