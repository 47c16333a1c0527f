"""
Reads   <results>/data/{source}/{draw}.h5 (splits train, validation), <results>/data/{target}/{draw}.h5 (images of split
        adapt; masks of split validation where the selection is target_oracle), and
        <results>/models/{source}/seed{seed}.h5 where training starts from what an adaptation makes of that
Writes  <results>/baselines/{method}/{source}/seed{seed}/{target}.h5   the epoch selected, a plain U-Net
        <results>/baselines/{method}/{source}/seed{seed}/{target}.csv  one row per epoch, a column per loss term
"""


rule baseline:
    """Train with source labels and unlabelled images of one target."""
    input:
        source=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.source, wildcards.seed)}.h5"
        ),
        target=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.target, wildcards.seed)}.h5"
        ),
        start=STUDY.of_start("<results>/models/{source}/seed{seed}.h5"),
    output:
        model="<results>/baselines/{method}/{source}/seed{seed}/{target}.h5",
        curve="<results>/baselines/{method}/{source}/seed{seed}/{target}.csv",
    log:
        "<logs>/baseline/{method}/{source}/seed{seed}/{target}.log",
    benchmark:
        "<benchmarks>/baseline/{method}/{source}/seed{seed}/{target}.tsv"
    wildcard_constraints:
        method="[^/]+",
        target="[^/]+",
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["train"]["threads"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(720),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("baseline"),
        model=lambda wildcards: STUDY.training(wildcards.source).model,
        method=lambda wildcards: STUDY.baseline(wildcards.method),
        options=lambda wildcards: STUDY.training(wildcards.source).options,
        device=config["device"],
    script:
        "../scripts/baseline.py"
