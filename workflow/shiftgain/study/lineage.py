"""What a stage is made of, read from the source text: importing nothing heavy, so the Snakefile may use it."""

import ast
import io
import os
import tokenize
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import yaml

WORKFLOW = Path(__file__).parents[2]


def beside(name: str) -> str:
    """Path, from the working directory, of ``workflow/{name}``: a checkout that is moved keeps it."""
    return os.path.relpath(WORKFLOW / name)


def code(stage: str) -> list[str]:
    """Library modules that ``workflow/scripts/{stage}.py`` imports, directly or through each other: ``PATH DIGEST``.

    Every rule takes them as parameters, so that an edit to a module reruns exactly the stages that use it and the
    reason shown names the file. As inputs they would be looked at once for every job: a fifth of the time that a run
    with nothing to do takes (`make bench`, rows noop_*).

    An import is followed to the file MODULE.py or MODULE/NAME.py that it names. What an ``__init__.py`` imports and
    hands on would not be seen, so the package has none with content: import a thing from the file that defines it.

    Errors: :class:`FileNotFoundError` for a stage without a script.
    """
    return sorted(
        f"{path.relative_to(WORKFLOW)} {sha256(path.read_bytes()).hexdigest()[:12]}" for path in _modules(stage)
    )


def essence(stage: str, room: str) -> str:
    """Digest of those modules of :func:`code` that lie in ``shiftgain/{room}``; comments and docstrings do not count.

    It says whether numbers that were made earlier are of the code that is here, where none but a person can judge
    whether a change of that code changes them. Errors: as :func:`code`.
    """
    modules = sorted(path for path in _modules(stage) if path.relative_to(WORKFLOW / "shiftgain").parts[0] == room)
    text = "".join(f"{path.relative_to(WORKFLOW)}\n{_bare(path)}" for path in modules)
    return sha256(text.encode()).hexdigest()[:12]


def _modules(stage: str) -> set[Path]:
    modules: set[Path] = set()
    queue = [WORKFLOW / "scripts" / f"{stage}.py"]
    while queue:
        for module in _imports(queue.pop()):
            path = WORKFLOW / (module.replace(".", "/") + ".py")
            if path.is_file() and path not in modules:
                modules.add(path)
                queue.append(path)
    return modules


@cache
def _bare(path: Path) -> str:
    """A module without comments, docstrings and empty lines: the same text by every version of Python."""
    text = path.read_text()
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[number - 1] = ""
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip())


def registry(module: str, name: str) -> list[str]:
    """Keys of the dict literal ``name`` at the top of ``shiftgain/{module}.py``, without importing it.

    ``module``: ``package/module``. Errors: :class:`LookupError` where there is no such literal.
    """
    return list(_literal(module, name))


class Signature(NamedTuple):
    """Names of a function's arguments, and of those among them that must be given."""

    arguments: list[str]
    required: list[str]


@cache
def signatures(module: str, name: str) -> dict[str, Signature]:
    """Key -> signature of the function of that key in the registry ``name``, read as :func:`registry` reads the keys.

    A function is defined in the module of the registry, or imported into it by its own name from another.

    Errors: :class:`LookupError` where there is no such registry, or where the definition of a function is not found.
    """
    return {key: _signature(module, value) for key, value in _literal(module, name).items()}


def _literal(module: str, name: str) -> dict[str, ast.expr]:
    for node in _tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            entries = zip(value.keys, value.values, strict=True)
            return {ast.literal_eval(key): entry for key, entry in entries if key is not None}
    raise LookupError(f"shiftgain/{module}.py has no dict literal named {name}")


def _signature(module: str, value: ast.expr) -> Signature:
    name = ast.unparse(value)
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            positional = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
            keywords = [argument.arg for argument in node.args.kwonlyargs]
            required = positional[: len(positional) - len(node.args.defaults)]
            pairs = zip(keywords, node.args.kw_defaults, strict=True)
            return Signature(positional + keywords, required + [keyword for keyword, default in pairs if not default])
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return _signature(node.module.removeprefix("shiftgain.").replace(".", "/"), value)
    raise LookupError(f"shiftgain/{module}.py neither defines nor imports a function {name}")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse((WORKFLOW / "shiftgain" / f"{module}.py").read_text())


@cache
def catalogue(name: str) -> dict[str, dict]:
    """The entries of ``workflow/{name}.yaml``, in its order.

    A rule takes those that it uses as a parameter, so that an edit of one reruns the stage, and an edit of a comment
    does not; the job needs neither the file nor a YAML reader.
    """
    return yaml.safe_load((WORKFLOW / f"{name}.yaml").read_text())


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("shiftgain.")]
