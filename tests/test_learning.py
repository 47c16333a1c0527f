"""Predictors: what they see, that a known relation is found and noise is not, and measures worked out by hand."""

from dataclasses import replace
from functools import partial
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import yaml
from joblib import Parallel
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import r2_score

from docs import published
from scripts.predict import gain_table, in_folds
from shiftgain.findings.correlations import resamples
from shiftgain.prediction import estimator, forest, learned, predictors
from shiftgain.prediction.assessment import INTERVALS, MEASURES, judge, measures, tellable
from shiftgain.prediction.choice import choices
from shiftgain.prediction.learned import FOREST, LEARNED
from shiftgain.prediction.predictors import PROTOCOLS
from shiftgain.report import summary
from shiftgain.report.answers import HELD_OUT
from shiftgain.study.names import KEY
from shiftgain.study.plan import Study

OPTIONS = {"trees": 20, "leaf": 2, "coverage": 0.9, "bootstrap": 20}
FEWER = OPTIONS | {"trees": 5}
RULED = ["own_iou", "polarity_margin", "expected_iou_classwise", "foreground_change"]
NAMES = ["told", "noise", *RULED]
ORDER = ["batchnorm", "balanced", "turned"]
NONE = pd.DataFrame(columns=["source", "seed", "kinds", "method", "iou"])
NO_KINDS: dict[str, list[str]] = {"score": [], "distance": [], "action": ["source", *ORDER]}


def study(seeds=(0, 1), noise=0.01, sources=4, targets=5) -> pd.DataFrame:
    """Pairs whose IoU under three actions and kept is told by one score; the others say nothing."""
    rng = np.random.default_rng(0)
    names = [[f"s{k}" for k in range(sources)], [f"t{k}" for k in range(targets)], ["blur", "noise"], [0.0, 1.0]]
    table = pd.MultiIndex.from_product([*names, seeds, ["source", *ORDER]], names=[*KEY, "method"]).to_frame(
        index=False
    )
    table["transform"] = table["transform"].where(table["level"] != 0, "identity")
    table = table.drop_duplicates([*KEY, "method"], ignore_index=True)
    table["iou"] = rng.uniform(size=len(table))
    table["told"] = 1 - table["iou"] + noise * rng.normal(size=len(table))
    blind = {name: rng.normal(size=len(table)) for name in ("noise", *RULED)}
    return table.assign(tellable=table["target"] != "t4", **blind)


def rehearsal(table: pd.DataFrame) -> pd.DataFrame:
    """Rehearsals of the networks of ``table``, in which the score tells the IoU less a bias of each source."""
    rng = np.random.default_rng(1)
    rows = []
    for source, seed in table[["source", "seed"]].drop_duplicates().itertuples(index=False):
        bias = (crc32(source.encode()) % 7) / 20
        for target, kinds in enumerate(["identity", "noise", "blur", "noise+blur", "gamma", "share", "zoom"]):
            for method in ("source", *ORDER):
                told = rng.uniform()
                row = {"source": source, "seed": seed, "target": target, "kinds": kinds, "method": method}
                blind = {name: rng.normal() for name in ("noise", *RULED)}
                rows.append(row | {"told": told, "iou": max(0.0, 1 - told - bias), "gain_sd": 0.2} | blind)
    return pd.DataFrame(rows)


def fitted(rows: pd.DataFrame, names: list[str] = NAMES, options: dict = FEWER, threads: int = 1) -> forest.Forest:
    """A forest of the logits of the IoU of ``rows``, which is taken to be no nearer than 0.02 to 0 or 1."""
    return estimator.fit(names, rows, logit(rows["iou"].clip(0.02, 0.98)), options, threads)


@pytest.fixture(scope="module")
def table():
    return study()


# Choices


def test_the_best_action_is_chosen_and_the_simpler_of_those_hardly_worse():
    rows = {
        "a": [0.5, 0.6, 0.605, 0.3],
        "b": [0.5, 0.2, 0.4, np.nan],
        "c": [0.5, 0.6, 0.62, 0.62],
        "d": [0.5, *[np.nan] * 3],
    }
    table = pd.DataFrame(
        [{"target": t, "method": m, "iou": v} for t, values in rows.items()
         for m, v in zip(["source", *ORDER], values, strict=True)]
    )  # fmt: skip
    found = choices(table, ["target"], "iou", ORDER)
    assert list(found.index) == ["a", "b", "c"], "of d nothing but the kept network is known"
    assert list(found["action"]) == ["batchnorm", "balanced", "balanced"]
    assert found["gain"].tolist() == pytest.approx([0.1, -0.1, 0.12]) and (found["kept"] == 0.5).all()
    named = choices(
        table, ["target"], "iou", ORDER, actions=pd.Series(["turned", "batchnorm", "batchnorm"], ["c", "a", "b"])
    )
    assert named["best"].tolist() == pytest.approx([0.6, 0.2, 0.62])
    some = choices(table, ["target"], "iou", ORDER, actions=pd.Series(["turned"], ["c"]))
    assert list(some.index) == ["c"], "nothing is said of a target for which no action is named"
    other = choices(table, ["target"], "iou", ["turned", "balanced", "batchnorm"])
    assert other.loc["a", "action"] == "balanced" and other.loc["c", "action"] == "turned"


# Measures


def hand(**columns) -> pd.DataFrame:
    return pd.DataFrame({"source": list("aabb"), "target": list("cdcd"), **columns})


