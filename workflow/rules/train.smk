"""
Reads   <results>/data/{domain}/{draw}.h5
Writes  <results>/models/{network}/seed{seed}.h5   the epoch with the best source-validation IoU
        <results>/models/{network}/seed{seed}.csv  one row per epoch
        A network is named after its domain; DOMAIN~VARIANT is trained with what config key variants changes.
"""


rule train:
    """Train a U-Net on one domain with its labels."""
    input:
        data=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.network, wildcards.seed)}.h5"
        ),
    output:
        model="<results>/models/{network}/seed{seed}.h5",
        curve="<results>/models/{network}/seed{seed}.csv",
    log:
        "<logs>/train/{network}/seed{seed}.log",
    benchmark:
        "<benchmarks>/train/{network}/seed{seed}.tsv"
    # Everything waits for the networks.
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: config["train"]["threads"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(720),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("train"),
        model=lambda wildcards: STUDY.training(wildcards.network).model,
        options=lambda wildcards: STUDY.training(wildcards.network).options,
        device=config["device"],
    script:
        "../scripts/train.py"
