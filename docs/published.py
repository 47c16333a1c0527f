"""The tables of results/published as rows of text, for the page docs/results.md."""

import json
import re
from collections.abc import Callable, Iterator
from math import nan
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from snakemake.utils import update_config

from shiftgain.findings.conditions import by_condition, conditions
from shiftgain.findings.pairs import SMALLEST_GAIN
from shiftgain.findings.relations import with_relations
from shiftgain.findings.verdicts import Hypothesis
from shiftgain.prediction.choice import KEEP, UNKNOWN
from shiftgain.report import answers
from shiftgain.report.answers import ADVISED, JUDGED, trusted
from shiftgain.study.entries import domain_spec
from shiftgain.study.lineage import catalogue
from shiftgain.study.names import IDENTITY, KEPT, KEY, PAIR, domain_of, full_names, variant_of

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results/published"
# Since that day draws are independent, a target is all of its images, and statistics are pooled (CHANGELOG.md).
PROTOCOL = "2026-11-27"
# A method is ahead of another by more than this (ours: what two decimals show).
LEAD = 0.005
EARLIER = ", of an earlier question"
FROZEN = {
    "predictors_widths.csv": "networks half and twice as wide",
    "predictors_natural.csv": "real nuclei, homes included",
    "predictors_real.csv": "real images",
    "predictors_shifted.csv": "real images under known shifts",
}
HELD_OUT = {
    "everything_new": "source, target and transform at once",
    "leave_source_out": "sources",
    "leave_transform_out": "transforms",
    "leave_means_out": "target domains",
    "replication": "none (replication over seeds)",
}
PREDICTORS = {
    "rehearsed": "forest, rehearsed on the source",
    "forest": "forest (shipped)",
    "linear": "linear",
    "small_tree": "tree of a few questions",
    "bhattacharyya_bottleneck_before_relu_position_before": "distance of the talk",
    "three_conditions": "rule of three conditions",
    "resolved_iou_unfitted": "IoU with a segmentation by grey levels",
    "trusted_iou_unfitted": "grey levels and probabilities, by trust",
    "expected_iou_classwise_unfitted": "class-wise calibrated confidence",
    "consistency_unfitted": "consistency under noise",
    "path_agreement_unfitted": "agreement along the path of statistics",
    "constant": "mean gain",
    "always_adapt": "always adapt",
    "never_adapt": "never adapt",
}
METHODS = {
    "source": "no adaptation",
    "batchnorm": "BN adaptation",
    "ynet": "Y-Net",
    "cellseguda": "CellSegUDA",
    "selftraining": "self-training",
    "target": "with target labels",
}
FURTHER = {
    "tent": "Tent",
    "ynet+batchnorm": "Y-Net, then BN",
    "cellseguda+batchnorm": "CellSegUDA, then BN",
    "selftraining+batchnorm": "self-training, then BN",
    "cellseguda_oracle": "CellSegUDA, epoch chosen by target labels",
}


BASELINES = "workflow/studies/baselines.yaml"
EMPTIED = "segmentation_emptied.csv"
# IoU that a remedy may cost at home.
HARM = 0.01
# Published tables of gains that show what mends what: FILE -> the overlay of the study, or none for real domains, whose
# pairs are told apart by the kind of objects, the first word of their names.
REMEDIES = {"remedies.csv": "workflow/studies/remedies.yaml", "remedies_real.csv": None}


