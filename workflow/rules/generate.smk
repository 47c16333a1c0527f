"""
Reads   config: generate, domains, pairs (and the user's own files)
Writes  <results>/data/{domain}.h5     one trained domain, all splits
        <results>/targets/{family}.h5  the targets of a shift family, splits adapt and test
"""

SPLITS = ["train", "validation", "adapt", "test"]


rule generate:
    """Draw a domain to train on, or read it from the user's files."""
    output:
        data="<results>/data/{domain}.h5",
    log:
        "<logs>/generate/{domain}.log",
    benchmark:
        "<benchmarks>/generate/{domain}.tsv"
    # Networks take longest and wait for their data, so these come first of all.
    priority: 20
    conda:
        "../../envs/arrays.yaml"
    threads: config["generate"]["threads"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        *code("generate"),
        splits=SPLITS,
        domains=lambda wildcards: STUDY.specs([wildcards.domain], SPLITS),
        at_top=True,
    script:
        "../scripts/generate.py"


use rule generate as generate_targets with:
    output:
        data="<results>/targets/{family}.h5",
    log:
        "<logs>/generate_targets/{family}.log",
    benchmark:
        "<benchmarks>/generate_targets/{family}.tsv"
    priority: 0
    params:
        *code("generate"),
        splits=SPLITS[2:],
        domains=lambda wildcards: STUDY.targets(wildcards.family, SPLITS[2:]),
        at_top=False,
