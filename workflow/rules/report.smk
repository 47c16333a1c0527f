"""
Reads   <results>/tables/*.csv, <results>/oracle/*.csv, <results>/models/**.csv, <results>/data/*.h5,
        <results>/targets/*.h5, <results>/evaluated/**.h5, <results>/latents/**.h5
Writes  <results>/figures/*.svg   named after what they show
        <results>/report.html     one self-contained page
"""

import os

TEXTS = os.path.relpath(f"{workflow.basedir}/workflow/report")
FIGURES = [
    "domains",
    "training",
    "maps",
    "transforms",
    "predictions",
    "latents",
    "distances",
    "correlations",
]
NETWORKS = [
    f"{domain}/seed{seed}" for domain in STUDY.trained for seed in config["seeds"]
]


report: "../report/workflow.rst"


rule report:
    """Draw the figures and write the page that answers the question."""
    input:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        correlations="<results>/tables/correlations.csv",
        oracles=expand("<results>/oracle/seed{seed}.csv", seed=config["seeds"]),
        curves=expand("<results>/models/{network}.csv", network=NETWORKS),
        data=expand("<results>/data/{domain}.h5", domain=STUDY.trained),
        targets=expand("<results>/targets/{family}.h5", family=STUDY.families),
        masks=expand("<results>/evaluated/{job}.h5", job=EVALUATED),
        latents=expand("<results>/latents/{job}.h5", job=EVALUATED),
        template=f"{TEXTS}/page.html.j2",
        captions=expand("{texts}/{figure}.rst", texts=TEXTS, figure=FIGURES),
        code=code("report"),
    output:
        domains=report(
            "<results>/figures/domains.svg",
            caption="../report/domains.rst",
            category="1 The study",
        ),
        training=report(
            "<results>/figures/training.svg",
            caption="../report/training.rst",
            category="1 The study",
        ),
        maps=report(
            "<results>/figures/maps.svg",
            caption="../report/maps.rst",
            category="2 When it works",
        ),
        transforms=report(
            "<results>/figures/transforms.svg",
            caption="../report/transforms.rst",
            category="2 When it works",
        ),
        predictions=report(
            "<results>/figures/predictions.svg",
            caption="../report/predictions.rst",
            category="2 When it works",
        ),
        latents=report(
            "<results>/figures/latents.svg",
            caption="../report/latents.rst",
            category="3 Can it be told",
        ),
        distances=report(
            "<results>/figures/distances.svg",
            caption="../report/distances.rst",
            category="3 Can it be told",
        ),
        correlations=report(
            "<results>/figures/correlations.svg",
            caption="../report/correlations.rst",
            category="3 Can it be told",
        ),
        page="<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        tables=["segmentation", "gains", "distances", "correlations"],
        networks=NETWORKS,
        jobs=EVALUATED,
        layers=config["latents"]["layers"],
        activation=config["latents"]["activations"][0],
        figures=FIGURES,
        title=config["report"]["title"],
        settings=STUDY.config,
    script:
        "../scripts/report.py"
