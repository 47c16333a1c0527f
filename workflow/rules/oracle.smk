"""
Reads   <results>/models/{network}/seed{seed}.h5, <results>/data/{domain}.h5 of every network
Writes  <results>/oracle/seed{seed}.csv  a row per network: its score on the test split of its own domain
"""

ORACLES = [
    f"<results>/oracle/seed{seed}.csv" for seed in sorted({n for _, n in STUDY.trained})
]


def networks_of(wildcards):
    return [name for name, seed in STUDY.trained if str(seed) == wildcards.seed]


rule oracle:
    """Score each trained network at home: the oracle of a target, and a check of every source."""
    input:
        models=lambda wildcards: [
            f"{config['results']}/models/{network}/seed{wildcards.seed}.h5"
            for network in networks_of(wildcards)
        ],
        data=lambda wildcards: [
            f"{config['results']}/data/{domain_of(network)}.h5"
            for network in networks_of(wildcards)
        ],
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
        networks=networks_of,
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/oracle.py"