def results() -> dict:
    """Every table of results/published, as rows of text."""
    return {
        "made_by": made_by(),
        "before": sorted(name for name, date in dates().items() if date < PROTOCOL),
        "committed": {name: cells[3] for name, cells in listed()},
        "protocol": PROTOCOL,
        "seeds": " or ".join(map(str, sorted(published("hypotheses.csv")["seeds"].unique()))),
        "verdicts": verdicts(published("hypotheses.csv")),
        "unjudged": unjudged(published("hypotheses.csv")),
        "correlations": correlations(published("correlations.csv")),
        "grid": of_advice(published("predictors.csv")).set_index("protocol").loc["everything_new"],
        "held_out": protocol_rows(published("predictors.csv")),
        "predictors": predictors(published("predictors.csv")),
        "frozen": [frozen_row(asked, published(name)) for name, asked in FROZEN.items()],
        "earlier": [asked for name, asked in FROZEN.items() if advised(published(name)) != ADVISED],
        "natural": natural_rows() if (PUBLISHED / "advice_natural.csv").exists() else [],
        "real": real_pairs(pairs_with_advice("real")),
        "real_advice": advice_rows(pairs_with_advice("real")),
        "shifted": transform_rows(pairs_with_advice("shifted")),
        "shifted_domains": domain_rows(pairs_with_advice("shifted")),
        "shifted_advice": advice_rows(pairs_with_advice("shifted")),
        "trusted": list(trusted({name: published(f"{name}.csv") for name in JUDGED})),
        "baselines": baselines(published("baselines.csv"), METHODS, bold=True),
        "further": baselines(published("baselines.csv"), FURTHER, bold=False),
        "sparse": overlaid(BASELINES)["domains"]["sparse"]["foreground"],
        "usual": overlaid(BASELINES)["generate"]["foreground"],
        "methods": list(METHODS.values()),
        "further_methods": list(FURTHER.values()),
        "gpu": on_a_gpu(json.loads((PUBLISHED / "gpu.json").read_text())),
        "gpu_map": map_rows(published("gpu_talk.csv")),
        "gpu_distances": distance_rows(published("gpu_distances.csv"), published("gpu_talk.csv")),
        "remedies": {
            name: remedy_rows(published(name), groups_of(study))
            for name, study in REMEDIES.items()
            if (PUBLISHED / name).exists()
        },
        "homes": home_rows(published("remedies_real.csv")) if (PUBLISHED / "remedies_real.csv").exists() else [],
        "harm": HARM,
        "emptied": empty_rows(published(EMPTIED)) if (PUBLISHED / EMPTIED).exists() else [],
        "lead": LEAD,
        "smallest_gain": SMALLEST_GAIN,
    }


def published(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / name)


class RemedyRows(NamedTuple):
    """``best``: of ``candidates`` remedies that all pairs tried, that with the highest mean IoU over them.

    ``cells``: a row of text per group of pairs.
    """

    best: str
    candidates: int
    cells: list[list[str]]


def groups_of(study: str | None) -> Callable[[pd.DataFrame], pd.Series]:
    """What gives each pair of a published study its group: the condition that it breaks, or the kind of its objects."""
    if study is None:
        return kinds_of_objects
    config = overlaid(study)

    def broken(pairs: pd.DataFrame) -> pd.Series:
        names = {*full_names(pairs), *map(domain_of, pairs["source"])}
        broken = conditions(with_relations(pairs, {name: domain_spec(config, name) for name in names}))
        return broken.astype(pd.CategoricalDtype(by_condition(broken)))

    return broken


