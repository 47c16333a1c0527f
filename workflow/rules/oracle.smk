"""
Reads   <results>/models/{network}/seed{seed}.h5, <results>/data/{domain}/{draw}.h5 of every network
Writes  <results>/oracle/seed{seed}.csv  a row per network: its score on the test split of its own domain
"""


rule oracle:
    """Score each trained network at home: the oracle of a target, and a check of every source."""
    input:
        models=lambda wildcards: [
            f"<results>/models/{network}/seed{wildcards.seed}.h5"
            for network in STUDY.networks_of(wildcards.seed)
        ],
        data=lambda wildcards: [
            f"<results>/data/{STUDY.data_of(network, wildcards.seed)}.h5"
            for network in STUDY.networks_of(wildcards.seed)
        ],
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
        *code("oracle"),
        networks=lambda wildcards: STUDY.networks_of(wildcards.seed),
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/oracle.py"
