"""
Reads   the user's own images, <results>/models/{source}/seed{seed}.h5, <results>/adapted/{source}/seed{seed}/{family}.h5,
        <results>/tables/advice.csv where the action is `advised`; masks of the target never
Writes  <results>/segmented/{target}/{source}/{action}/  masks/, probabilities/ where asked, outlines.png, about.json,
        network/: the network that made them, to be used elsewhere
        ACTION is a method, or `advised`. The network is that of the first seed.
"""


rule segment:
    """Write a mask for every image of a target, and the network that made it."""
    input:
        model=lambda wildcards: (
            f"<results>/models/{wildcards.source}/seed{STUDY.segmented_as(wildcards).seed}.h5"
        ),
        adapted=lambda wildcards: (
            f"<results>/adapted/{wildcards.source}/seed{STUDY.segmented_as(wildcards).seed}/{STUDY.segmented_as(wildcards).family}.h5"
        ),
        advice=lambda wildcards: (
            "<results>/tables/advice.csv"
            if wildcards.action == "advised"
            and wildcards.source not in STUDY.imageless
            else []
        ),
    output:
        folder=directory("<results>/segmented/{target}/{source}/{action}"),
    log:
        "<logs>/segment/{target}/{source}/{action}.log",
    benchmark:
        "<benchmarks>/segment/{target}/{source}/{action}.tsv"
    conda:
        "../../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        *code("segment"),
        seed=lambda wildcards: STUDY.segmented_as(wildcards).seed,
        spec=lambda wildcards: STUDY.specs([wildcards.target], [])[wildcards.target],
        unknown=config["segment"]["unknown"],
        probabilities=config["segment"]["probabilities"],
        onnx=config["segment"]["onnx"],
        threshold=config["evaluate"]["threshold"],
        device=config["device"],
    script:
        "../scripts/segment.py"
