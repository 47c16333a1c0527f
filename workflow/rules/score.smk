"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5, both also of
        another seed where there is one, <results>/data/{source}.h5 (split validation, with masks),
        <results>/targets/{family}.h5 (images of split adapt, never masks)
Writes  <results>/scores/{source}/seed{seed}/{family}.csv  a row per target, a column per score
"""


rule score:
    """Judge unadapted and adapted predictions without the target's masks."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: f"<results>/data/{domain_of(wildcards.source)}.h5",
        targets="<results>/targets/{family}.h5",
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
        images=config["score"]["images"],
        rows=config["score"]["rows"],
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/score.py"
