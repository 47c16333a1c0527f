"""What the page says: tables in HTML, sentences, cards, and pictures as text.

A template of our own and not Quarto, a program of hundreds of megabytes: the page is one file without requests.
"""

import base64
import gzip
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd

from shiftgain.files.commit import CHANGED, UNKNOWN
from shiftgain.files.tables import read_csv
from shiftgain.findings.cases import CASES, example_cases
from shiftgain.findings.correlations import strongest
from shiftgain.findings.pairs import by_pair, label, sorted_by
from shiftgain.findings.summaries import by_training, method_scores
from shiftgain.findings.verdicts import FEWEST_SEEDS
from shiftgain.report import answers
from shiftgain.report.summary import Condition
from shiftgain.study.names import BLANK, IDENTITY, base_of, full_names

SCORES = ["iou_before", "iou_after", "own_iou"]
COLUMNS = {
    "iou": "IoU",
    "dice": "Dice",
    "n_images": "test images",
    "n_target_images": "target images",
    "iou_sd": "sd of IoU",
    "iou_before": "IoU before",
    "iou_after": "IoU after",
    "own_iou": "source at home",
    "gain_iou": "gain",
    "ci_low": "from",
    "ci_high": "to",
    "n": "pairs",
    "spearman": "Spearman",
    "below_null": "share not above null",
}
SPLITS = ("train", "validation", "adapt", "test")
# A table that is larger when it is compressed is not embedded, so that the page stays small.
PACKED_BYTES = 250_000
PACKAGES = ("snakemake", "torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "h5py")


def tables(
    pairs: pd.DataFrame,
    gains: pd.DataFrame,
    networks: pd.DataFrame,
    correlations: pd.DataFrame,
    hypotheses: pd.DataFrame,
    published: pd.DataFrame,
) -> dict[str, str]:
    """The tables of the page, in HTML; empty where there is nothing to show. ``published``: decided over seeds."""
    cases = example_cases(pairs)
    best = pd.concat(strongest(correlations, outcome).head(6) for outcome in ("gain_iou", "iou_after"))
    columns = [
        *["outcome", "distance", "layer", "activation", "unit", "state"],
        *["spearman", "ci_low", "ci_high", "n", "below_null"],
    ]
    some = any(pair is not None for pair in cases.values())
    rows = []
    for case in CASES:
        pair = cases[case.name]
        empty = {"pair": "does not occur"}
        example = empty if pair is None else {"pair": label(pair), **pair[SCORES]}
        rows.append({"case": case.name, "rule": case.rule} | example)
    return {
        "networks": html(networks[["network", "seed", "n_images", "iou", "dice"]]),
        "trainings": html(trainings) if len(trainings := by_training(pairs)) else "",
        "methods": html(methods) if len(gains) and len(methods := method_scores(gains, pairs)) else "",
        "cases": html(pd.DataFrame(rows, columns=["case", "rule", "pair", *SCORES])) if some else "",
        "correlations": html(best[columns]) if len(best) else "",
        **{name: html(rows) if len(rows) else "" for name, rows in verdicts(hypotheses, published).items()},
    }


def readings(domains: pd.DataFrame) -> str:
    """What was read of each real domain, in HTML, from the table ``domains``; empty without any."""
    rows = []
    for name, table in domains.groupby(domains["domain"].map(base_of), sort=False):
        own = table[table["domain"] == table["domain"].iloc[0]]
        counts = dict(zip(own["split"], own["images"], strict=True))
        first = own[own["split"] == "test"].iloc[0] if "test" in counts else own.iloc[0]
        grey = ["window_low", "window_high"]
        ends = "" if first[grey].isna().any() else "{:g} to {:g}, ".format(*first[grey])
        rows.append(
            {
                "domain": name,
                "images read": first["series"],
                "of them in": ", ".join(f"{split} {counts[split]}" for split in SPLITS if split in counts),
                "files passed over": f"{first['passed_over']}" + ("" if first.isna()["why"] else f" ({first['why']})"),
                "sizes": first["sizes"].replace(" ", ", "),
                "stored as": f"{first['dtype']}, {'RGB' if first['channels'] == 3 else 'grey'}",
                "black to white": ends + first["window"],
                "masks": first["mask_values"],
                "foreground": first["foreground_share"],
                "how it was read": "" if first.isna()["notes"] else first["notes"],
            }
        )
    return html(pd.DataFrame(rows)) if rows else ""


def verdicts(table: pd.DataFrame, published: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The hypotheses that this study tests (``tested``), and those that only published studies do (``elsewhere``).

    ``over seeds``: the verdict of the study that decides it, from results/published, where that has this
    measure and this bound. ``this study``: a verdict from three seeds on, else on which side of the bound it is.
    """
    known = {(row["hypothesis"], row["measure"], row["bound"]): row for row in published.to_dict("records")}
    rows = []
    for row in table.to_dict("records"):
        decided = known.get((row["hypothesis"], row["measure"], row["bound"]))
        rows.append(
            {
                "hypothesis": row["hypothesis"], "claim": row["claim"],
                "over seeds, published": _decided(decided) + f", {decided['study']}" if decided else "",
                "this study": "" if row["verdict"] == "not tested" else _here(row),
                "bound": row["bound"], "what is measured": row["experiment"], "figure": row["figure"],
            }
        )  # fmt: skip
    # Of bools even where no hypothesis is judged: an empty list would pick columns, none of them.
    here = np.array([row["verdict"] != "not tested" for row in table.to_dict("records")], bool)
    columns = ["hypothesis", "claim", "over seeds, published", "this study", "bound", "what is measured", "figure"]
    both = pd.DataFrame(rows, columns=columns)
    return {"tested": both[here], "elsewhere": both[~here].drop(columns="this study")}


def _here(row: dict) -> str:
    """What one study says of a hypothesis that it tests: the verdict, or with too few seeds for one the side."""
    if row["seeds"] >= FEWEST_SEEDS:
        return _decided(row)
    _, side, bound, *_ = row["bound"].split()
    holds = row["value"] >= float(bound) if side == "least" else row["value"] <= float(bound)
    seeds = f"{row['seeds']} seed" + "s" * (row["seeds"] > 1)
    return f"{row['value']:.3f}, {'on its side' if holds else 'on the other side'} of the bound ({seeds}: no verdict)"


def _decided(row: dict) -> str:
    low, high = row["low"], row["high"]
    return f"{row['verdict']}: {row['value']:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")


def compared(baselines: str, costs: str, talk: str) -> dict:
    """The tables of the section on the baselines, in HTML, of the files at these paths."""
    table, measured = read_csv(baselines), read_csv(costs)
    seconds = measured.groupby(["method", "source", "target"])["training_seconds"].mean()
    at_home = {source: seconds.get(("source", source, source)) for source in table["source"]}
    names = full_names(table)
    keys = zip(table["method"].str.removesuffix("+batchnorm"), table["source"], names, strict=True)
    # Adaptation starts from the source's network; the oracle is the network of the target.
    table["training_seconds"] = [
        seconds.get(("source", target, target) if method == "target" else (method, source, target), at_home[source])
        for method, source, target in keys
    ]
    columns = [
        *["method", "selection", "seeds", "n_target_images", "image_presentations", "iou", "iou_sd", "gain_iou"],
        *["gap_closed", "training_seconds", "status"],
    ]
    table = table.assign(target=names, status=table["status"].fillna(""), order=table["method"].map(_place))
    table = sorted_by(table, ["source", "target", "order", "method"])
    directions = {
        f"{source} → {target}": html(rows[columns]) for (source, target), rows in table.groupby(["source", "target"])
    }
    return {"directions": directions, "talk": html(pd.read_csv(talk))}


def _place(method: str) -> int:
    """Rows in the order of the question: without adaptation, all others, the oracle."""
    return {"source": 0, "target": 2}.get(method, 1)


def prediction(
    predictors: pd.DataFrame, advice: pd.DataFrame, scores: pd.DataFrame, pairs: pd.DataFrame, drawn: dict[str, str],
    tree_path: str,
) -> dict:  # fmt: skip
    """What the page says of predictors and advice, and why: sentences and figures."""
    judged = set(predictors["protocol"])
    return {
        "predicted": list(answers.predicted(predictors)),
        "advised": list(answers.advised(advice, pairs)),
        "explained": list(answers.explained(pairs, by_pair(scores))),
        "tree": Path(tree_path).read_text(),
        "protocols": {name: picture(path) for name, path in drawn.items() if name in judged},
    }


def linked(card: dict) -> dict:
    """A card of stage atlas with ``name``, its pair in words, and ``link``, which opens the pair in the atlas."""
    level = f"{card['level']:g}"
    shift = f", {card['transform'].replace('_', ' ')} {level}" if card["transform"] != IDENTITY else ""
    pair = f"{card['source']} → {card['target']}"
    asked = urlencode({"pair": f"{card['source']} {card['target']} {card['transform']} {level}"})
    return card | {"pair": pair, "name": pair + shift, "link": f"#atlas?{asked}"}


def unlabelled(pairs: pd.DataFrame) -> list[str]:
    """Targets without masks, hence without scores."""
    return sorted(set(pairs.loc[pairs["iou_before"].isna(), "target"]))


def answer(said: dict, good: dict[str, list[str]]) -> str:
    """What the page says first in HTML, escaped: of masks, the three sentences, and the table of conditions.

    ``said`` as the template of the page has it; ``good``: of :func:`segmented.answers`.
    """
    spoken = [*(" ".join(sentences) for sentences in good.values()), *(said[name] for name in ("when", "why", "told"))]
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in spoken if sentence)
    columns = ["what it changes", "pairs", "as it is", "refreshed", "best remedy", "remedy", "at home", "effect"]
    table = pd.DataFrame(said["rows"], columns=Condition._fields).set_axis(columns, axis=1)
    return "<!DOCTYPE html>\n" + sentences + (html(table) if len(table) else "")


def picture(path: str) -> str:
    """A figure, SVG, as the address that a page embeds: percent-encoded, a sixth shorter than in base64."""
    return "data:image/svg+xml," + quote(Path(path).read_text().replace("\n", " "), safe=" ;:/=?@+$,!~*()[]{}|")


def packed(path: str) -> str:
    """A file as the text that a page embeds: compressed, the same each time; empty above :data:`PACKED_BYTES`."""
    content = gzip.compress(Path(path).read_bytes(), mtime=0)
    return base64.b64encode(content).decode() if len(content) <= PACKED_BYTES else ""


def is_blank(path: str) -> bool:
    """Whether a figure, SVG, has nothing to show."""
    return f'<g id="{BLANK}">' in Path(path).read_text()


def paragraphs(path: str) -> list[str]:
    """The paragraphs of a caption."""
    return Path(path).read_text().strip().split("\n\n")


def html(table: pd.DataFrame) -> str:
    """A table in HTML, escaped, with the columns in words."""
    named = table.rename(columns=lambda name: COLUMNS.get(name, name.replace("_", " ")))
    # Adding 0 makes a rounded -0 positive.
    text = named.to_html(index=False, border=0, na_rep="–", float_format=lambda value: f"{round(value, 3) + 0:.3f}")
    # On a narrow screen the table scrolls, and the page does not; by keyboard too.
    return '<div class="scroll" tabindex="0">' + text.replace("<th>", '<th scope="col">') + "</div>"


def code(commit: str) -> str:
    """By what code the page was made, in words; ``commit`` as :func:`shiftgain.files.commit.commit` gives it."""
    number, changed = commit.removesuffix(CHANGED), commit.endswith(CHANGED)
    if number == UNKNOWN:
        return "a copy of the workflow without git, whose commit is not known"
    return f"the workflow at commit {number}" + (", some of whose files had been changed" if changed else "")


def versions() -> dict[str, str]:
    """Package -> version, of those installed where the page is made."""
    version_of = {}
    for name in PACKAGES:
        try:
            version_of[name] = version(name)
        except PackageNotFoundError:
            continue
    return version_of
