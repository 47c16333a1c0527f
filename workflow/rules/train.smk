"""
Reads   <results>/data/{domain}.h5
Writes  <results>/models/{domain}/seed{seed}.h5   the epoch with the best source-validation IoU
        <results>/models/{domain}/seed{seed}.csv  one row per epoch
"""


rule train:
    """Train a U-Net on one domain with its labels."""
    input:
        data="<results>/data/{domain}.h5",
        code=code("train"),
    output:
        model="<results>/models/{domain}/seed{seed}.h5",
        curve="<results>/models/{domain}/seed{seed}.csv",
    log:
        "<logs>/train/{domain}/seed{seed}.log",
    benchmark:
        "<benchmarks>/train/{domain}/seed{seed}.tsv"
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
        model={"channels": config["generate"]["channels"], **config["model"]},
        options={
            key: value for key, value in config["train"].items() if key != "threads"
        },
        device=config["device"],
    script:
        "../scripts/train.py"
