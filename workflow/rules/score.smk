"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5, both also of
        another seed where there is one, <results>/data/{source}/{draw}.h5 (split validation, with masks),
        <results>/targets/{family}/{draw}.h5 (images of split adapt, never masks). The network of another seed is adapted
        to the draw of its own seed.
Writes  <results>/scores/{source}/seed{seed}/{family}.csv  a row per target and action, a column per score
"""


rule score:
    """Judge the predictions of every action without the target's masks."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.source, wildcards.seed)}.h5"
        ),
        targets=lambda wildcards: (
            f"<results>/targets/{STUDY.images_of(wildcards.family, wildcards.seed)}.h5"
        ),
        adapted="<results>/adapted/{source}/seed{seed}/{family}.h5",
        partner_model=STUDY.of_partner("<results>/models/{source}/seed{partner}.h5"),
        partner_adapted=STUDY.of_partner(
            "<results>/adapted/{source}/seed{partner}/{family}.h5"
        ),
    output:
        scores="<results>/scores/{source}/seed{seed}/{family}.csv",
    log:
        "<logs>/score/{source}/seed{seed}/{family}.log",
    benchmark:
        "<benchmarks>/score/{source}/seed{seed}/{family}.tsv"
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
        *code("score"),
        methods=lambda wildcards: STUDY.actions(wildcards.family),
        images=config["score"]["images"],
        rows=config["score"]["rows"],
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/score.py"