def gained(gain, predicted, **columns) -> pd.DataFrame:
    """Pairs of a kept IoU of 0.5, whose preferred action is a plain refresh and the only one."""
    gain = np.array(gain, float)
    iou = {"iou_kept": 0.5, "iou_action": 0.5 + gain, "iou_plain": 0.5 + gain, "iou_best": 0.5 + gain.clip(0)}
    return hand(gain_iou=gain, predicted=predicted, **iou, **columns)


def test_measures_by_hand():
    gain = np.array([0.5, -0.3, 0.01, -0.1])
    pairs = gained(gain, [0.4, 0.1, -0.2, -0.3], low=-1, high=0.3, tellable=[True, False, True, True])
    found = judge(pairs, "gain_iou", 0, 0)
    assert found["mae"] == pytest.approx((0.1 + 0.4 + 0.21 + 0.2) / 4)
    assert found["r2"] == pytest.approx(r2_score(gain, pairs["predicted"]))
    assert found["spearman"] == pytest.approx(spearmanr(gain, pairs["predicted"]).statistic)
    assert found["sign_accuracy"] == pytest.approx(2 / 3), "a gain of 0.01 has no sign"
    assert found["base_rate"] == pytest.approx(2 / 3)
    assert found["regret"] == pytest.approx((0.3 + 0.01) / 4) and found["regret_always_adapt"] == pytest.approx(0.4 / 4)
    assert found["coverage"] == 0.75 and found["mean_width"] == pytest.approx(1.3) and found["n"] == 4
    assert found["n_tellable"] == 3 and found["sign_accuracy_tellable"] == 1
    assert found["regret_tellable"] == pytest.approx(0.01 / 3)
    of_iou = judge(pairs.assign(iou=0.5), "iou", 0, 0)
    assert np.isnan(of_iou["regret"]) and np.isnan(of_iou["coverage"]) == False  # noqa: E712


def test_regret_is_against_the_best_action():
    """The preferred action gains 0.1 where another would have gained 0.3; a plain refresh loses."""
    pairs = gained([0.1] * 4, [0.2, 0.01, 0.03, -0.2]).assign(iou_best=0.8, iou_plain=[0.4, 0.4, 0.4, np.nan])
    found = {name: value.item() for name, value in measures(pairs, "gain_iou", np.ones((4, 1))).items()}
    assert found["regret"] == pytest.approx((0.2 + 0.3 + 0.2 + 0.3) / 4), "0.01 promises too little"
    assert found["regret_always_adapt"] == pytest.approx(0.4), "of the pairs that were refreshed plainly"


def test_a_weight_of_two_is_a_row_that_stands_twice():
    rng = np.random.default_rng(0)
    pairs = gained(rng.normal(size=4), rng.normal(size=4), low=-1, high=[0, 1, 2, 3])
    doubled = measures(pairs, "gain_iou", np.array([[2.0], [1], [0], [3]]))
    copied = measures(pairs.iloc[[0, 0, 1, 3, 3, 3]], "gain_iou", np.ones((6, 1)))
    for name, value in copied.items():
        assert doubled[name] == pytest.approx(value, nan_ok=True), name


def test_coverage_is_of_the_pairs_that_have_an_interval():
    pairs = gained([0.5, -0.3, 0.01, -0.1], [0.4, 0.1, -0.2, -0.3], low=[0, np.nan, -1, np.nan],
                   high=[1, np.nan, 1, np.nan], tellable=True)  # fmt: skip
    found = judge(pairs, "gain_iou", 0, 0)
    assert found["coverage"] == 1 and found["mean_width"] == 1.5


def test_the_surest_pairs_come_first_on_the_risk_coverage_curve():
    """Pairs are asked in the order of the size of what is promised: losses 0, 0, 0.3, 0.1 in that order."""
    pairs = gained([0.5, -0.4, -0.3, 0.1], [0.9, -0.8, 0.5, -0.1])
    found = measures(pairs, "gain_iou", np.ones((4, 1)))["aurc"].item()
    shares = np.arange(1, 21) / 20
    lost = [4 * (0.3 * np.clip(share - 0.5, 0, 0.25) + 0.1 * np.clip(share - 0.75, 0, 0.25)) for share in shares]
    assert found == pytest.approx(np.mean(lost / (4 * shares)))


def test_intervals_hold_the_estimate(table):
    runs = gain_table(table, 1 - table["told"] + 0.3 * table["noise"], np.full(len(table), 0.2), ORDER)
    found = judge(runs, "gain_iou", 100, 0)
    assert set(found) == set(MEASURES)
    for name, prefix in INTERVALS.items():
        assert found[f"{prefix}_low"] <= found[name] <= found[f"{prefix}_high"], name


def test_a_gain_within_two_hundredths_has_no_sign():
    pairs = gained([0.019, -0.019, 0.021, -0.021], [-1, 1, 1, 1])
    assert measures(pairs, "gain_iou", np.ones((4, 1)))["sign_accuracy"].item() == 0.5


def test_the_ends_of_an_interval_are_covered():
    """An interval covers its ends; a pair without one is not covered."""
    pairs = gained([0.1, 0.1, 0.1, 0.3], [0.2] * 4).assign(low=[0.1, -0.3, 0.11, 0.2], high=[0.3, 0.1, 0.3, 0.299])
    assert measures(pairs.round(6), "gain_iou", np.ones((4, 1)))["coverage"].item() == 0.5


