"""What surrounds the science: one set of versions, a library that stays pure."""

import ast
import re
import shlex
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from shiftgain.files import job

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "workflow/shiftgain").rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
# What a package is called on conda-forge, and what it is imported as, where that differs from its name for pip.
CONDA = {"torch": "pytorch"}
IMPORTED = {"pillow": "PIL", "pyyaml": "yaml", "pytorch": "torch", "imagecodecs": None, "scikit-learn": "sklearn"}
IMPORTED |= {"snakemake-interface-logger-plugins": "snakemake_interface_logger_plugins"}
# What lies in `workflow` beside the package; the logger that says how far a run is Snakemake finds itself.
FOUND = {"snakemake_logger_plugin_progress", "commands"}


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
        imported |= set(lines) - set(sys.stdlib_module_names) - FOUND - {"shiftgain"}
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


def test_no_package_hands_on_what_its_modules_define():
    """:func:`shiftgain.study.lineage.code` follows imports by file, and would not see through an ``__init__.py``."""
    assert not [path for path in LIBRARY if path.name == "__init__.py" and path.read_text().strip()]


def test_the_snakefile_does_not_import_torch():
    program = "import sys; import shiftgain.study.checks, shiftgain.study.lineage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT / "workflow").returncode == 0


def test_files_of_a_job_go_by_name_in_their_order():
    files = {"masks": ["a.h5", "b.h5"], "table": ["c.csv"]}
    assert job.by_name(files, {"masks": ["x", "y"]}) == {"masks": {"x": "a.h5", "y": "b.h5"}}
    with pytest.raises(ValueError, match="shorter"):
        job.by_name(files, {"table": ["x", "y"]})


def test_every_fault_changes_one_place_and_names_its_tests():
    """A fault whose line has moved would be put nowhere: ``python -m tests.faults`` stops at it, after hours."""
    for fault in yaml.safe_load((ROOT / "tests/faults.yaml").read_text()):
        assert (ROOT / fault["file"]).read_text().count(fault["old"]) == 1, fault["wrong"]
        assert all((ROOT / word).is_file() for word in fault["tests"].split() if word.startswith("tests/")), fault


def test_make_alone_prints_help():
    printed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True).stdout
    targets = ("run", "verify", "crate", "test", "check", "bench", "gpu", "faults", "clean", "dag")
    assert all(f"make {target}" in printed for target in targets)


def test_the_repair_that_verify_names_is_one_of_make():
    def printed(*words: str) -> str:
        command = ["make", "--no-print-directory", "--dry-run", "--old-file", ".venv/installed", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for study in ("a.yaml", "a.yaml b.yaml"):
        (repair,) = re.findall("--repair 'make (.*=)'", printed("verify", f"STUDY={study}"))
        assert repair == f'run STUDY="{study}" AGAIN='
        started = printed(*shlex.split(f"{repair}results/b.h5"))
        assert f" --study {study} " in started and re.search(r"--forcerun results/b\.h5$", started.strip())


# Which way imports point: a package may use those on floors below its own, and what lies beside it in its own folder.
FLOORS = [
    {"files"},
    {"domains", "shifts", "network"},
    {"adaptation", "latents", "study"},
    {"findings"},
    {"prediction"},
    {"report"},
]


def test_imports_point_downwards_and_never_in_a_circle():
    floor = {package: number for number, packages in enumerate(FLOORS) for package in packages}
    folders = {path.relative_to(ROOT / "workflow/shiftgain").parts[0] for path in LIBRARY}
    assert folders == set(floor), "each package has its floor"
    used: dict[str, set[str]] = {}
    for path in LIBRARY:
        here = ".".join(path.relative_to(ROOT / "workflow").with_suffix("").parts)
        lines = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name for node in lines if isinstance(node, ast.Import) for alias in node.names}
        parts = [node for node in lines if isinstance(node, ast.ImportFrom)]
        names |= {f"{node.module}.{alias.name}" for node in parts for alias in node.names} | {n.module for n in parts}
        used[here] = {name for name in names if (ROOT / "workflow" / (name.replace(".", "/") + ".py")).is_file()}
        for name in used[here]:
            there = name.split(".")[1]
            own = there == here.split(".")[1]
            assert own or floor[there] < floor[here.split(".")[1]], f"{here} imports {name}, which is no floor below"
    TopologicalSorter(used).prepare()  # raises CycleError
