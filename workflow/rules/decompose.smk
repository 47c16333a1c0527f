"""
Reads   <results>/tables/pairs.csv, <results>/models/{source}/seed{seed}.h5, <results>/data/{domain}/{draw}.h5 and
        <results>/targets/{family}/{draw}.h5 (split test, masks too) of the first seed of each pair
Writes  <results>/tables/decomposition.csv   why means inside the network move, for pairs that show it
"""


rule decompose:
    """Part what moves the mean of each channel: the foreground share, and how the classes look."""
    input:
        pairs="<results>/tables/pairs.csv",
        models=expand("<results>/models/{network}.h5", network=STUDY.pictured_networks),
        data=expand("<results>/data/{data}.h5", data=STUDY.pictured_data.values()),
        targets=expand(
            "<results>/targets/{images}.h5", images=STUDY.pictured_images.values()
        ),
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
        jobs=STUDY.pictured,
        names={
            "models": STUDY.pictured_networks,
            "data": list(STUDY.pictured_data),
            "targets": list(STUDY.pictured_images),
        },
        targets_of=STUDY.targets_of,
    script:
        "../scripts/decompose.py"
