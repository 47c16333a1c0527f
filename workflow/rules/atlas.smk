"""
Reads   <results>/tables/pairs.csv, advice.csv and distances.csv, <results>/data/**.h5, <results>/targets/**.h5,
        <results>/evaluated/**.h5 and <results>/latents/**.h5 of the first seed of each pair
Writes  <results>/atlas.json   what the page shows of every pair
"""


rule atlas:
    """Gather what the atlas of the page shows of every pair."""
    input:
        pairs="<results>/tables/pairs.csv",
        advice="<results>/tables/advice.csv",
        distances="<results>/tables/distances.csv",
        data=expand("<results>/data/{data}.h5", data=STUDY.pictured_data.values()),
        targets=expand(
            "<results>/targets/{images}.h5", images=STUDY.pictured_images.values()
        ),
        masks=expand("<results>/evaluated/{job}.h5", job=STUDY.pictured),
        latents=expand("<results>/latents/{job}.h5", job=STUDY.pictured),
    output:
        atlas="<results>/atlas.json",
    log:
        "<logs>/atlas.log",
    benchmark:
        "<benchmarks>/atlas.tsv"
    conda:
        "../../envs/draw.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("atlas"),
        tables=["pairs", "advice", "distances"],
        specs=STUDY.specs(STUDY.domains, []),
        names=STUDY.pictured_names,
        targets_of=STUDY.targets_of,
        layers=STUDY.layers,
        activation=config["latents"]["activations"][0],
        remedies=STUDY.remedies,
        segmented=sorted({each.target for each in STUDY.segmented.values()}),
    script:
        "../scripts/atlas.py"
