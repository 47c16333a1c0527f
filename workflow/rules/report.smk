"""
Reads   <results>/tables/*.csv, <results>/figures/*.svg
Writes  <results>/report.html     one self-contained page
"""

FIGURES = list(rules.draw.output.keys())
TABLES = [
    "pairs",
    "networks",
    "gains",
    "correlations",
    "hypotheses",
    "scores",
    "predictors",
    "advice",
]
# Read where a method trains with target images.
COMPARISON = {
    "baselines": "<results>/tables/baselines.csv",
    "costs": "<results>/tables/costs.csv",
    "baselines_figure": "<results>/figures/baselines.svg",
    "baselines_caption": workflow.source_path("../report/baselines.rst"),
    "talk": workflow.source_path("../report/talk.csv"),
}
CAPTIONS = [*FIGURES, "predictors"]


report: "../report/workflow.rst"


rule report:
    """Write the page that answers the question."""
    input:
        **{name: f"<results>/tables/{name}.csv" for name in TABLES},
        **(COMPARISON if STUDY.trainings else {}),
        figures=rules.draw.output,
        predictor_figures=expand(
            "<results>/figures/predictors_{protocol}.svg", protocol=STUDY.protocols
        ),
        tree="<results>/tables/small_tree.txt",
        captions=[workflow.source_path(f"../report/{name}.rst") for name in CAPTIONS],
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
        tables=TABLES,
        layers=STUDY.layers,
        figures=FIGURES,
        captions=CAPTIONS,
        protocols=STUDY.protocols,
        comparison=list(COMPARISON) if STUDY.trainings else [],
        title=config["report"]["title"],
        settings=STUDY.config,
    script:
        "../scripts/report.py"
