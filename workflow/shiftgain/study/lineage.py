"""What a stage is made of, read from the source text: importing nothing heavy, so the Snakefile may use it."""

import ast
from functools import cache
from hashlib import sha256
from pathlib import Path

WORKFLOW = Path(__file__).parents[2]


def code(stage: str) -> list[str]:
    """Library modules that ``workflow/scripts/{stage}.py`` imports, directly or through each other: ``PATH DIGEST``.

    Every rule takes them as parameters, so that an edit to a module reruns exactly the stages that use it and the
    reason shown names the file. As inputs they would be looked at once for every job: a fifth of the time that a run
    with nothing to do takes (`make bench`, rows noop_*).

    Errors: :class:`FileNotFoundError` for a stage without a script.
    """
    found: set[Path] = set()
    queue = [WORKFLOW / "scripts" / f"{stage}.py"]
    while queue:
        for module in _imports(queue.pop()):
            path = WORKFLOW / (module.replace(".", "/") + ".py")
            if path.is_file() and path not in found:
                found.add(path)
                queue.append(path)
    return sorted(f"{path.relative_to(WORKFLOW)} {sha256(path.read_bytes()).hexdigest()[:12]}" for path in found)


def registry(module: str, name: str) -> list[str]:
    """Keys of the dict literal ``name`` at the top of ``shiftgain/{module}.py``, without importing it.

    ``module``: ``package/module``. Errors: :class:`LookupError` where there is no such literal.
    """
    tree = ast.parse((WORKFLOW / "shiftgain" / f"{module}.py").read_text())
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return [ast.literal_eval(key) for key in value.keys if key is not None]
    raise LookupError(f"shiftgain/{module}.py has no dict literal named {name}")


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("shiftgain.")]
