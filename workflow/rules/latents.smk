"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5,
        <results>/data/{domain}.h5 of the source and <results>/targets/{family}.h5 (images of split adapt)
Writes  <results>/latents/{source}/seed{seed}/{family}.h5  rows and moments per layer, before and after
"""


rule latents:
    """Summarise the activations of source and targets inside the network."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: f"<results>/data/{domain_of(wildcards.source)}.h5",
        targets="<results>/targets/{family}.h5",
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