def test_intervals_are_percentiles_over_resampled_domains():
    """Each resample written out: a pair stands as often as its source was drawn times as often as its target was."""
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame([{"source": s, "target": t} for s in "abcd" for t in "uvwxy"]).assign(tellable=True)
    gain = rng.gamma(1, 0.3, 20) - 0.2
    iou = {"iou_kept": 0.3, "iou_action": 0.3 + gain, "iou_plain": 0.3 + gain, "iou_best": 0.3 + gain.clip(0)}
    pairs = pairs.assign(gain_iou=gain, predicted=gain + rng.normal(0, 0.3, 20), **iou)
    found = judge(pairs, "gain_iou", 50, 7)
    drawn = {name: [] for name in INTERVALS}
    for weights in np.concatenate(list(resamples(pairs["source"], pairs["target"], 50, 7)), axis=1).T:
        chosen = pairs.loc[np.repeat(pairs.index, weights.astype(int))]
        true, told = chosen["gain_iou"], chosen["predicted"]
        clear = chosen[true.abs() > 0.02]
        lost = np.where(told > 0.02, (-true).clip(0), true.clip(0))
        drawn["spearman"].append(spearmanr(true, told).statistic)
        drawn["r2"].append(r2_score(true, told))
        drawn["sign_accuracy"].append(((clear["gain_iou"] > 0) == (clear["predicted"] > 0)).mean())
        drawn["regret"].append(lost.mean())
    for name, values in drawn.items():
        edges = np.percentile(values, 2.5), np.percentile(values, 97.5)
        assert tuple(found[f"{INTERVALS[name]}_{edge}"] for edge in ("low", "high")) == pytest.approx(edges), name
    alone = judge(pairs[(pairs["source"] == "a") & (pairs["target"] == "u")], "gain_iou", 50, 7)
    assert np.isnan(alone["ci_low"]) and np.isnan(alone["regret_high"]), "no domains to draw"


# Folds


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_held_out_is_new(table, protocol):
    """Every row is asked about once, by rows that share none of the columns of the protocol with it."""
    columns = PROTOCOLS[protocol]
    held = list(predictors.folds(table, columns))
    assert (np.sum([out for out, _ in held], axis=0) == 1).all() and len(held) > 1
    for out, seen in held:
        assert not (out & seen).any() and seen.any()
        for name in columns:
            shared = set(table.loc[out, name]) & set(table.loc[seen, name])
            assert shared <= {"identity"} and (not shared or protocol == "everything_new"), name


def test_every_protocol_is_told_in_words():
    schema = yaml.safe_load((published.ROOT / "workflow/schemas/tables.schema.yaml").read_text())
    row = schema["properties"]["predictors"]["items"]["properties"]
    protocols = {*PROTOCOLS, *Study({"domains": {}, "variants": {}}, {}, ()).frozen}
    assert HELD_OUT.keys() == protocols, "answers.py"
    assert summary.ASKED.keys() == protocols, "summary.py"
    assert published.HELD_OUT.keys() == set(PROTOCOLS), "docs/published.py"
    assert set(row["protocol"]["enum"]) == protocols, "tables.schema.yaml"


def test_a_domain_that_is_new_is_new_in_both_roles():
    """Real domains are each other's sources and targets: one that is asked about as a target was no source before."""
    names = ["a", "b", "c", "d"]
    pairs = pd.DataFrame([{"source": s, "target": t} for s in names for t in names])
    pairs = pairs.assign(transform="identity", level=0.0, seed=0)
    for out, seen in predictors.folds(pairs, PROTOCOLS["everything_new"]):
        asked = {*pairs.loc[out, "source"], *pairs.loc[out, "target"]}
        assert not asked & {*pairs.loc[seen, "source"], *pairs.loc[seen, "target"]}


def test_variants_of_a_source_are_held_out_together(table):
    """A network of the same domain, trained otherwise, has seen the same images, on pairs of the same targets."""
    pairs = table.assign(source=table["source"].replace({"s1": "s0~brief", "s3": "s2~brief"}))
    for protocol in ("leave_source_out", "everything_new"):
        for out, seen in predictors.folds(pairs, PROTOCOLS[protocol]):
            domains = [{name.partition("~")[0] for name in pairs.loc[rows, "source"]} for rows in (out, seen)]
            assert not domains[0] & domains[1], protocol
    own = rehearsal(pairs)
    found = learned.fit_with_interval(NAMES, pairs, own, ORDER, FEWER)
    merged, its = (part.assign(source=part["source"].str.partition("~")[0]) for part in (pairs, own))
    seeds = {"seed": lambda part: part["seed"] + 2 * part["source"].isin(["s1", "s3"])}
    of_domains = learned.fit_with_interval(NAMES, merged.assign(seed=seeds["seed"](table)), its, ORDER, FEWER)
    assert found.error == pytest.approx(of_domains.error)


def test_a_target_that_is_held_out_is_not_learned_from_as_a_source(table):
    """Nor from the rehearsal of its network, which shows its images with their masks."""
    names = ["a", "b", "c", "d"]
    pairs = table.assign(
        source=table["source"].map(dict(zip(["s0", "s1", "s2", "s3"], names, strict=True))),
        target=table["target"].map(dict(zip(["t0", "t1", "t2", "t3", "t4"], [*names, "e"], strict=True))),
    )
    own = rehearsal(pairs)
    for out, seen in predictors.folds(pairs, PROTOCOLS["leave_means_out"]):
        held = set(pairs.loc[out, "target"])
        assert not held & {*pairs.loc[seen, "source"], *pairs.loc[seen, "target"]}
        said = learned.held_out(pairs[seen], pairs[out], NO_KINDS, NAMES, own, ORDER, FEWER)
        disturbed = own.assign(iou=own["iou"].where(~own["source"].isin(held), 0.0))
        again = learned.held_out(pairs[seen], pairs[out], NO_KINDS, NAMES, disturbed, ORDER, FEWER)
        np.testing.assert_array_equal(said[FOREST, "learned"][0], again[FOREST, "learned"][0])


