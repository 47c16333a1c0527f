"""
Reads   <results>/tables/pairs.csv, gains.csv, distances.csv, correlations.csv, decomposition.csv, <results>/models/**.csv,
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
        decomposition="<results>/tables/decomposition.csv",
        curves=expand("<results>/models/{network}.csv", network=STUDY.network_names),
        data=expand("<results>/data/{domain}.h5", domain=STUDY.trained_domains),
        targets=expand("<results>/targets/{family}.h5", family=STUDY.targets_of),
        masks=expand("<results>/evaluated/{job}.h5", job=STUDY.job_names),
        latents=expand("<results>/latents/{job}.h5", job=STUDY.job_names),
    output:
        **{
            name: report(
                f"<results>/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category=figure["category"],
            )
            for name, figure in figures("draw").items()
        },
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
        tables=["pairs", "gains", "distances", "correlations", "decomposition"],
        specs=STUDY.specs(STUDY.domains, []),
        networks=STUDY.network_names,
        domains=STUDY.trained_domains,
        targets_of=STUDY.targets_of,
        jobs=STUDY.job_names,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        decays=STUDY.decays,
        remedies=STUDY.remedies,
        figures=figures("draw"),
    script:
        "../scripts/draw.py"
