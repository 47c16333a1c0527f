"""
Reads   config: generate, domains, pairs (and the user's own files)
Writes  <results>/data/{domain}/{draw}.h5     one trained domain, all splits
        <results>/targets/{family}/{draw}.h5  the targets of a shift family, splits adapt and test
        A draw is the images of one seed of the study, such as seed0; files, the same for all seeds, where everything
        is read from the user's files.
"""

from shiftgain.domains.splits import SPLITS

TARGET_SPLITS = ["adapt", "test"]


rule generate:
    """Draw a domain to train on, or read it from the user's files."""
    output:
        data="<results>/data/{domain}/{draw}.h5",
    log:
        "<logs>/generate/{domain}/{draw}.log",
    benchmark:
        "<benchmarks>/generate/{domain}/{draw}.tsv"
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
        splits=list(SPLITS),
        domains=lambda wildcards: STUDY.specs(
            [wildcards.domain], list(SPLITS), wildcards.draw
        ),
        at_top=True,
    script:
        "../scripts/generate.py"


use rule generate as generate_targets with:
    output:
        data="<results>/targets/{family}/{draw}.h5",
    log:
        "<logs>/generate_targets/{family}/{draw}.log",
    benchmark:
        "<benchmarks>/generate_targets/{family}/{draw}.tsv"
    priority: 0
    params:
        *code("generate"),
        splits=TARGET_SPLITS,
        domains=lambda wildcards: STUDY.targets(
            wildcards.family, TARGET_SPLITS, wildcards.draw
        ),
        at_top=False,
