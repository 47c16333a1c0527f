"""
Reads   <results>/tables/*.csv, <results>/figures/*.svg, <results>/segmented/**/about.json and outlines.png
Writes  <results>/report.html     one self-contained page
"""

STAGES = ["draw", "compare"] if STUDY.trainings else ["draw"]
# Name -> heading, link and alternative text of every section that holds a figure.
CONTENTS = figures(*STAGES, "predict")
TABLES = [
    "pairs",
    "networks",
    "gains",
    "correlations",
    "hypotheses",
    "scores",
    "predictors",
    "advice",
    "domains",
]
# Read where a method trains with target images.
COMPARISON = {
    "baselines": "<results>/tables/baselines.csv",
    "costs": "<results>/tables/costs.csv",
    "talk": local(beside("report/talk.csv")),
}


report: "../report/workflow.rst"


rule report:
    """Write the page that answers the question."""
    input:
        **{name: f"<results>/tables/{name}.csv" for name in TABLES},
        **(COMPARISON if STUDY.trainings else {}),
        figures=expand("<results>/figures/{name}.svg", name=figures(*STAGES)),
        predictor_figures=expand(
            "<results>/figures/predictors_{protocol}.svg", protocol=STUDY.protocols
        ),
        tree="<results>/tables/small_tree.txt",
        segmented=expand("<results>/segmented/{folder}", folder=STUDY.segmented),
        captions=[local(beside(f"report/{name}.rst")) for name in CONTENTS],
        template=local(beside("report/page.html.j2")),
        glossary=local(beside("report/glossary.yaml")),
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
        figures=list(figures(*STAGES)),
        contents=CONTENTS,
        protocols=STUDY.protocols,
        comparison=list(COMPARISON) if STUDY.trainings else [],
        # Not the text itself, in which Snakemake would look for wildcards.
        title=lambda wildcards: config["report"]["title"],
        remedies=STUDY.remedies,
        settings=STUDY.config,
    script:
        "../scripts/report.py"
