"""
Reads   <results>/latents/{source}/seed{seed}/{family}.h5, <results>/targets/{family}/{draw}.h5 (what they are)
Writes  <results>/distances/{source}/seed{seed}/{family}.csv  a row per target, layer, state and distance
        <results>/distances/{source}/seed{seed}/{family}.channels.csv  shares of dead and non-Gaussian channels
"""


rule distances:
    """Measure how far each target lies from the source in latent space, beside the null."""
    input:
        latents="<results>/latents/{source}/seed{seed}/{family}.h5",
        targets=lambda wildcards: (
            f"<results>/targets/{STUDY.images_of(wildcards.family, wildcards.seed)}.h5"
        ),
    output:
        distances="<results>/distances/{source}/seed{seed}/{family}.csv",
        channels="<results>/distances/{source}/seed{seed}/{family}.channels.csv",
    log:
        "<logs>/distances/{source}/seed{seed}/{family}.log",
    benchmark:
        "<benchmarks>/distances/{source}/seed{seed}/{family}.tsv"
    conda:
        "../../envs/arrays.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        *code("distances"),
        names=config["distances"]["names"],
        projections=config["distances"]["projections"],
    script:
        "../scripts/distances.py"