def test_an_action_that_few_pairs_were_tried_with_is_a_rule_for_all(table):
    """Of pairs without it the network is kept; a fold that trains on none of them says so too."""
    few = table[(table["method"] != "turned") | (table["source"] == "s3")].reset_index(drop=True)
    for columns in (PROTOCOLS["leave_source_out"], PROTOCOLS["everything_new"]):
        rows, runs = in_folds(few, columns, NO_KINDS, NAMES, NONE, ORDER, OPTIONS, Parallel(1))
        (predicted,) = [run[2] for run in runs if run[0] == "always_turned"]
        assert np.isfinite(predicted).all()
        assert ((predicted > 0) == (rows["method"] == "turned")).all()


@pytest.mark.parametrize(
    "columns", [PROTOCOLS[name] for name in ("leave_source_out", "leave_means_out", "replication")]
)
def test_what_is_held_out_is_not_seen(table, columns):
    """Outcomes that follow the group alone cannot be told for a group that is held out."""
    groups = table[columns[0]].astype(str)
    level = groups.map({name: value for value, name in enumerate(sorted(groups.unique()))}) / 5
    leak = table.assign(iou=level + table["noise"] / 100, told=groups.map(lambda name: crc32(name.encode()) % 97))
    rows, runs = in_folds(leak, columns, NO_KINDS, NAMES, NONE, ORDER, OPTIONS, Parallel(1))
    said = {run[0]: run[2] for run in runs}
    for name in (FOREST, "small_tree"):
        assert judge(rows.assign(predicted=said[name]), "iou", 0, 0)["r2"] < 0.3


# The interval