def overlaid(study: str) -> dict:
    """The config of a study that ships: its overlay over ``config.yaml``."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / study).read_text()))
    return config


def kinds_of_objects(pairs: pd.DataFrame) -> pd.Series:
    """``nuclei`` of a pair of domain ``nuclei_fluo256``; ``home`` of a domain with itself, whatever its kind.

    ``nuclei, augmented`` where the network is another, that of ``nuclei_fluo256~augmented``.
    """
    kind, variant = pairs["source"].str.partition("_")[0], pairs["source"].map(variant_of)
    return kind.mask(pairs["source"] == pairs["target"], "home") + (", " + variant).where(variant != "", "")


def remedy_rows(gains: pd.DataFrame, groups: Callable[[pd.DataFrame], pd.Series]) -> RemedyRows:
    """Mean IoU by group: kept, refreshed, the remedy that is best throughout, the best of each pair, target labels.

    Means over seeds, then over the pairs that tried a remedy. The best of each pair, by its labels, may be to keep it,
    or a plain refresh.
    """
    methods = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    named = [name for name, entry in methods.items() if entry["function"] == "remedy"]
    after = gains.pivot_table(index=PAIR, columns="method", values="iou_after")
    after = after[after.columns.intersection(["batchnorm", *named])]
    tried = [name for name in after if name != "batchnorm"]
    after = after[after[tried].notna().any(axis=1)]
    throughout = after[tried].dropna(axis=1)
    best = throughout.mean().idxmax()
    before = gains.groupby(PAIR)[["iou_before", "iou_target_trained"]].mean().loc[after.index]
    table = pd.DataFrame({"kept": before["iou_before"], "refreshed": after["batchnorm"], "best": after[best]})
    table["each"] = after.max(axis=1).clip(lower=before["iou_before"])
    table["labels"] = before["iou_target_trained"]
    group = groups(table.reset_index()).array
    cells = []
    for name, rows in table.groupby(group, observed=True):
        trained = f" ({rows['labels'].count()})" if 0 < rows["labels"].count() < len(rows) else ""
        cells.append([name, str(len(rows)), *map(number, rows.mean())])
        cells[-1][-1] += trained
    return RemedyRows(best, throughout.shape[1], cells)


def home_rows(gains: pd.DataFrame) -> list[list[str]]:
    """Head, and a row per domain: the gain of its network at home, by method; in bold a loss of over :data:`HARM`.

    Negatives, for which no network was trained, are left out. Nothing without home pairs.
    """
    table = gains[(gains["source"] == gains["target"]) & (gains["transform"] == IDENTITY)]
    table = table[["turned" not in name.split("_") for name in table["method"]]]
    return domains_by_method(
        table, "gain_iou", lambda gain: f"**{gain:+.3f}**" if round(gain, 3) < -HARM else f"{gain:+.3f}"
    )


def empty_rows(segmentation: pd.DataFrame) -> list[list[str]]:
    """Head, and a row per domain: the part that is predicted foreground of its images without objects, by method."""
    return domains_by_method(segmentation.dropna(subset="empty_foreground"), "empty_foreground", share)


def domains_by_method(table: pd.DataFrame, value: str, said: Callable[[float], str]) -> list[list[str]]:
    """Head, and a row per ``source``: mean ``value`` by ``method`` in words, the network as it is first; [] of none."""
    if table.empty:
        return []
    wide = table.pivot_table(index="source", columns="method", values=value, sort=False)
    names = sorted(wide, key=lambda name: name != KEPT)
    head = ["kept" if name == KEPT else f"`{name}`" for name in names]
    return [["domain", *head], *([f"`{name}`", *map(said, row)] for name, *row in wide[names].itertuples())]


def made_by() -> dict[str, str]:
    """File of results/published -> the command that made it, as the README there says."""
    return {name: re.findall("`.+?`", cells[1])[0] for name, cells in listed()}


def dates() -> dict[str, str]:
    """File of results/published -> the day of the commit that it is of, the first of several: the README says it."""
    return {name: min(re.findall(r"\d{4}-\d\d-\d\d", cells[3])) for name, cells in listed()}


def listed() -> Iterator[tuple[str, list[str]]]:
    """A file of results/published, and the cells of its row in the table of the README there."""
    for line in (PUBLISHED / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].startswith("`"):
            yield from ((name, cells) for name in re.findall("`(.+?)`", cells[0]))


def number(value: float, places: int = 3) -> str:
    return "" if pd.isna(value) else f"{value:.{places}f}"


def fine(value: float) -> str:
    return number(value, 4)


def share(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1%}"


def interval(value: float, low: float, high: float, places: int = 3) -> str:
    edges = "" if pd.isna(low) else f" [{low:.{places}f}, {high:.{places}f}]"
    return number(value, places) + edges


def verdicts(table: pd.DataFrame) -> list[list[str]]:
    """A row per hypothesis: claim, what was measured, the number with its interval, its bound, verdict and study.

    The words are those of today; where another measure or bound is asked for now, they are those of then, and
    :data:`EARLIER` stands beside the verdict.
    """
    asked = hypotheses()
    rows = []
    for entry in table.itertuples():
        now = asked.get(entry.hypothesis)
        if now is None or (now.measure, now.limit) != (entry.measure, entry.bound):
            claim, experiment, verdict = entry.claim, entry.experiment, f"{entry.verdict}{EARLIER}"
        else:
            claim, experiment, verdict = now.claim, now.experiment, entry.verdict
        measured = interval(entry.value, entry.low, entry.high)
        rows.append([entry.hypothesis, claim, experiment, measured, entry.bound, verdict, entry.study])
    return rows


def hypotheses() -> dict[str, Hypothesis]:
    """Name of every hypothesis of ``workflow/hypotheses.yaml`` -> what is asked now."""
    return {name: Hypothesis(**entry) for name, entry in catalogue("hypotheses").items()}


def unjudged(table: pd.DataFrame) -> list[list[str]]:
    """A row as of :func:`verdicts` per hypothesis that ``table`` has no verdict on, with the study that decides it."""
    studies = {
        name: path.stem
        for path in sorted((ROOT / "workflow/studies").glob("*.yaml"))
        for name in yaml.safe_load(path.read_text()).get("hypotheses", {}).get("judge", [])
    }
    return [
        [name, entry.claim, entry.experiment, "", entry.limit, "not yet judged", studies[name]]
        for name, entry in hypotheses().items()
        if name not in set(table["hypothesis"])
    ]


def correlations(table: pd.DataFrame) -> list[list[str]]:
    """A row per distance, layer and state: Spearman's correlation with each outcome."""
    place = ["distance", "layer", "state"]
    rows = []
    for key, group in table.groupby(place):
        outcomes = group.set_index("outcome")
        entries = [outcomes.loc[name] for name in ("gain_iou", "iou_after", "iou_before")]
        rows.append([*key, *(interval(entry["spearman"], entry["ci_low"], entry["ci_high"], 2) for entry in entries)])
    return rows


