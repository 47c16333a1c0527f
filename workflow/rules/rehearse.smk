"""
Reads   <results>/models/{source}/seed{seed}.h5, <results>/data/{source}/{draw}.h5 (labelled images that the network was
        neither trained nor tested on, and images of split train)
Writes  <results>/rehearsed/{source}/seed{seed}.csv  a row per rehearsed target and action: its scores and its IoU
"""


rule rehearse:
    """Put a network through every action on labelled targets made from its own source."""
    input:
        model="<results>/models/{source}/seed{seed}.h5",
        source=lambda wildcards: (
            f"<results>/data/{STUDY.data_of(wildcards.source, wildcards.seed)}.h5"
        ),
    output:
        rehearsal="<results>/rehearsed/{source}/seed{seed}.csv",
    log:
        "<logs>/rehearse/{source}/seed{seed}.log",
    benchmark:
        "<benchmarks>/rehearse/{source}/seed{seed}.tsv"
    # Longer than other jobs of a source: taken last, one of these would keep a single core busy at the end.
    priority: 2
    conda:
        "../../envs/rehearse.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("rehearse"),
        methods=lambda wildcards: STUDY.actions_of(wildcards.source),
        options=config["rehearse"],
        images=config["score"]["images"],
        rows=config["score"]["rows"],
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/rehearse.py"
