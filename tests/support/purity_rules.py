"""What a stage that decides may do: take values and return values, nothing else."""

import ast

from source_files import Source

RISK = ("rule", "trader", "account", "standing", "exposures", "registry")
PURE_HOMES = ("manager/desk/plan/", *(f"manager/desk/risk/{name}.py" for name in RISK))
EFFECT_MODULES = (
    "anyio",
    "asyncio",
    "exchanges.clock",
    "exchanges.provider",
    "logging",
    "manager.desk.session",
    "manager.state.memory",
    "manager.state.postgres",
    "manager.state.store",
    "structlog",
    "time",
)
EFFECT_NAMES = {"clock", "exchange", "session", "store", "tx"}
EFFECT_TYPES = {"Clock", "Exchange", "Session", "Store", "Transaction"}


def pure_stages(source: Source) -> list[str]:
    """Refuse await, clocks, logs and sessions where a round is planned and its entries are checked."""
    if not source.path.startswith(PURE_HOMES):
        return []
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(source.at(node, "a stage awaits; move the effect to the job around it"))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [source.at(node, f"a stage imports {name}; pass it a value") for name in _effects(node)]
        elif isinstance(node, ast.FunctionDef):
            found += [source.at(node, f"a stage takes {name}; pass it a value") for name in _taken(node)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(source.at(node, "a stage prints; return what it found"))
    return found


def _effects(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return [name for name in names if any(name == one or name.startswith(f"{one}.") for one in EFFECT_MODULES)]


def _taken(node: ast.FunctionDef) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    types = {a.arg: a.annotation.id for a in arguments if isinstance(a.annotation, ast.Name)}
    return [a.arg for a in arguments if a.arg in EFFECT_NAMES or types.get(a.arg) in EFFECT_TYPES]
