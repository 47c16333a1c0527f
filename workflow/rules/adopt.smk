"""
Reads   the user's description of a network, its architecture and its weights (config key domains.NAME.network),
        <results>/data/{network}/files.h5 (images of its own domain)
Writes  <results>/models/{network}/seed{seed}.h5   the network as stage train would leave it
"""


ruleorder: adopt > train


rule adopt:
    """Take a network that was trained elsewhere; runs the code of its architecture."""
    input:
        data=lambda wildcards: [
            f"<results>/data/{data}.h5"
            for data in STUDY.data_if_any(wildcards.network, wildcards.seed)
        ],
    output:
        model="<results>/models/{network}/seed{seed}.h5",
    log:
        "<logs>/adopt/{network}/seed{seed}.log",
    benchmark:
        "<benchmarks>/adopt/{network}/seed{seed}.tsv"
    wildcard_constraints:
        network="|".join(STUDY.adopted) or "[^/]+/",
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        *code("adopt"),
        model=lambda wildcards: STUDY.adopted[wildcards.network],
        channels=STUDY.channels,
    script:
        "../scripts/adopt.py"
