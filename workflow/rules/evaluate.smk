"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5,
        <results>/targets/{family}/{draw}.h5 (split test; images of split adapt after a baseline),
        <results>/baselines/{method}/{source}/seed{seed}/{target}.h5 of the family's baselines and targets
Writes  <results>/evaluated/{source}/seed{seed}/{family}.csv  a row per target and method
        <results>/evaluated/{source}/seed{seed}/{family}.h5   the first predicted masks of each
"""


rule evaluate:
    """Score a network, unadapted and adapted, on every target of a shift family."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        targets=lambda wildcards: (
            f"<results>/targets/{STUDY.images_of(wildcards.family, wildcards.seed)}.h5"
        ),
        adapted="<results>/adapted/{source}/seed{seed}/{family}.h5",
        baselines=lambda wildcards: [
            f"<results>/baselines/{name}/{wildcards.source}/seed{wildcards.seed}/{target}.h5"
            for target, name in STUDY.baselines(wildcards.source, wildcards.family)
        ],
    output:
        scores="<results>/evaluated/{source}/seed{seed}/{family}.csv",
        masks="<results>/evaluated/{source}/seed{seed}/{family}.h5",
    log:
        "<logs>/evaluate/{source}/seed{seed}/{family}.log",
    benchmark:
        "<benchmarks>/evaluate/{source}/seed{seed}/{family}.tsv"
    # Longer than other jobs of a source: taken last, one of these would keep a single core busy at the end.
    priority: 2
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("evaluate"),
        baselines=lambda wildcards: STUDY.baselines(wildcards.source, wildcards.family),
        methods=lambda wildcards: list(STUDY.families[wildcards.family].methods),
        threshold=config["evaluate"]["threshold"],
        examples=config["evaluate"]["examples"],
        device=config["device"],
    script:
        "../scripts/evaluate.py"
