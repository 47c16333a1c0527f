"""
Reads   <results>/tables/pairs.csv, <results>/models/{source}/seed{seed}.h5, <results>/data/{domain}.h5 and
        <results>/targets/{family}.h5 (split test, masks too)
Writes  <results>/tables/decomposition.csv   why means inside the network move, for pairs that show it
"""


rule decompose:
    """Part what moves the mean of each channel: the foreground share, and how the classes look."""
    input:
        pairs="<results>/tables/pairs.csv",
        models=expand("<results>/models/{network}.h5", network=STUDY.network_names),
        data=expand("<results>/data/{domain}.h5", domain=STUDY.trained_domains),
        targets=expand("<results>/targets/{family}.h5", family=STUDY.targets_of),
    output:
        decomposition="<results>/tables/decomposition.csv",
    log:
        "<logs>/decompose.log",
    benchmark:
        "<benchmarks>/decompose.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        *code("decompose"),
        networks=STUDY.network_names,
        domains=STUDY.trained_domains,
        targets_of=STUDY.targets_of,
    script:
        "../scripts/decompose.py"
