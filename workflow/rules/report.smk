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
    "depth",
    "methods",
    "channels",
]
# Read where a method trains with target images.
COMPARISON = [
    "<results>/tables/baselines.csv",
    "<results>/tables/costs.csv",
    "<results>/figures/baselines.svg",
    f"{TEXTS}/baselines.rst",
    f"{TEXTS}/talk.csv",
]
CAPTIONS = [*FIGURES, "predictors"]
NETWORKS = [f"{network}/seed{seed}" for network, seed in STUDY.trained]


report: "../report/workflow.rst"


rule report:
    """Draw the figures and write the page that answers the question."""
    input:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        correlations="<results>/tables/correlations.csv",
        hypotheses="<results>/tables/hypotheses.csv",
        scores="<results>/tables/scores.csv",
        predictors="<results>/tables/predictors.csv",
        advice="<results>/tables/advice.csv",
        tree="<results>/tables/small_tree.txt",
        predictor_figures=expand(
            "<results>/figures/predictors_{protocol}.svg", protocol=PROTOCOLS
        ),
        oracles=ORACLES,
        curves=expand("<results>/models/{network}.csv", network=NETWORKS),
        data=expand(
            "<results>/data/{domain}.h5",
            domain=dict.fromkeys(map(domain_of, STUDY.networks)),
        ),
        targets=expand("<results>/targets/{family}.h5", family=STUDY.families),
        masks=expand("<results>/evaluated/{job}.h5", job=EVALUATED),
        latents=expand("<results>/latents/{job}.h5", job=EVALUATED),
        template=f"{TEXTS}/page.html.j2",
        captions=expand("{texts}/{name}.rst", texts=TEXTS, name=CAPTIONS),
        comparison=COMPARISON if STUDY.trainings else [],
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
        depth=report(
            "<results>/figures/depth.svg",
            caption="../report/depth.rst",
            category="3 Can it be told",
        ),
        methods=report(
            "<results>/figures/methods.svg",
            caption="../report/methods.rst",
            category="2 When it works",
        ),
        channels=report(
            "<results>/figures/channels.svg",
            caption="../report/channels.rst",
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
        tables=[
            "segmentation",
            "gains",
            "distances",
            "correlations",
            "hypotheses",
            "scores",
            "predictors",
            "advice",
        ],
        protocols=PROTOCOLS,
        captions=CAPTIONS,
        networks=NETWORKS,
        jobs=EVALUATED,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        decays=STUDY.decays,
        figures=FIGURES,
        title=config["report"]["title"],
        settings=STUDY.config,
    script:
        "../scripts/report.py"