def told_apart(table: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    """The logit that a forest which has not seen a row's group says of it, and how far its trees disagree, in IoU."""
    names, told, apart = sorted(set(table[column].astype(str))), *(pd.Series(np.nan, table.index) for _ in range(2))
    for part in range(4):
        out = table[column].astype(str).isin(names[part::4])
        if out.any():
            model = ExtraTreesRegressor(5, min_samples_leaf=2, max_features=1 / 3, random_state=0)
            model.fit(table.loc[~out, NAMES].to_numpy(np.float32), logit(table.loc[~out, "iou"].clip(0.02, 0.98)))
            each = [tree.predict(table.loc[out, NAMES].to_numpy(np.float32)) for tree in model.estimators_]
            told[out], apart[out] = np.mean(each, axis=0), np.std(each, axis=0)
    iou = 1 / (1 + np.exp(-told))
    return told, iou * (1 - iou) * apart + 0.02


def slow_width(table: pd.DataFrame, column: str, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th of the errors of the promised gain, in spreads, each told without its group."""
    told, apart = told_apart(table, column)
    wrong = []
    for _, rows in table.assign(said=1 / (1 + np.exp(-told)), apart=apart).groupby(KEY):
        rows = rows.set_index("method")
        others = rows.loc[ORDER, "said"]
        action = next(name for name in ORDER if others[name] >= others.max() - 0.01)
        promised = rows.loc[action, "said"] - rows.loc["source", "said"]
        size = np.hypot(rows.loc[action, "apart"], rows.loc["source", "apart"])
        wrong.append(abs(promised - (rows.loc[action, "iou"] - rows.loc["source", "iou"])) / size)
    return sorted(wrong)[min(len(wrong), int(np.ceil(coverage * (len(wrong) + 1)))) - 1]


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.999])
def test_the_interval_is_of_sources_that_were_not_seen(coverage):
    pairs = study(seeds=(0,))
    told = pairs["source"].map({f"s{k}": k for k in range(4)}) + 0.1 * pairs["told"]
    pairs = pairs.assign(told=told)
    found = learned.fit_with_interval(NAMES, pairs, NONE, ORDER, FEWER | {"coverage": coverage})
    assert found.width == pytest.approx(slow_width(pairs, "source", coverage), abs=1e-6)
    wrong = told_apart(pairs, "source")[0] - logit(pairs["iou"].clip(0.02, 0.98))
    assert found.error == pytest.approx((wrong**2).mean())


@pytest.mark.parametrize(
    ("n", "coverage", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (40, 0.9, 37), (4, 0.9, 4), (9, 0.5, 5)]
)
def test_the_half_width_is_the_next_error_after_the_share_that_is_covered(n, coverage, rank):
    """Of 19 errors and one to come, 18 in 20 lie at or below the 18th: no larger one is needed for 90 %."""
    wrong = np.random.default_rng(n).permutation(n) + 1.0
    assert estimator.quantile(wrong, coverage) == rank
    assert np.isnan(estimator.quantile(np.array([]), 0.9))


def test_intervals_cover_what_was_not_seen():
    """Of many draws of n errors, the next lies within the half-width in 90 %, for the smallest n for which that
    holds."""
    rng = np.random.default_rng(0)
    draws = np.abs(rng.normal(size=(4000, 20)))
    halves = np.array([estimator.quantile(row[:19], 0.9) for row in draws])
    assert (draws[:, 19] <= halves).mean() == pytest.approx(0.9, abs=0.015)


# Rehearsal


def test_no_kind_is_told_by_rehearsed_targets_that_share_it():
    """Negatives and other shares, which every rehearsal has, are told without their own rows, and tell others."""
    kinds = pd.Series(["identity", "noise", "blur", "noise+blur", "inversion", "share+blur", "inversion+noise"])
    found = {name: sorted(kinds[rest]) for out, rest in estimator.kinds_held_out(kinds) for name in kinds[out]}
    others = {
        "identity": set(kinds) - {"identity"},
        "noise": {"identity", "blur", "inversion", "share+blur"},
        "blur": {"identity", "noise", "inversion", "inversion+noise"},
        "noise+blur": {"identity", "inversion"},
        "inversion": set(kinds) - {"inversion"},
        "share+blur": {"identity", "noise", "inversion", "inversion+noise"},
        "inversion+noise": {"identity", "blur", "inversion", "share+blur"},
    }
    assert found == {name: sorted(apart) for name, apart in others.items()}


def test_a_rehearsal_mends_what_the_forest_gets_wrong_of_its_source(table):
    """Of every source the IoU lies lower by a bias of its own, which its rehearsal shows."""
    biased = table.assign(
        iou=[
            max(0.0, 1 - t - (crc32(s.encode()) % 7) / 20) for s, t in zip(table["source"], table["told"], strict=True)
        ]
    )
    prior = learned.fit_with_interval(NAMES, table, NONE, ORDER, OPTIONS)
    said = learned.learned(prior, biased, rehearsal(table), ORDER, OPTIONS)
    alone, rehearsed = (np.abs(said[name, "learned"][0] - biased["iou"]).mean() for name in (FOREST, LEARNED))
    assert rehearsed < 0.7 * alone
    none = learned.learned(prior, biased, NONE, ORDER, OPTIONS)[LEARNED, "learned"]
    np.testing.assert_array_equal(none[0], said[FOREST, "learned"][0])
    np.testing.assert_array_equal(none[1], prior.width * estimator.spread(prior, None, biased))


def test_a_rehearsal_is_used_without_the_transform_that_is_asked_about(table):
    """What it says of that kind, were it nonsense, bears on no pair under it, and does bear on others."""
    prior, own = fitted(table), rehearsal(table)
    noisy = own["kinds"].str.contains("noise")
    nonsense = own.assign(iou=own["iou"].where(~noisy, 1.0))
    said = {
        k: learned.learned(prior, table, rows, ORDER, FEWER)[LEARNED, "learned"][0]
        for k, rows in enumerate((own, nonsense))
    }
    under = (table["transform"] == "noise").to_numpy()
    np.testing.assert_array_equal(said[0][under], said[1][under])
    assert (said[0][~under] != said[1][~under]).mean() > 0.5


def test_a_network_is_told_by_its_own_rehearsal_and_not_by_that_of_another_seed(table):
    prior, own = fitted(table), rehearsal(table)
    nonsense = own.assign(iou=own["iou"].where(own["seed"] == 0, 1.0))
    said = [learned.learned(prior, table, rows, ORDER, FEWER)[LEARNED, "learned"] for rows in (own, nonsense)]
    first = (table["seed"] == 0).to_numpy()
    for values, again in zip(*said, strict=True):
        np.testing.assert_array_equal(values[first], again[first])
    assert (said[0][0][~first] != said[1][0][~first]).mean() > 0.5


def test_errors_are_of_the_action_that_is_promised():
    """Balanced is promised 0.2 of gain and brings 0.05; that turned brings 0.3, or is told worst, is no part of it."""
    rows = {"source": (0.5, 0.3, 0.5), "balanced": (0.7, 0.4, 0.55), "turned": (0.6, 0.9, 0.8)}
    table = pd.DataFrame(
        [dict(zip(("predicted", "spread", "iou"), row, strict=True)) | {"method": name, "target": "a"}
         for name, row in rows.items()]
    )  # fmt: skip
    assert estimator.errors(table, ["target"], ORDER) == pytest.approx([0.15 / 0.5])


def test_the_forest_is_fitted_on_rehearsals_too(table):
    """Those of sources that are asked about bear on neither the forest's interval nor, in folds, on the forest."""
    own = rehearsal(table)
    found = learned.fit_with_interval(NAMES, table, own, ORDER, FEWER)
    both = pd.concat([table, own])
    np.testing.assert_array_equal(found.logit, fitted(both).logit)
    asked, rest = table["source"] == "s0", own["source"] != "s0"
    said = learned.held_out(table[~asked], table[asked], NO_KINDS, NAMES, own, ORDER, FEWER)
    kinds = {*table.loc[asked, "transform"]} - {"identity"}
    apart = own[rest & np.array([not {*names.split("+")} & kinds for names in own["kinds"]])]
    expected = fitted(pd.concat([table[~asked], apart]))
    np.testing.assert_array_equal(said[FOREST, "learned"][0], expit(expected.predict(expected.rows(table[asked]))))


@pytest.mark.parametrize(("usual", "part"), [(np.nan, 1), (1, 1 / 2), (3, 1 / 4)])
def test_the_correction_is_of_what_the_forest_gets_wrong_and_believed_as_far_as_it_is_worse_than_elsewhere(
    table, usual, part
):
    """``usual``: its error on other sources, in its error on the rehearsal."""
    prior, own = fitted(table), rehearsal(table)
    rows = own[NAMES].to_numpy(np.float32)
    wrong = logit(own["iou"].clip(0.02, 0.98)) - prior.predict(rows)
    prior = replace(prior, error=usual * np.mean(wrong**2))
    model = ExtraTreesRegressor(5, min_samples_leaf=2, max_features=1 / 3, random_state=0)
    model.fit(rows, part * wrong)
    expected = expit(prior.predict(rows) + model.predict(rows))
    np.testing.assert_allclose(
        estimator.expected(prior, estimator.correct(prior, own, FEWER), own), expected, atol=1e-6
    )


def test_a_pair_without_a_transform_is_told_by_the_unchanged_rehearsal_too(table):
    """What is judged is what is advised: only a transform that there is can be new."""
    prior, own = fitted(table), rehearsal(table)
    asked = table[(table["source"] == "s0") & (table["transform"] == "identity")].reset_index(drop=True)
    mine = own[(own["source"] == "s0") & (own["seed"] == 0)]
    rows = (asked["seed"] == 0).to_numpy()
    said = learned.learned(prior, asked, own, ORDER, FEWER)[LEARNED, "learned"][0]
    model = estimator.estimator(prior, mine, ORDER, FEWER)
    np.testing.assert_array_equal(said[rows], model.expected(asked[rows]))


def test_beside_the_forests_stands_a_number_that_nothing_is_fitted_to(table):
    """Where there is no such score, the forests speak alone."""
    rng, part = np.random.default_rng(3), estimator.REFERENCE_PART
    names, seen = [*NAMES, estimator.REFERENCE], {estimator.REFERENCE: rng.uniform(size=len(table))}
    own = rehearsal(table).assign(**{estimator.REFERENCE: 0.25})
    prior = fitted(table.assign(**seen), names)
    model = estimator.Estimator(prior, estimator.correct(prior, own, FEWER), 1.0)
    rows = table.assign(**seen)
    forests = prior.predict(prior.rows(rows)) + model.correction.predict(prior.rows(rows))
    expected = (1 - part) * expit(forests) + part * rows[estimator.REFERENCE]
    np.testing.assert_allclose(model.expected(rows), expected)
    told = estimator.held_out_kinds(prior, own, FEWER)
    assert told["predicted"].between(part * 0.25, (1 - part) + part * 0.25).all() and told["predicted"].nunique() > 20
    # The width is in the spreads that it is multiplied by, of prior and correction together.
    values = logit((told["predicted"] - part * 0.25) / (1 - part))
    assert (told["spread"] >= estimator.in_iou(prior.each(prior.rows(own)).std(axis=0), values) - 1e-9).all()
    # What moved the expectation sums to it, but for what is expected without any score, by the trees' roots.
    rest = model.expected(rows) - model.drivers(rows).sum(axis=1).to_numpy()
    assert np.ptp(rest) == pytest.approx(0, abs=1e-6) and 0.1 < rest[0] < 0.5 * (1 - part)
    alone = fitted(table)
    np.testing.assert_array_equal(estimator.expected(alone, None, rows), expit(alone.predict(alone.rows(rows))))


# Predictors


def test_a_pair_is_told_by_the_pairs_of_other_sources():
    """Prediction and interval of the forest of each fold, written out: what is held out bears on neither."""
    table = study(seeds=(0,))
    rows, runs = in_folds(table, ["source"], NO_KINDS, NAMES, NONE, ORDER, FEWER, Parallel(1))
    said = {run[0]: run[2:] for run in runs}
    assert rows.equals(table)
    for name in table["source"].unique():
        out = table["source"] == name
        model = fitted(table[~out])
        values = model.predict(table.loc[out, NAMES].to_numpy(np.float32))
        np.testing.assert_allclose(said[FOREST][0][out], expit(values))
        apart = expit(values) * (1 - expit(values)) * model.each(model.rows(table[out])).std(axis=0) + 0.02
        half = slow_width(table[~out], "source", 0.9) * apart
        np.testing.assert_allclose(said[FOREST][1][out], half, rtol=1e-5)
        kept = table[~out & (table["method"] == "source")].set_index(KEY)["iou"]
        gain = table[~out & (table["method"] == "turned")].set_index(KEY)["iou"] - kept
        turned = out & (table["method"] == "turned")
        np.testing.assert_allclose(said["constant"][0][turned], gain.mean())
        np.testing.assert_allclose(said["always_turned"][0][turned], gain.abs().mean())
        assert (said["always_turned"][0][out & (table["method"] == "balanced")] < 0).all()


def test_a_prediction_depends_on_the_training_pairs_and_the_scores_of_its_own_pair():
    """Not on the other pairs of the test fold, nor on any outcome there."""
    train, test = study(seeds=(0,)), study(seeds=(1,), noise=0.3).iloc[:20]
    test = test.assign(told=3 + 5 * test["told"], noise=test["noise"] - 2, far=1.0)
    own = rehearsal(test).query("kinds in ['identity', 'gamma', 'share', 'zoom']")
    kinds = NO_KINDS | {"score": NAMES, "distance": ["far"]}
    ask = partial(learned.held_out, train.assign(far=train["noise"]), kinds=kinds, names=NAMES,
                  rehearsals=own, order=ORDER, options=FEWER)  # fmt: skip
    whole, alone, blind = ask(test), ask(test.iloc[4:8]), ask(test.assign(iou=np.nan))
    assert set(whole) == set(alone)
    for key, (values, half) in whole.items():
        np.testing.assert_allclose(alone[key][0], values[4:8], err_msg=str(key))
        np.testing.assert_allclose(alone[key][1], half[4:8], err_msg=str(key))
        np.testing.assert_array_equal(blind[key][0], values, err_msg=str(key))
    unfitted = {(f"{name}_unfitted", "unfitted") for name in predictors.IOU_SCORES if name in NAMES}
    rules = {
        (name, "baseline") for name in ("constant", "never_adapt", "always_adapt", "always_balanced", "always_turned")
    }
    fitted = {(name, "score") for name in NAMES} | {("far", "distance")}
    learned_ones = {(FOREST, "learned"), (LEARNED, "learned")}
    assert set(whole) == unfitted | rules | fitted | learned_ones | {(n, "transparent") for n in predictors.TRANSPARENT}


@pytest.mark.parametrize(
    ("expected", "margin", "shares", "action"),
    [
        (0.81, 1, (0, 0), "source"),  # no headroom: nine tenths of 0.9 at home
        (0.8, 1, (0.4, 0), "batchnorm"),
        (0.8, 1, (-0.6, 0), "balanced"),
        (0.8, -1, (2, 0.1), "turned"),
        (0.8, -1, (0, 0.6), "turned_balanced"),
        (0.8, -1, (0, np.nan), "turned"),
    ],
)
def test_the_rule_of_three_conditions(expected, margin, shares, action):
    rows = pd.DataFrame({"method": ["source", "batchnorm", "balanced", "turned", "turned_balanced"]})
    rows = rows.assign(source="a", target="b", transform="identity", level=0.0, seed=0, own_iou=0.9)
    rows = rows.assign(polarity_margin=margin, expected_iou_classwise=[expected, *[0.1] * 4])
    rows["foreground_change"] = [0, shares[0], 5, shares[1], 5]
    said = pd.Series(predictors.three_conditions([], rows, rows), rows["method"])
    assert said["source"] == 0 and (said > 0).sum() == (action != "source")
    assert said.idxmax() == action


def many_scores(n: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """An outcome of seven of nine scores, which differ in mean and scale; one of them does not vary."""
    rng = np.random.default_rng(seed)
    names = [f"score{k}" for k in range(9)]
    scores = rng.normal(size=(n, 9)) * 10.0 ** np.arange(-4, 5) + seed * 10.0 ** np.arange(-4, 5)
    scores[:, 4] = 2.0
    weights = np.array([3, -2.5, 2, -1.5, 0, 1, -0.7, 0, 0]) / 10.0 ** np.arange(-4, 5)
    return pd.DataFrame(scores, columns=names).assign(iou=scores @ weights + rng.normal(0, 0.1, n)), names


def test_the_linear_predictor_takes_five_scores_one_after_the_other():
    """Matching pursuit written out: the score most correlated with what is left, then least squares on those taken."""
    (train, names), (test, _) = many_scores(40, 0), many_scores(10, 1)
    mean, scale = train[names].mean(), train[names].std(ddof=0).replace(0, np.inf)
    x, y = ((train[names] - mean) / scale).to_numpy(), train["iou"] - train["iou"].mean()
    taken, left = [], y
    for _ in range(5):
        taken.append(int(np.argmax(abs(x.T @ left))))
        slopes = np.linalg.lstsq(x[:, taken], y, rcond=None)[0]
        left = y - x[:, taken] @ slopes
    expected = train["iou"].mean() + ((test[names] - mean) / scale).to_numpy()[:, taken] @ slopes
    assert len(set(taken)) == 5
    np.testing.assert_allclose(predictors.linear(names, train, test), expected, rtol=1e-6)


def test_the_tree_in_words_asks_five_questions():
    train, names = many_scores(200, 0)
    text = predictors.small_tree_text(names, train)
    assert text.count("<=") == text.count("> ") == 5 and text.count("value:") == 6
    assert len(set(predictors.small_tree(names, train, train))) == 6


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_number_is_fitted_as_scikit_learn_fits_it(sign):
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"score": rng.integers(0, 12, 60).astype(float)})
    train["iou"] = sign * np.sqrt(train["score"]) + rng.normal(0, 0.5, 60)
    test = pd.DataFrame({"score": [-3, 0, 0.25, 4.5, 11, 99]})
    model = IsotonicRegression(increasing=sign > 0, out_of_bounds="clip").fit(train["score"], train["iou"])
    np.testing.assert_allclose(predictors.single("score", train, test), model.predict(test["score"]))


def test_a_distance_tells_the_gain_of_a_plain_refresh_alone(table):
    gain = predictors.gains(table)
    pairs = table.assign(
        far=-gain.where(table["method"] == "batchnorm").groupby([table[k] for k in KEY]).transform("max")
    )
    said = pd.Series(predictors.single_gain("far", pairs, pairs), pairs.index)
    plain = table["method"] == "batchnorm"
    np.testing.assert_allclose(said[plain], gain[plain], atol=1e-9)
    assert (said[table["method"] == "source"] == 0).all() and said[table["method"] == "turned"].isna().all()


def test_predictors_find_what_there_is_and_nothing_in_noise(table):
    kinds = NO_KINDS | {"score": NAMES}
    rows, runs = in_folds(table, ["source"], kinds, NAMES, NONE, ORDER, OPTIONS, Parallel(1))
    iou = {run[0]: judge(rows.assign(predicted=run[2]), "iou", 0, 0) for run in runs}
    gain = {run[0]: judge(gain_table(rows, *run[2:], ORDER), "gain_iou", 0, 0) for run in runs}
    assert iou[FOREST]["r2"] > 0.75 and gain[FOREST]["spearman"] > 0.85
    assert iou["told"]["r2"] > 0.95, "falling as well as rising"
    assert iou["linear"]["r2"] > 0.95 and iou["small_tree"]["r2"] > 0.5 and abs(iou["noise"]["r2"]) < 0.2
    assert 0.8 < gain[FOREST]["coverage"] <= 1
    assert gain["always_adapt"]["regret"] == pytest.approx(gain["constant"]["regret_always_adapt"])
    wide = table.pivot(index=KEY, columns="method", values="iou")
    best = wide.max(axis=1)
    assert gain["never_adapt"]["regret"] == pytest.approx((best - wide["source"]).mean())
    assert gain["always_turned"]["regret"] == pytest.approx((best - wide["turned"]).mean())
    assert gain[FOREST]["regret"] < 0.2 * gain["always_turned"]["regret"]


def test_a_missing_number_is_predicted_by_the_mean(table):
    gaps = table.assign(told=table["told"].where(table["level"] != 0))
    predicted = predictors.single("told", gaps, gaps)
    assert np.isfinite(predicted).all()
    assert set(predicted[gaps["level"] == 0]) == {gaps["iou"].mean()}
    empty = predictors.single("told", gaps.assign(told=np.nan), gaps)
    assert set(empty) == {gaps["iou"].mean()}


# The forest as arrays


def test_the_arrays_say_what_scikit_learn_says(table, tmp_path):
    found = fitted(table, options={"trees": 10, "leaf": 3})
    model = ExtraTreesRegressor(10, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    model.fit(table[NAMES].to_numpy(np.float32), logit(table["iou"].clip(0.02, 0.98)))
    others = study(seeds=(7,), noise=0.2)
    np.testing.assert_allclose(found.predict(found.rows(others)), model.predict(others[NAMES].to_numpy()), atol=1e-6)
    forest.save(replace(found, width=0.3, error=0.04), tmp_path / "forest.npz")
    again = forest.load(tmp_path / "forest.npz")
    np.testing.assert_array_equal(again.predict(found.rows(others)), found.predict(found.rows(others)))
    assert again.width == 0.3 and again.error == 0.04 and again.features == NAMES


def test_thresholds_send_a_score_that_equals_one_to_the_left(table):
    """Thresholds are float64, scores float32: rounded down, none sends a score to the other side."""
    found = fitted(table, options={"trees": 10, "leaf": 1})
    model = ExtraTreesRegressor(10, min_samples_leaf=1, max_features=1 / 3, random_state=0)
    rows = table[NAMES].to_numpy(np.float32)
    model.fit(rows, logit(table["iou"].clip(0.02, 0.98)))
    np.testing.assert_allclose(found.predict(rows), model.predict(rows), atol=1e-6)
    inner = np.flatnonzero(found.feature >= 0)
    equal = np.tile(rows[0], (len(inner), 1))
    equal[np.arange(len(inner)), found.feature[inner]] = found.threshold[inner]
    np.testing.assert_allclose(found.predict(equal), model.predict(equal), atol=1e-6)
    np.testing.assert_array_equal([found.low, found.high], [rows.min(axis=0), rows.max(axis=0)])


def test_the_fit_does_not_depend_on_threads(table):
    one, two = (fitted(table, threads=threads) for threads in (1, 2))
    for name in forest.ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_without_pairs_the_forest_knows_nothing(table):
    found = learned.fit_with_interval(NAMES, table[:0], NONE, ORDER, OPTIONS)
    assert found.predict(found.rows(table.head(3))).tolist() == [0, 0, 0] and np.isnan(found.width)


def test_distances_come_over_their_nulls_and_as_changes():
    keys = {"source": "a", "target": "b", "transform": "identity", "level": 0.0, "seed": 0}
    place = keys | {"layer": "bottleneck", "activation": "before_relu", "unit": "position", "distance": "w"}
    states = [
        place | {"state": "before", "value": 3.0, "null": 1.5},
        place | {"state": "after", "value": 1.0, "null": 0},
    ]
    row = predictors.distances_wide(pd.DataFrame(states)).iloc[0]
    stem = "w_bottleneck_before_relu_position"
    assert row[f"{stem}_before"] == 3 and row[f"{stem}_change"] == -2 and row[f"{stem}_before_to_null"] == 2


def test_the_agreement_of_seeds_is_not_learned_from(table):
    assert predictors.features(table.assign(seed_agreement=1.0)[[*KEY, "method", "seed_agreement", *NAMES]]) == NAMES


def test_pairs_are_tellable_whose_shares_lie_on_the_same_side_of_one_half():
    own, other = pd.Series([0.3, 0.3, 0.7, 0.7, 0.5, 0.3]), pd.Series([0.1, 0.7, 0.6, 0.2, 0.3, 0.51])
    assert list(tellable(own, other)) == [True, False, True, False, False, False]


@pytest.mark.parametrize(("share", "told"), [(0.44, True), (0.46, False), (0.54, False), (0.56, True)])
def test_a_share_within_a_twentieth_of_one_half_lies_on_neither_side(share, told):
    near, far = pd.Series([share]), pd.Series([0.2 if share < 0.5 else 0.8])
    assert list(tellable(near, far)) == list(tellable(far, near)) == [told]


def test_a_held_out_kind_is_told_by_the_correction_of_the_others_alone():
    """Blur alone is right, and one score says that it is blur: who has seen its rows would know."""
    kinds = ["blur"] * 12 + ["noise"] * 12
    rows = pd.DataFrame({"kinds": kinds, "x": [1.0] * 12 + [0.0] * 12, "iou": [1.0] * 12 + [0.0] * 12})
    prior = estimator.fit(["x"], rows, estimator.logits(0 * rows["iou"]), {"trees": 4, "leaf": 1})
    told = estimator.held_out_kinds(prior, rows, {"trees": 4, "leaf": 1})
    assert told["predicted"].tolist() == pytest.approx([0.02] * 12 + [0.98] * 12)
    # How far a correction is believed is of its own rows as well: the forest is not wrong on noise, that tells of blur.
    unsure = estimator.held_out_kinds(replace(prior, error=(2 * logit(0.98)) ** 2), rows, {"trees": 4, "leaf": 1})
    assert unsure["predicted"].tolist() == pytest.approx([0.02] * 12 + [0.5] * 12)
