"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/data/{source}/{draw}.h5 (images of split train),
        <results>/targets/{family}/{draw}.h5 (images of split adapt); masks of neither
Writes  <results>/adapted/{source}/seed{seed}/{family}.h5  target/method -> batch-norm statistics
"""


rule adapt:
    """Refresh the statistics of a frozen network on every target of a shift family."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: [
            f"<results>/data/{data}.h5"
            for data in STUDY.data_if_any(wildcards.source, wildcards.seed)
        ],
        targets=lambda wildcards: (
            f"<results>/targets/{STUDY.images_of(wildcards.family, wildcards.seed)}.h5"
        ),
    output:
        adapted="<results>/adapted/{source}/seed{seed}/{family}.h5",
    log:
        "<logs>/adapt/{source}/seed{seed}/{family}.log",
    benchmark:
        "<benchmarks>/adapt/{source}/seed{seed}/{family}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("adapt"),
        methods=lambda wildcards: STUDY.methods(wildcards.family),
        device=config["device"],
    script:
        "../scripts/adapt.py"
