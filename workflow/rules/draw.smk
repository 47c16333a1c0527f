"""
Reads   <results>/tables/pairs.csv, gains.csv, distances.csv, correlations.csv, decomposition.csv, <results>/models/**.csv,
        <results>/data/**.h5, <results>/targets/**.h5, <results>/evaluated/**.h5 and <results>/latents/**.h5 of the first
        seed of each pair
Writes  <results>/figures/*.svg   named after what they show
        <results>/figures/*.csv   the numbers in each
"""


rule draw:
    """Draw the figures of the study."""
    input:
        pairs="<results>/tables/pairs.csv",
        gains="<results>/tables/gains.csv",
        distances="<results>/tables/distances.csv",
        correlations="<results>/tables/correlations.csv",
        decomposition="<results>/tables/decomposition.csv",
        curves=expand("<results>/models/{network}.csv", network=STUDY.fitted_names),
        data=expand("<results>/data/{data}.h5", data=STUDY.pictured_data.values()),
        targets=expand(
            "<results>/targets/{images}.h5", images=STUDY.pictured_images.values()
        ),
        masks=expand("<results>/evaluated/{job}.h5", job=STUDY.pictured),
        latents=expand("<results>/latents/{job}.h5", job=STUDY.pictured),
    output:
        **{
            name: report(
                f"<results>/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category=figure["category"],
                labels={"what": figure["heading"]},
            )
            for name, figure in figures("draw").items()
        },
        **{f"{name}_data": f"<results>/figures/{name}.csv" for name in figures("draw")},
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
        names=STUDY.pictured_names | {"curves": STUDY.fitted_names},
        targets_of=STUDY.targets_of,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        decays=STUDY.decays,
        remedies=STUDY.remedies,
        figures=figures("draw"),
    script:
        "../scripts/draw.py"
