"""
Reads   <results>/tables/segmentation.csv, gains.csv, <results>/evaluated/**.h5, <results>/targets/**.h5,
        <benchmarks>/train/**.tsv, <benchmarks>/baseline/**.tsv
Writes  <results>/tables/baselines.csv    a row per pair, method and selection rule
        <results>/tables/costs.csv        a row per training job; seconds do not repeat
        <results>/figures/baselines.svg   predicted masks of every method on the same image
"""

MEASURED = {
    ("train", "source", domain, domain, seed): (
        f"<benchmarks>/train/{domain}/seed{seed}.tsv"
    )
    for domain, seed in STUDY.trained
} | {
    ("baseline", method, source, target, seed): (
        f"<benchmarks>/baseline/{method}/{source}/seed{seed}/{target}.tsv"
    )
    for method, source, target, seed in STUDY.trainings
}
COMPARED = [
    job
    for job, (source, family) in zip(STUDY.pictured, STUDY.pairs, strict=True)
    if STUDY.baselines(source, family)
]


rule compare:
    """Set the baselines beside adaptation, and say what each cost."""
    input:
        segmentation="<results>/tables/segmentation.csv",
        gains="<results>/tables/gains.csv",
        benchmarks=list(MEASURED.values()),
        masks=expand("<results>/evaluated/{job}.h5", job=COMPARED),
        targets=expand(
            "<results>/targets/{images}.h5", images=STUDY.pictured_images.values()
        ),
    output:
        baselines="<results>/tables/baselines.csv",
        costs="<results>/tables/costs.csv",
        figure=report(
            "<results>/figures/baselines.svg",
            caption="../report/baselines.rst",
            category=figures("compare")["baselines"]["category"],
            labels={"what": figures("compare")["baselines"]["heading"]},
        ),
    log:
        "<logs>/compare.log",
    benchmark:
        "<benchmarks>/compare.tsv"
    conda:
        "../../envs/draw.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *code("compare"),
        trainings=STUDY.trainings,
        names={
            "benchmarks": list(MEASURED),
            "masks": COMPARED,
            "targets": list(STUDY.pictured_images),
        },
    script:
        "../scripts/compare.py"
