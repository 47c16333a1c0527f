"""
Reads   <results>/tables/*.csv, <results>/figures/*.svg, <results>/oracle/*.csv, <results>/data/*.h5,
        <results>/targets/*.h5
Writes  <results>/report.html     one self-contained page
"""

FIGURES = list(rules.draw.output.keys())
SHOWN = [
    "segmentation",
    "gains",
    "distances",
    "correlations",
    "hypotheses",
    "scores",
    "predictors",
    "advice",
]
# Read where a method trains with target images.
COMPARISON = [
    "<results>/tables/baselines.csv",
    "<results>/tables/costs.csv",
    "<results>/figures/baselines.svg",
    workflow.source_path("../report/baselines.rst"),
    workflow.source_path("../report/talk.csv"),
]
CAPTIONS = [*FIGURES, "predictors"]


report: "../report/workflow.rst"


rule report:
    """Write the page that answers the question."""
    input:
        **{name: f"<results>/tables/{name}.csv" for name in SHOWN},
        oracles=ORACLES,
        data=DATA,
        targets=expand("<results>/targets/{family}.h5", family=STUDY.families),
        figures=rules.draw.output,
        predictor_figures=expand(
            "<results>/figures/predictors_{protocol}.svg", protocol=PROTOCOLS
        ),
        tree="<results>/tables/small_tree.txt",
        captions=[workflow.source_path(f"../report/{name}.rst") for name in CAPTIONS],
        comparison=COMPARISON if STUDY.trainings else [],
        template=workflow.source_path("../report/page.html.j2"),
    output:
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
        *code("report"),
        tables=SHOWN,
        layers=STUDY.layers,
        figures=FIGURES,
        captions=CAPTIONS,
        protocols=PROTOCOLS,
        title=config["report"]["title"],
        settings=STUDY.config,
    script:
        "../scripts/report.py"
