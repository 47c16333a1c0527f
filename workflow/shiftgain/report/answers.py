"""The answer in words: when adaptation works and why, how well that is told without labels, what to do about a pair.

Every number in a sentence is worked out here from the tables; a sentence over too few pairs is not made. What theory
says whatever the tables hold stands in the captions, as theory.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from shiftgain.findings.cases import CASES
from shiftgain.findings.conditions import REAL_NAMES, UNADAPTED, UNBROKEN_NAMES, remedy_scores
from shiftgain.findings.correlations import TALK, roc_area, strongest
from shiftgain.findings.pairs import FEWEST_PAIRS, RESTORED_MARGIN, SMALLEST_GAIN, abroad, near_half, over_seeds
from shiftgain.findings.summaries import between_directions
from shiftgain.prediction.choice import KEEP, UNKNOWN, done
from shiftgain.report import cards
from shiftgain.study.names import KEY, PLAIN

# protocol -> how its sentence begins; the first that a study has stands in its answer.
HELD_OUT = {
    "synthetic_to_real": "On real domains, fitted on synthetic ones alone",
    "another_width": "On networks of other widths than it was fitted on",
    "everything_new": "Where source, target and transformation are all new to it",
    "leave_source_out": "On source domains that it was not fitted on",
    "leave_transform_out": "On transformations that it was not fitted on",
    "leave_means_out": "On target domains that it was not fitted on",
    "replication": "Replicated over seeds",
}
# The predictor by which a user is advised.
ADVISED = "rehearsed"
# Published table of predictors -> protocol, and of what; that which is most like a user's own images first.
JUDGED = {
    "predictors_natural": ("synthetic_to_real", "On real nuclei, at home and abroad"),
    "predictors_shifted": ("synthetic_to_real", "On real images under known shifts"),
    "predictors": ("everything_new", "On synthetic images with source, target and transform all new"),
}
# Share of right signs, and of the loss of the best constant rule, from and up to which advice is said to be reliable.
RELIABLE_SHARE, LOSS_SHARE = 0.9, 0.5
# A conclusion over couples of domains is drawn where chance alone gives as uneven a count less often than this.
SIGNIFICANCE = 0.05


def when(pairs: pd.DataFrame) -> Iterator[str]:
    """Sentences on when adaptation works, from the table of :func:`pairs.pair_table`."""
    own_iou = pairs.groupby("source")["own_iou"].mean()
    each = _list([f"{iou:.3f} ({source})" for source, iou in own_iou.items()])
    many = f"{own_iou.mean():.3f} on average ({own_iou.min():.3f} to {own_iou.max():.3f})"
    yield f"On test images of its own domain a source network reaches an IoU of {each if len(own_iou) <= 4 else many}."

    table = abroad(pairs)
    gain = table["gain_iou"]
    if len(table) >= FEWEST_PAIRS:
        gained, lost = int((gain > SMALLEST_GAIN).sum()), int((gain < -SMALLEST_GAIN).sum())
        yield (
            f"Of {len(table)} pairs of a source and a shifted target, {gained} gain more than {SMALLEST_GAIN} of IoU "
            f"from adaptation, {lost} lose more than {SMALLEST_GAIN} and {len(table) - gained - lost} change by less; "
            f"the mean IoU {_moves(table)}."
        )
    bright = table[table["brightness"]]
    if len(bright) >= FEWEST_PAIRS:
        before, after = ((bright[name] - bright["own_iou"]).abs().mean() for name in ("iou_before", "iou_after"))
        yield (
            f"Under a pure brightness shift ({len(bright)} pairs) the IoU lies {after:.3f} from the source's own "
            f"on average with adaptation, {before:.3f} without."
        )
    kept, flipped = table[table["polarity"] == "kept"], table[table["polarity"] == "flipped"]
    if min(len(kept), len(flipped)) >= FEWEST_PAIRS:
        yield (
            f"Where the polarity is kept ({len(kept)} pairs) the mean IoU {_moves(kept)}; "
            f"where it flips ({len(flipped)} pairs) it {_moves(flipped)}."
        )
    home = pairs.loc[pairs["home"] & pairs["gain_iou"].notna(), "gain_iou"]
    if len(home):
        change = f"by {home.min():+.3f} to {home.max():+.3f}" if home.abs().max() >= 0.001 else "by less than 0.001"
        yield f"Refreshed on its own domain, the IoU of a network changes {change}."


def why(pairs: pd.DataFrame) -> Iterator[str]:
    """Sentences on what goes wrong, from the table of :func:`pairs.pair_table`."""
    table = abroad(pairs)
    for case, word in zip(CASES[:2], ("nearly every pixel", "hardly any pixel"), strict=True):
        blank = table[case.among(table)]
        if len(blank) >= FEWEST_PAIRS:
            yield (
                f"In {len(blank)} pairs the unadapted network calls {word} foreground ({case.name}); "
                f"there the mean IoU {_moves(blank)}."
            )
    plain = table[(table["transform"] == "identity") & table["towards_mask"].notna()]
    white, black = (plain.loc[case.among(plain), "towards_mask"] for case in CASES[:2])
    if min(len(white), len(black)) >= FEWEST_PAIRS:
        yield (
            f"Without a transform, {(white > 0).sum()} of the {len(white)} all white pairs have their target towards "
            f"the grey level of the source's mask, {(black < 0).sum()} of the {len(black)} all black ones away from it."
        )
    lost = table[(table["gain_iou"] < -SMALLEST_GAIN) & (table["polarity"] != "")]
    if len(lost) >= FEWEST_PAIRS:
        flipped = (lost["polarity"] == "flipped").sum()
        yield f"Of the {len(lost)} pairs that lose and whose polarity is known, {flipped} flip it."
    apart = between_directions(table, ["gain_iou"])
    if len(apart) >= FEWEST_PAIRS:
        yield (
            f"Over the {len(apart)} couples of domains tried in both directions, "
            f"the two gains differ by {apart['gain_iou'].mean():.3f} on average."
        )


def mended(pairs: pd.DataFrame, remedies: list[str]) -> Iterator[str]:
    """A sentence for each condition that pairs break: IoU kept, refreshed plainly, and with the best of ``remedies``.

    ``pairs``: the table of :func:`pairs.pair_table`. Of the remedies that all pairs of the condition tried.
    """
    table = remedy_scores(over_seeds(pairs), remedies)
    for condition in dict.fromkeys(table["condition"]):
        rows = table[(table["condition"] == condition) & (table["n"] == table["pairs"])].set_index("method")
        tried = rows["iou"].reindex([name for name in remedies if name in rows.index])
        broken = condition not in (*UNBROKEN_NAMES, *REAL_NAMES) and rows["pairs"].iloc[0] >= FEWEST_PAIRS
        if not (broken and len(tried) and PLAIN in rows.index):
            continue
        kept, refreshed = rows.loc[[UNADAPTED, PLAIN], "iou"]
        yield (
            f"What breaks {condition} ({rows['pairs'].iloc[0]} pairs): mean IoU {kept:.3f} as it is, "
            f"{refreshed:.3f} refreshed plainly, {tried.max():.3f} with {tried.idxmax().replace('_', ' ')}, "
            f"the best single remedy there."
        )


def told(correlations: pd.DataFrame) -> Iterator[str]:
    """Sentences on whether a distance tells the outcome without labels, from the table ``correlations``."""
    for outcome, words in (("gain_iou", "gain"), ("iou_after", "adapted IoU")):
        rows = strongest(correlations, outcome)
        if not len(rows) or rows.iloc[0]["n"] < FEWEST_PAIRS:
            continue
        best = rows.iloc[0]
        direction = "farther" if best["spearman"] > 0 else "nearer"
        null = (
            "" if np.isnan(best["below_null"]) else f"; {best['below_null']:.0%} of its values do not exceed their null"
        )
        yield (
            f"Of {len(rows)} combinations of distance, layer and state, {_in_words(best)} measured {best['state']} "
            f"adaptation orders the {words} best: Spearman {_spearman(best)}, the {direction} the higher, "
            f"over {best['n']:.0f} pairs{null}."
        )
        before = rows[rows["state"] == "before"]
        if len(before) and best["state"] != "before":
            row = before.iloc[0]
            yield f"Of those measured before adaptation, {_in_words(row)} is the strongest: {_spearman(row)}."


def predicted(predictors: pd.DataFrame) -> Iterator[str]:
    """Sentences on how well it is told what each action reaches, from the table ``predictors``."""
    for protocol, words in HELD_OUT.items():
        rows = predictors[predictors["protocol"] == protocol].set_index(["predictor", "outcome"])
        if (ADVISED, "gain_iou") not in rows.index or rows.loc[(ADVISED, "gain_iou"), "n"] < FEWEST_PAIRS:
            continue
        gain, iou = rows.loc[(ADVISED, "gain_iou")], rows.loc[(ADVISED, "iou")]
        yield (
            f"{words} ({gain['n']:.0f} pairs), the rehearsed predictor expects the IoU under every action with R² "
            f"{iou['r2']:.2f} and a mean error of {iou['mae']:.3f}. The sign of the gain that it promises is right in "
            f"{gain['sign_accuracy']:.1%} (the commoner sign alone: {gain['base_rate']:.1%}), its intervals hold "
            f"{gain['coverage']:.0%} at a mean width of {gain['mean_width']:.2f}, and following it loses "
            f"{gain['regret']:.4f} of IoU a pair against the best action{_constant_rule(rows)}."
        )
    rows = predictors[predictors["protocol"] == "leave_source_out"].set_index(["predictor", "outcome"])
    singles = _lost(rows, "unfitted")
    if len(singles):
        lost = _lost(rows)
        beside = {TALK: "the talk's Bhattacharyya of the bottleneck", "three_conditions": "a rule of three conditions"}
        rest = [f"; {words}: {lost[name]:.4f}" for name, words in beside.items() if name in lost]
        yield (
            "Of single numbers that nothing was fitted to, the best to choose by for an unseen source "
            f"({_looked_at(singles.index[0])}) loses {singles.iloc[0]:.4f}{''.join(rest)}."
        )


def trusted(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """How far to trust the advice, a sentence for each of :data:`JUDGED` in which it was judged; real images first."""
    for name, (protocol, where) in JUDGED.items():
        table = tables.get(name, pd.DataFrame(columns=["protocol", "predictor", "outcome"]))
        rows = table[table["protocol"] == protocol].set_index(["predictor", "outcome"])
        if (ADVISED, "gain_iou") in rows.index and "mean_width" in rows:
            yield _trust(where, rows)


def _trust(where: str, rows: pd.DataFrame) -> str:
    """``rows``: of one protocol, by predictor and outcome."""
    gain = rows.loc[(ADVISED, "gain_iou")]
    rules = _constant_rules(rows)
    best = rules.iloc[0] if len(rules) else np.nan
    if gain["sign_accuracy"] >= RELIABLE_SHARE and gain["regret"] <= LOSS_SHARE * best:
        worth = "can be followed"
    elif gain["regret"] < best:
        worth = "does better than any constant rule, but does not spare a look at the masks"
    else:
        worth = "does no better than a constant rule, so look at the masks"
    return (
        f"{where} ({gain['n']:.0f} pairs) the advice {worth}: the sign of the gain that it promises was right in "
        f"{gain['sign_accuracy']:.0%} (the commoner sign alone: {gain['base_rate']:.0%}), following it lost "
        f"{gain['regret']:.4f} of IoU a pair against the best action{_constant_rule(rows)}{_single_number(rows)}, and "
        f"its intervals, on average {gain['mean_width']:.2f} wide, held {gain['coverage']:.0%}."
    )


def _lost(rows: pd.DataFrame, kind: str = "") -> pd.Series:
    """Predictor -> the IoU a pair that it loses, the least first, of one ``kind`` or of all.

    ``rows``: of one protocol, by predictor and outcome.
    """
    gain = rows[rows.index.get_level_values("outcome") == "gain_iou"].droplevel("outcome")
    regret = gain.loc[gain["kind"] == kind, "regret"] if kind else gain["regret"]
    return regret.dropna().sort_values(kind="stable")


def _constant_rules(rows: pd.DataFrame) -> pd.Series:
    """Constant rule -> what it loses, as :func:`_lost`; that of mean gains, which are fitted, left out."""
    return _lost(rows, "baseline").drop("constant", errors="ignore")


def _constant_rule(rows: pd.DataFrame) -> str:
    """What the best constant rule loses, in words; ``rows`` as for :func:`_lost`."""
    rules = _constant_rules(rows)
    if rules.empty:
        return ""
    words = {"always_adapt": "always a plain refresh", "never_adapt": "always to keep"}
    name = rules.index[0]
    rule = words.get(name, f"always method {name.removeprefix('always_')}")
    untold = "" if any("told" in each.split("_") for each in rules.index) else ", none that tells polarity tried"
    return f", the best constant rule ({rule}{untold}) {rules.iloc[0]:.4f}"


def _single_number(rows: pd.DataFrame) -> str:
    """What the best number that nothing was fitted to loses, in words; ``rows`` as for :func:`_lost`."""
    singles = _lost(rows, "unfitted")
    if singles.empty:
        return ""
    number = _looked_at(singles.index[0])
    return f", the best single number that nothing was fitted to ({number}) {singles.iloc[0]:.4f}"


def _looked_at(predictor: str) -> str:
    """What the score looks at that is a predictor by itself, ``SCORE_unfitted``, in the words of cards."""
    name = predictor.removesuffix("_unfitted")
    return cards.LOOKED_AT.get(name, name)


def advised(advice: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[str]:
    """What the advice comes to over the study, and how it did where there are labels."""
    if advice.empty:
        yield "This study tries no action that could be advised, neither plain refreshing nor a remedy."
        return
    counts = advice["decision"].value_counts()
    named = [f"{cards.named(name)} in {n}" for name, n in counts.drop([UNKNOWN, KEEP], errors="ignore").items()]
    keep, unknown, warned = counts.get(KEEP, 0), counts.get(UNKNOWN, 0), (advice["warning"] != "").sum()
    yield (
        f"Of {len(advice)} pairs the advice is to keep the network in "
        f"{', '.join([str(keep), *named])}; in {unknown} it cannot be told. It warns of {warned} as unlike "
        f"anything it was fitted on."
    )
    table = advice.merge(pairs, on=KEY, suffixes=("", "_of_pair"))
    table = table[table["iou_before"].notna()]
    if len(table) >= FEWEST_PAIRS:
        reached, best = followed(table)
        main = cards.named(table["method"].iloc[0])
        always = f"{main} each time {table['iou_after'].mean():.3f}, " if table["iou_after"].notna().all() else ""
        yield (
            f"Where there are labels ({len(table)} pairs) following it gives a mean IoU of {reached.mean():.3f}, "
            f"and what it expects to be best where it cannot be told: "
            f"{always}always keeping {table['iou_before'].mean():.3f}, the best action "
            f"each time {best.mean():.3f}."
        )


def followed(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """IoU of doing what the ``decision`` of each pair says (n,), and of the best of keeping and all actions advised on.

    ``table``: rows of advice with ``iou_before`` and ``iou_METHOD`` of their pairs. What cannot be told: :func:`done`.
    """
    what = done(table)
    columns = ("iou_" + what).mask(what == KEEP, "iou_before")
    place, names = pd.factorize(columns)
    told = [f"iou_{name.removeprefix('expected_')}" for name in table if str(name).startswith("expected_")]
    best = table[["iou_before", *(name for name in told if name in table)]].max(axis=1)
    return table[names].to_numpy(float)[np.arange(len(table)), place], best.to_numpy(float)


def explained(pairs: pd.DataFrame, scores: pd.DataFrame) -> Iterator[str]:
    """Why: what is undone, what is harmed, what tells polarity and how directions differ.

    ``pairs``: the table of :func:`pairs.pair_table`; ``scores``: the table of label-free scores.
    """
    table = abroad(pairs)
    kept = table[table["polarity"] == "kept"]
    groups = [
        (name, rows) for name, rows in kept.groupby("transform") if len(rows) >= FEWEST_PAIRS and name != "identity"
    ]
    restored = {name: (rows["iou_after"] >= rows["own_iou"] - RESTORED_MARGIN).mean() for name, rows in groups}
    if restored:
        ordered = sorted(restored.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{name} {share:.0%}" for name, share in ordered)
        yield (
            f"Share of the pairs of kept polarity whose adapted IoU comes within {RESTORED_MARGIN} of the source's "
            f"own, by transformation: {named}."
        )
    harmed = {name: rows["gain_iou"].mean() for name, rows in groups if rows["gain_iou"].mean() < -SMALLEST_GAIN}
    if harmed:
        named = ", ".join(f"{name} ({gain:+.3f})" for name, gain in sorted(harmed.items(), key=lambda item: item[1]))
        yield f"Where the polarity is kept, adaptation harms on average under {named}."
    yield from _polarity(pairs, scores)
    yield from _asymmetry(between_directions(table, ["gain_iou", "iou_before", "iou_after"]))


def _asymmetry(gaps: pd.DataFrame) -> Iterator[str]:
    """``gaps``: a row per couple of domains, from :func:`summaries.between_directions`."""
    if len(gaps) < FEWEST_PAIRS:
        return
    larger = int((gaps["iou_before"] > gaps["iou_after"]).sum())
    unequal = int((gaps["iou_before"] != gaps["iou_after"]).sum())
    yield (
        f"Between the two directions of {len(gaps)} couples of domains the gain differs by "
        f"{gaps['gain_iou'].mean():.3f}, the IoU before adaptation by {gaps['iou_before'].mean():.3f} and after it by "
        f"{gaps['iou_after'].mean():.3f}; in {larger} couples the IoU differs more before than after."
    )
    # The sign test: a couple is as likely to differ more before as after, where neither explains the asymmetry.
    if unequal and binomtest(larger, unequal).pvalue < SIGNIFICANCE:
        where = "starts" if 2 * larger > unequal else "ends"
        yield f"The asymmetry is mostly one of where the network {where} (sign test, p < {SIGNIFICANCE})."


def _polarity(pairs: pd.DataFrame, scores: pd.DataFrame) -> Iterator[str]:
    plain = pairs[(pairs["transform"] == "identity") & (pairs["polarity"] != "") & ~pairs["home"]]
    names = [name for name in scores if name not in KEY and not str(name).startswith("seed_")]
    table = plain[[*KEY, "polarity", "true_foreground"]].merge(scores[[*KEY, *names]], on=KEY)
    half = near_half(table["true_foreground"])
    usual = table[~half]
    if usual["polarity"].value_counts().reindex(["kept", "flipped"]).fillna(0).min() < FEWEST_PAIRS:
        return
    # After adaptation some pairs may have no score: of blocks without a plain refresh.
    names = [name for name in names if usual[name].notna().all()]
    areas = {name: separation(usual[name], usual["polarity"] == "flipped") for name in names}
    if not areas:
        return
    best = sorted(areas, key=lambda name: (-areas[name], name))[:3]
    named = "; ".join(f"{_in_state(name)} ({areas[name]:.2f})" for name in best)
    yield (
        f"Without labels, flipped pairs are parted from kept ones best by {named}: the probability that a flipped pair "
        f"stands on its own side of a kept one, where 0.5 is chance."
    )
    equal = table[half]
    if equal["polarity"].value_counts().reindex(["kept", "flipped"]).fillna(0).min() >= FEWEST_PAIRS:
        area = separation(equal[best[0]], equal["polarity"] == "flipped")
        yield f"Over the {len(equal)} pairs whose foreground share is one half, the first of these reaches {area:.2f}."


def _in_state(score: str) -> str:
    """What a score looks at, in the words of cards, and of which state it is where its name ends in ``_before``."""
    name, _, state = score.rpartition("_")
    return f"{_looked_at(name)}, {state} adaptation" if state in ("before", "after") else _looked_at(score)


def separation(values: pd.Series, flipped: pd.Series) -> float:
    """max(a, 1 - a), a the :func:`roc_area` of ``values`` for ``flipped``: 0.5 is chance, 1 is apart."""
    area = roc_area(values, flipped)
    return max(area, 1 - area)


def _in_words(row: pd.Series) -> str:
    place = f"{row['layer']} {row['activation'].replace('_relu', ' the ReLU')}"
    return f"{row['distance'].replace('_', ' ')} of {place}" + (", image means," if row["unit"] == "image" else "")


def _spearman(row: pd.Series) -> str:
    interval = "" if np.isnan(row["ci_low"]) else f" (interval {row['ci_low']:+.2f} to {row['ci_high']:+.2f})"
    return f"{row['spearman']:+.2f}{interval}"


def _list(parts: list[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _moves(table: pd.DataFrame) -> str:
    before, after = table["iou_before"].mean(), table["iou_after"].mean()
    verb = "rises" if after - before >= 0.005 else "falls" if before - after >= 0.005 else "stays"
    return f"{verb} from {before:.3f} to {after:.3f}" if verb != "stays" else f"stays at {after:.3f}"
