"""What surrounds the science: one set of versions, a README whose commands exist, a library that stays pure."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "workflow/shiftgain").rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
# What a package is called on conda-forge, and what it is imported as, where that differs from its name for pip.
CONDA = {"torch": "pytorch"}
IMPORTED = {"pillow": "PIL", "pyyaml": "yaml", "pytorch": "torch", "imagecodecs": None, "scikit-learn": "sklearn"}


def pins(name: str = "requirements.txt") -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if re.match(r"\w", line))


def environment(name: str) -> dict[str, str]:
    dependencies = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]
    return dict(dependency.split("=") for dependency in dependencies)


def environments() -> dict[str, str]:
    """Stage -> the environment that its rule names."""
    found = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        text = path.read_text()
        found[path.stem] = re.search(r'"\.\./\.\./envs/(\w+)\.yaml"', text).group(1)
    return found


def imports(path: Path, seen: set[Path]) -> set[str]:
    """Top-level packages that a file imports, directly or through the library."""
    seen.add(path)
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{name}" for name in names)]
        for name in names:
            library = ROOT / "workflow" / (name.replace(".", "/") + ".py")
            if name.startswith("shiftgain") and library.is_file() and library not in seen:
                packages |= imports(library, seen)
            packages.add(name.split(".")[0])
    return packages - set(sys.stdlib_module_names) - {"shiftgain"}


def test_environments_agree_with_requirements():
    wanted = {CONDA.get(name, name): version for name, version in pins().items()}
    for path in (ROOT / "envs").glob("*.yaml"):
        for name, version in environment(path.stem).items():
            if name != "python":
                assert wanted[name] == version, f"{path.name}: {name}"


@pytest.mark.parametrize("stage", [path.stem for path in SCRIPTS])
def test_an_environment_holds_what_its_stages_import_and_no_more(stage):
    held = {name for name in environment(environments()[stage]) if name != "python"}
    by_import = {IMPORTED.get(name, name) for name in held}
    assert imports(ROOT / "workflow/scripts" / f"{stage}.py", set()) <= by_import
    sharing = [other for other, name in environments().items() if name == environments()[stage]]
    used = set().union(*(imports(ROOT / "workflow/scripts" / f"{other}.py", set()) for other in sharing))
    assert by_import - {None} <= used


def test_running_needs_what_the_workflow_imports_and_no_more():
    imported = set()
    for path in [*(ROOT / "workflow").rglob("*.py"), ROOT / "Snakefile"]:
        lines = re.findall(r"^\s*(?:from|import) (\w+)[\w.]*(?: import .*| as \w+)?$", path.read_text(), re.MULTILINE)
        imported |= set(lines) - set(sys.stdlib_module_names) - {"workflow", "shiftgain"}
    by_import = {IMPORTED.get(name, name) for name in pins()}
    # Not imported: the executor of the Slurm profile, and what tifffile and `snakemake --report` import in their turn.
    assert by_import - imported == {"snakemake-executor-plugin-slurm", "pygments", None}
    assert imported <= by_import
    assert not pins().keys() & pins("requirements-dev.txt").keys()


def test_every_requirement_is_locked_with_its_hashes():
    locks = {path.name: path.read_text() for path in (ROOT / "locks").glob("*.lock")}
    for requirements, lock in (("requirements.txt", "run.lock"), ("requirements-dev.txt", "develop.lock")):
        for name, version in pins(requirements).items():
            assert f"\n{name}=={version} \\\n" in f"\n{locks[lock]}", f"{name}: `make lock` writes locks/ anew"
    for name, text in locks.items():
        assert "://" not in text, name
        for entry in re.split(r"\n(?=\w)", text):
            assert re.fullmatch(r"[\w.-]+==[^\n]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", entry), (name, entry)


def test_snakemake_is_named_in_main_blocks_only():
    for path in LIBRARY:
        assert not re.search(r"\bsnakemake\.(input|output|params|wildcards|config)", path.read_text()), path.name
    for path in SCRIPTS:
        body, main = path.read_text().split('if __name__ == "__main__":')
        assert not re.search(r"\bsnakemake\.\w", body) and "snakemake.config" not in main, path.name


def test_the_snakefile_does_not_import_torch():
    program = "import sys; import shiftgain.study.checks, shiftgain.study.lineage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT / "workflow").returncode == 0


def test_make_alone_prints_help():
    printed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True).stdout
    assert all(f"make {target}" in printed for target in ("run", "test", "check", "bench", "gpu", "clean", "dag"))


def test_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)) <= targets
    for path in re.findall(r"[\w/.]+\.(?:yaml|py|smk|svg|csv|json)\b", text):
        if path.startswith(("workflow/", "tests/", "envs/", "results/published/")):
            assert (ROOT / path).exists(), path


def test_the_readme_says_of_the_predictor_what_the_published_table_says():
    text = (ROOT / "README.md").read_text()
    table = pd.read_csv(ROOT / "results/published/predictors.csv")
    forest = table[(table["predictor"] == "forest") & (table["outcome"] == "gain_iou")].set_index("protocol")
    words = {"leave_source_out": "sources", "leave_transform_out": "transformations",
             "leave_means_out": "target domains", "leave_seed_out": "networks (seeds)"}  # fmt: skip
    forms = {"spearman": ".3f", "r2": ".3f", "sign_accuracy": ".1%", "regret": ".4f"}
    for protocol, word in words.items():
        row = forest.loc[protocol]
        cells = [f"{row[name]:{form}} ({row[f'{name}_tellable']:{form}})" for name, form in forms.items()]
        assert f"| {word} | {' | '.join(cells)} |" in text
    row = forest.loc["leave_source_out"]
    for said in (f"Of {row['n']:.0f} pairs", f"the {row['n_tellable']:.0f} of them", f"{row['base_rate']:.1%}",
                 f"loses {row['regret_always_adapt']:.4f}"):  # fmt: skip
        assert said in text
    real = pd.read_csv(ROOT / "results/published/predictors_real.csv").query("outcome == 'gain_iou'")
    real = real.set_index("predictor")
    for number in (*real.loc["forest", ["regret", "regret_always_adapt"]], real.loc["never_adapt", "regret"]):
        assert f"{number:.4f}" in text
    widths = pd.read_csv(ROOT / "results/published/predictors_widths.csv").query("outcome == 'gain_iou'")
    frozen = widths.set_index("predictor").loc["forest"]
    for suffix in ("", "_tellable"):
        for name, form in (("spearman", ".3f"), ("r2", ".3f"), ("sign_accuracy", ".1%"), ("regret", ".4f")):
            assert f"{frozen[name + suffix]:{form}}" in text, name + suffix
    assert f"{frozen['regret_always_adapt']:.4f}" in text and f"{frozen['n']:.0f} pairs" in text


def test_the_readme_says_of_the_baselines_what_the_published_table_says():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (.+?) \|((?: (?:\*\*)?\d\.\d{3}(?:\*\*)? \|){6})$", text, re.MULTILINE)
    named = {"0.35": "0.30-0.70", "0.10": "sparse"}
    table = pd.read_csv(ROOT / "results/published/baselines.csv")
    iou = table.set_index(["source", "target", "method"])["iou"]
    methods = ["source", "batchnorm", "ynet", "cellseguda", "selftraining", "target"]
    source = target = ""
    for words, numbers in rows:
        if words == "and back":
            source, target = target, source
        else:
            source, target = (named.get(name, name) for name in re.findall(r"\w+_\w+|\d\.\d\d(?:-\d\.\d\d)?", words))
        said = [f"{iou[source, target, method]:.3f}" for method in methods]
        assert numbers.replace("*", "").split(" |")[:6] == [f" {number}" for number in said], (source, target)
        best = max(range(5), key=lambda place: float(said[place]))
        lead = float(said[best]) - max(float(said[place]) for place in range(5) if place != best)
        bold = [place for place, cell in enumerate(numbers.split(" |")) if "**" in cell]
        assert bold == [best] * (round(lead, 3) > 0.005)
    assert len(rows) == len(table.query("method == 'ynet'"))


def test_the_readme_says_of_shifted_real_images_what_the_published_tables_say():
    text = " ".join((ROOT / "README.md").read_text().split())
    gains, advice = (pd.read_csv(ROOT / f"results/published/{name}_shifted.csv") for name in ("gains", "advice"))
    means = gains.groupby("transform")[["iou_before", "iou_after"]].mean()
    for transform, row in means.drop(index="identity").iterrows():
        assert re.search(f"{row['iou_before']:.3f} to {row['iou_after']:.3f}", text), transform
    assert f"the networks have {means.loc['identity', 'iou_before']:.3f} unshifted" in text
    table = gains.merge(advice, on=["source", "target", "transform", "level", "seed"])
    gain, adapts, warned = table["gain_iou"], table["decision"] == "adapt", table["warning"].notna()
    lost = (-gain).clip(0).where(adapts, gain.clip(0))
    noise = lost[(table["transform"] == "noise") & ~adapts]
    predictors = pd.read_csv(ROOT / "results/published/predictors_shifted.csv").set_index(["predictor", "outcome"])
    forest, never = (predictors.loc[(name, "gain_iou")] for name in ("forest", "never_adapt"))
    for said in (
        f"{len(table)} pairs, one seed",
        f"the right sign in {forest['sign_accuracy']:.1%} where the commoner sign alone is right in "
        f"{forest['base_rate']:.1%}, and {lost.mean():.4f} of IoU lost, where always adapting loses "
        f"{forest['regret_always_adapt']:.4f} and never adapting {never['regret']:.4f}",
        f"Its intervals, made to hold 90%, hold {forest['coverage']:.0%}",
        f"keep make {noise.sum() / len(table):.4f} of it",
        f"warns of {warned.sum()} of the {len(table)} pairs",
        f"loses {lost[warned].mean():.4f} a pair there; of the {(~warned).sum()} without a warning it loses "
        f"{lost[~warned].mean():.4f}",
    ):
        assert said in text, said
    assert len(noise) == 3
