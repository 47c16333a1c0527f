"""
Reads   <results>/tables/pairs.csv, gains.csv, distances.csv, correlations.csv, <results>/models/**.csv,
        <results>/data/*.h5, <results>/targets/*.h5, <results>/evaluated/**.h5, <results>/latents/**.h5
Writes  <results>/figures/*.svg   named after what they show
"""


rule draw:
    """Draw the figures of the study."""
    input:
        pairs="<results>/tables/pairs.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        correlations="<results>/tables/correlations.csv",
        curves=expand("<results>/models/{network}.csv", network=STUDY.network_names),
        data=expand("<results>/data/{domain}.h5", domain=STUDY.trained_domains),
        targets=expand("<results>/targets/{family}.h5", family=STUDY.targets_of),
        masks=expand("<results>/evaluated/{job}.h5", job=STUDY.job_names),
        latents=expand("<results>/latents/{job}.h5", job=STUDY.job_names),
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
        tables=["pairs", "gains", "distances", "correlations"],
        specs=STUDY.specs(STUDY.domains, []),
        networks=STUDY.network_names,
        domains=STUDY.trained_domains,
        targets_of=STUDY.targets_of,
        jobs=STUDY.job_names,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        decays=STUDY.decays,
    script:
        "../scripts/draw.py"
