"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5,
        <results>/data/{domain}/{draw}.h5 of the source (images of split validation),
        <results>/targets/{family}/{draw}.h5 (images of split adapt)
Writes  <results>/latents/{source}/seed{seed}/{family}.h5  rows and moments per layer, before and after
"""


rule latents:
    """Summarise the activations of source and targets inside the network."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.source, wildcards.seed)}.h5"
        ),
        targets=lambda wildcards: (
            f"<results>/targets/{STUDY.images_of(wildcards.family, wildcards.seed)}.h5"
        ),
        adapted="<results>/adapted/{source}/seed{seed}/{family}.h5",
    output:
        latents="<results>/latents/{source}/seed{seed}/{family}.h5",
    log:
        "<logs>/latents/{source}/seed{seed}/{family}.log",
    benchmark:
        "<benchmarks>/latents/{source}/seed{seed}/{family}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("latents"),
        layers=STUDY.layers,
        activations=config["latents"]["activations"],
        units=config["latents"]["units"],
        rows=config["latents"]["rows"],
        device=config["device"],
    script:
        "../scripts/latents.py"
