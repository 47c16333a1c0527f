"""
Reads   <results>/tables/segmentation.csv, gains.csv, distances.csv, correlations.csv, <results>/oracle/*.csv,
        <results>/models/**.csv, <results>/data/*.h5, <results>/targets/*.h5, <results>/evaluated/**.h5,
        <results>/latents/**.h5
Writes  <results>/figures/*.svg   named after what they show
"""

NETWORKS = [f"{network}/seed{seed}" for network, seed in STUDY.trained]
DATA = expand(
    "<results>/data/{domain}.h5",
    domain=dict.fromkeys(map(domain_of, STUDY.networks)),
)


rule draw:
    """Draw the figures of the study."""
    input:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        correlations="<results>/tables/correlations.csv",
        oracles=ORACLES,
        curves=expand("<results>/models/{network}.csv", network=NETWORKS),
        data=DATA,
        targets=expand("<results>/targets/{family}.h5", family=STUDY.families),
        masks=expand("<results>/evaluated/{job}.h5", job=EVALUATED),
        latents=expand("<results>/latents/{job}.h5", job=EVALUATED),
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
    log:
        "<logs>/draw.log",
    benchmark:
        "<benchmarks>/draw.tsv"
    conda:
        "../../envs/draw.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("draw"),
        tables=["segmentation", "gains", "distances", "correlations"],
        networks=NETWORKS,
        jobs=EVALUATED,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        decays=STUDY.decays,
    script:
        "../scripts/draw.py"