def measure(entry: pd.Series, name: str, form: Callable[[float], str]) -> str:
    """A measure of all pairs; in brackets of those that images can tell, where these are fewer."""
    alone = f" ({form(entry[f'{name}_tellable'])})" if entry["n_tellable"] < entry["n"] else ""
    return form(entry[name]) + alone


def protocol_rows(table: pd.DataFrame) -> list[list[str]]:
    """A row per protocol: the forest's errors of the gain."""
    forest = of_advice(table).set_index("protocol")
    return [[words, *errors(forest.loc[protocol])] for protocol, words in HELD_OUT.items() if protocol in forest.index]


def of_advice(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of predictors about the gain that users were promised."""
    return table[(table["predictor"] == advised(table)) & (table["outcome"] == "gain_iou")]


def advised(table: pd.DataFrame) -> str:
    """The predictor that users were advised by when ``table`` was made."""
    return ADVISED if ADVISED in set(table["predictor"]) else "forest"


def errors(entry: pd.Series) -> list[str]:
    """How well a predictor tells the gain: Spearman, R2, right signs, IoU lost, coverage and width of its interval.

    The width is empty where the table is older than that column.
    """
    forms = {"spearman": number, "r2": number, "sign_accuracy": share, "regret": fine}
    return [
        *(measure(entry, name, form) for name, form in forms.items()),
        share(entry["coverage"]),
        number(entry.get("mean_width", nan), 2),
    ]


def predictors(table: pd.DataFrame) -> list[list[str]]:
    """A row per predictor: its errors of the gain where source, target and transform are new at once."""
    entries = table.query("protocol == 'everything_new' and outcome == 'gain_iou'").set_index("predictor")
    return [[words, *errors(entries.loc[name])] for name, words in PREDICTORS.items() if name in entries.index]


def frozen_row(asked: str, table: pd.DataFrame) -> list[str]:
    """A row of the shipped forest, as it is, beside what always and never adapting loses."""
    gains = table[table["outcome"] == "gain_iou"].set_index("predictor")
    forest = gains.loc[advised(table)]
    rules = [measure(gains.loc[rule], "regret", fine) for rule in ("always_adapt", "never_adapt")]
    count = f"{forest['n']:.0f}" + (f" ({forest['n_tellable']:.0f})" if forest["n_tellable"] < forest["n"] else "")
    return [asked, count, *errors(forest), share(forest["base_rate"]), *rules]


def pairs_with_advice(study: str) -> pd.DataFrame:
    """Gains of a study beside the advice, and what following it lost: a row per pair and seed."""
    table = published(f"gains_{study}.csv").merge(published(f"advice_{study}.csv"), on=KEY, validate="one_to_one")
    gain = table["gain_iou"]
    table["always"], table["never"] = (-gain).clip(0), gain.clip(0)
    table["lost"] = table["never"].where(table["decision"].isin([KEEP, UNKNOWN]), table["always"])
    table["warned"] = table["warning"].notna()
    return table


def natural_rows() -> list[list[str]]:
    """A row per source, and one of all: what was decided, how often rightly, and the mean IoU of following it.

    Pairs are natural ones between different domains; of these every action that was scored has its IoU.
    """
    table = followed(published("gains_natural.csv"), published("advice_natural.csv"))
    table = table[table["source"] != table["target"]]
    throughout = table.filter(regex="^iou_").drop(columns="iou_before").dropna(axis=1).mean().idxmax()
    table = table.assign(throughout=table[throughout])
    groups = [(f"`{name}`", group) for name, group in table.groupby("source")]
    groups.append((f"all; throughout: `{throughout.removeprefix('iou_')}`", table))
    return [[words, *followed_row(group)] for words, group in groups]


def followed(gains: pd.DataFrame, advice: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``advice`` beside what following it gives.

    IoU of the network as it is, ``iou_before``, under each method, ``iou_METHOD``, and :func:`answers.followed`,
    ``advised`` and ``best``; ``true_gain`` of the action that the advice names.
    """
    after = gains.pivot(index=KEY, columns="method", values="iou_after").add_prefix("iou_")
    table = advice.merge(after.assign(iou_before=gains.groupby(KEY)["iou_before"].first()).reset_index(), on=KEY)
    advised, best = answers.followed(table)
    named, _ = answers.followed(table.assign(decision=table["action"]))
    return table.assign(true_gain=named - table["iou_before"], advised=advised, best=best)


def followed_row(table: pd.DataFrame) -> list[str]:
    """Cells of :func:`natural_rows` about the pairs of ``table``."""
    decided = table["decision"].where(table["decision"].isin([KEEP, UNKNOWN]), "act").value_counts()
    right, inside = told(table, "true_gain")
    width = (table["gain_high"] - table["gain_low"]).mean()
    return [
        *[str(len(table)), " / ".join(str(decided.get(word, 0)) for word in ("act", KEEP, UNKNOWN))],
        *[right, share(inside.mean()), number(width, 2)],
        *[number(table[column].mean()) for column in ("iou_before", "iou_batchnorm", "throughout", "advised", "best")],
    ]


def told(table: pd.DataFrame, gain: str) -> tuple[str, pd.Series]:
    """Right signs of the promised gain of how many that are clear, in words, and whether each true one is inside.

    ``gain``: the column of the true gain.
    """
    clear = table[table[gain].abs() > SMALLEST_GAIN]
    right = ((clear["gain"] > 0) == (clear[gain] > 0)).sum()
    return f"{right} of {len(clear)}", table[gain].between(table["gain_low"], table["gain_high"])


def real_pairs(table: pd.DataFrame) -> list[list[str]]:
    """A row per pair of real domains: what adaptation did, and what was advised."""
    return [
        [
            *[f"`{entry.source}` → `{entry.target}`", number(entry.iou_before), number(entry.iou_after)],
            *[number(entry.iou_target_trained), f"{entry.gain_iou:+.3f}"],
            f"{entry.gain:+.3f} [{entry.gain_low:+.3f}, {entry.gain_high:+.3f}]",
            *[entry.decision, "yes" if entry.warned else "no"],
        ]
        for entry in table.itertuples()
    ]


def advice_rows(table: pd.DataFrame) -> list[list[str]]:
    """A row for all pairs, those with a warning and those without: decisions, intervals, and IoU lost."""
    groups = {"all": table, "with a warning": table[table["warned"]], "without": table[~table["warned"]]}
    rows = []
    for words, group in groups.items():
        right, inside = told(group, "gain_iou")
        lost = [number(group[rule].mean(), 4) for rule in ("lost", "always", "never")]
        rows.append([words, str(len(group)), right, f"{inside.sum()} of {len(group)}", *lost])
    return rows


def transform_rows(table: pd.DataFrame) -> list[list[str]]:
    """A row per transform: mean IoU over domains and levels, the range of the gain, and IoU lost by the advice."""
    rows = []
    for transform, group in table.groupby("transform"):
        gains = f"{group['gain_iou'].min():+.3f} to {group['gain_iou'].max():+.3f}"
        means = [number(group[name].mean()) for name in ("iou_before", "iou_after")]
        lost = [number(group[rule].mean(), 4) for rule in ("lost", "always", "never")]
        rows.append([transform, str(len(group)), *means, gains, *lost])
    return rows


def domain_rows(table: pd.DataFrame) -> list[list[str]]:
    """A row per transform, a cell per domain: mean IoU over levels before and after adaptation."""
    domains = sorted(table["source"].unique())
    rows = [["transform", *(f"`{domain}`" for domain in domains)], ["---"] * (len(domains) + 1)]
    for transform, group in table.groupby("transform"):
        means = group.groupby("source")[["iou_before", "iou_after"]].mean()
        cells = [f"{means.loc[name, 'iou_before']:.3f} → {means.loc[name, 'iou_after']:.3f}" for name in domains]
        rows.append([transform, *cells])
    return rows


def baselines(table: pd.DataFrame, methods: dict[str, str], bold: bool) -> list[list[str]]:
    """A row per pair, a cell per method: mean IoU, its spread over seeds where there are several.

    ``bold`` marks a method that is ahead of all others by more than :data:`LEAD`, target labels aside.
    """
    rows = []
    for (source, target), group in table.groupby(["source", "target"]):
        entries = group.set_index("method")
        cells = []
        for method in methods:
            known = method in entries.index
            cells.append(interval_of_seeds(*entries.loc[method, ["iou", "iou_sd"]]) if known else "")
        if bold:
            fair = entries["iou"].reindex([name for name in methods if name != "target"])
            best = fair.idxmax()
            lead = round(fair[best], 3) - round(fair.drop(best).max(), 3)
            if round(lead, 3) > LEAD:
                place = list(methods).index(best)
                cells[place] = f"**{cells[place]}**"
        rows.append([f"`{source}` → `{target}`", f"{entries.loc['batchnorm', 'seeds']:.0f}", *cells])
    return rows


def interval_of_seeds(mean: float, spread: float) -> str:
    return number(mean) if pd.isna(spread) else f"{mean:.3f} ± {spread:.3f}"


def on_a_gpu(measured: dict) -> dict:
    """What `make gpu` measured: the card, and a row per work, per number of networks at once, and of jobs at once."""
    rows = {name: part["rows"] for name, part in measured["parts"].items()}
    throughput, together, sharing = rows["throughput"], rows["together"], rows["sharing"]
    alone = sharing.get("jobs_1", {}).get("jobs_per_minute", nan)
    wholes = [row for name, row in together.items() if name.startswith("trained_grouped")]
    return measured | {
        "tests": {"passed": 0, "failed": 0} | rows["tests"]["pytest"],
        "limits": ", ".join(
            f"{name.removesuffix('_tflops')} {value:,.0f} TFLOP/s"
            for name, value in throughput["limits"].items()
            if name.endswith("_tflops")
        ),
        "copied": throughput["limits"]["copy_gbytes"],
        "throughput": [
            [
                *[name.replace("_", ", ", 1).replace("_", ", batch "), f"{row['images_per_second']:,.0f}"],
                *[row["numbers"], share(row["share_of_arithmetic"]), share(row["share_of_memory"])],
            ]
            for name, row in throughput.items()
            if name != "limits"
        ],
        "alone": together["trained_alone"],
        "together": [
            [str(row["k"]), number(row["times_alone"], 1), fine(row["iou_minus_alone_largest"])]
            for row in sorted(wholes, key=itemgetter("k"))
        ],
        "sharing": [
            [
                *[str(row["at_once"]), "yes" if row["service"] else "no", number(row["jobs_per_minute"], 1)],
                number(row["jobs_per_minute"] / alone, 1),
            ]
            for name, row in sharing.items()
            if name.startswith("jobs")
        ],
        "trained": rows["talk"]["trained"],
        "nulls": rows["talk"]["distances"],
    }


def map_rows(gains: pd.DataFrame) -> list[list[str]]:
    """A row per contrast of targets, the mean of the mask minus that of the background: their IoU and gain."""
    means = gains["target"].str.split("-", expand=True).astype(float)
    rows = []
    for contrast, group in gains.groupby((means[0] - means[1]).round(1)):
        span = f"{group['gain_iou'].min():+.3f} to {group['gain_iou'].max():+.3f}"
        means_of_iou = map(number, group[["iou_before", "iou_after"]].mean())
        rows.append([f"{contrast:+.1f}", str(len(group)), *means_of_iou, span])
    return rows


def distance_rows(distances: pd.DataFrame, gains: pd.DataFrame) -> list[list[str]]:
    """A row per distance and state: null, median, how often it is above the null, Spearman with gain and IoU."""
    table = distances.merge(gains, on=["source", "target"], validate="many_to_one")
    rows = []
    for (distance, state), group in table.groupby(["distance", "state"]):
        above = f"{(group['value'] > group['null']).sum()} of {len(group)}"
        told = [group["value"].corr(group[name], "spearman") for name in ("gain_iou", "iou_after", "iou_before")]
        cells = [number(group["null"].iloc[0], 2), number(group["value"].median(), 2), above]
        rows.append([distance, state, *cells, *(number(value, 2) for value in told)])
    return rows
