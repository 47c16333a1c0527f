"""
Reads   <results>/tables/*.csv, <results>/figures/*.svg, <results>/atlas.json, <results>/segmented/**/about.json and outlines.png
Writes  <results>/report.html     one self-contained page
        <results>/answer.html     what it says first, for `snakemake --report`
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
# Name of a figure, or protocol of the predictors -> the numbers in it.
NUMBERS = {name: f"<results>/figures/{name}.csv" for name in figures("draw")}
NUMBERS |= {"baselines": COMPARISON["baselines"]} if STUDY.trainings else {}
NUMBERS |= {
    protocol: f"<results>/figures/predictors_{protocol}.csv"
    for protocol in STUDY.protocols
}
SCRIPTS = ["pair", "predictor", "atlas", "download"]
# What other studies have found; a copy of the workflow alone has none of it.
PUBLISHED = {
    name: local(path)
    for name in ["hypotheses", "predictors_natural", "predictors_shifted", "predictors"]
    for path in [beside(f"../results/published/{name}.csv")]
    if Path(path).is_file()
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
        atlas="<results>/atlas.json",
        template=local(beside("report/page.html.j2")),
        style=local(beside("report/page.css")),
        scripts=[local(beside(f"report/{name}.js")) for name in SCRIPTS],
        data=list(NUMBERS.values()),
        published=list(PUBLISHED.values()),
        glossary=local(beside("report/glossary.yaml")),
    output:
        page=report(
            "<results>/report.html",
            caption="../report/page.rst",
            category="0 The answer",
            labels={"what": "The page: all figures, and an atlas of every pair"},
        ),
        answer=report(
            "<results>/answer.html",
            caption="../report/answer.rst",
            category="0 The answer",
            labels={"what": "The answer in three sentences"},
        ),
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
        names={
            "figures": list(figures(*STAGES)),
            "data": list(NUMBERS),
            "captions": list(CONTENTS),
            "predictor_figures": STUDY.protocols,
            "published": list(PUBLISHED),
        },
        contents=CONTENTS,
        comparison=list(COMPARISON) if STUDY.trainings else [],
        # Not the text itself, in which Snakemake would look for wildcards.
        title=lambda wildcards: config["report"]["title"],
        remedies=STUDY.remedies,
        settings=STUDY.config,
    script:
        "../scripts/report.py"
