"""When, and why, does batch-norm adaptation work?  The study, from noise means to an answer.

Each stage is one word: a rule file, a script, a test, a block of config.yaml. Files hang together like this:

    generate -> train -> adapt -> evaluate -> tabulate -> correlate -> draw -> report
    generate -> adopt -> adapt, of networks that were trained elsewhere
    train -> oracle -> tabulate
    adapt -> latents -> distances -> tabulate
    adapt -> score -> tabulate -> predict -> report
    train -> rehearse -> predict and advise -> report
    tabulate -> hypotheses -> report
    tabulate -> decompose -> draw
    advise -> atlas -> report
    advise -> segment -> report
    generate -> baseline -> evaluate and tabulate -> compare -> report, where methods train with target images
"""

import gc
import os
import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

# Scripts inherit this path: the package is found from any directory, and from a workflow that uses this as a module.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)
sys.path.insert(0, str(Path(HERE, "workflow")))

from shiftgain.files import runs
from shiftgain.files.errors import StudyError
from shiftgain.report.contents import figures
from shiftgain.study.checks import study
from shiftgain.study.given import duplicate_keys, typed
from shiftgain.study.lineage import beside, code, essence
from shiftgain.study.resources import growing

min_version("9.14")

# Started from a Jupyter cell, jobs would inherit a backend that is not theirs; they write files and show nothing.
os.environ.update(MPLBACKEND="Agg")

# A graph of 10,000 jobs is millions of objects that all stay: looking for garbage among them took a fifth of the time
# (`make bench`, rows noop_*).
gc.set_threshold(100_000, 50, 50)


# The defaults lie beside this file. A config.yaml of the working directory is laid over them, and over both what a
# command or a workflow that uses this as a module gives.
if Path("config.yaml").is_file():

    configfile: "config.yaml"


defaults = load_configfile(Path(HERE, "config.yaml"))
update_config(defaults, config)
update_config(defaults, typed(workflow.config_settings.config))
config.update(defaults)

try:
    duplicate_keys(workflow.configfiles)
    STUDY = study(config)
except StudyError as error:
    raise WorkflowError(f"the config has faults, nothing was run:\n{error}") from None


pathvars:
    results=config["results"],
    logs=str(Path(config["results"], "logs")),
    benchmarks=str(Path(config["results"], "benchmarks")),


PREDICTOR = config["advise"]["predictor"]
if PREDICTOR == "shipped":
    PREDICTOR = local(beside("predictor/forest.npz"))


wildcard_constraints:
    domain="[^/]+",
    source="[^/]+",
    family="[^/]+",
    seed=r"\d+",
    draw=r"seed\d+|files",
    target="[^/]+",
    action="[^/]+",


rule all:
    """Everything the study asks for: tables, figures and the page that explains them."""
    default_target: True
    input:
        "<results>/report.html" if STUDY.jobs else [],
        expand("<results>/segmented/{folder}", folder=STUDY.segmented),


include: "workflow/rules/generate.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/adopt.smk"
include: "workflow/rules/oracle.smk"
include: "workflow/rules/adapt.smk"
include: "workflow/rules/baseline.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/latents.smk"
include: "workflow/rules/distances.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/rehearse.smk"
include: "workflow/rules/tabulate.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/correlate.smk"
include: "workflow/rules/decompose.smk"
include: "workflow/rules/draw.smk"
include: "workflow/rules/hypotheses.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/advise.smk"
include: "workflow/rules/atlas.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/report.smk"


onsuccess:
    runs.ended(config["results"], True)
    page = Path(config["results"], "report.html")
    if page.is_file():
        print(f"The page: {page.resolve().as_uri()}", file=sys.stderr)


onerror:
    runs.ended(config["results"], False)


# One block: of two, Snakemake runs the last.
onstart:
    runs.started(config["results"], sys.argv)
    print(*STUDY.summary, sep="\n", file=sys.stderr)
    # With a limit on starts per second, Snakemake's scheduler sets off one more timer, never to end, at every job that
    # finishes: after 150 jobs it takes half a core for nothing (related: snakemake pull request 3744). A limit that was
    # asked for stays.
    limiter = workflow.scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
