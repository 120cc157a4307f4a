"""How code treats time, the environment, money and the values between stages."""

import ast

from source_files import PACKAGES, Source

CLOCK_HOME = "exchanges/clock.py"
CLOCK_READS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {"time", "time_ns", "monotonic", "monotonic_ns"},
}
ENVIRONMENT_HOMES = (
    "manager/config/load.py",  # ${NAME} of a config
    "manager/bootstrap/replay.py",  # the same, in a replay
    "manager/processes/",  # children inherit it, gRPC is quietened
    "manager/cli/terminal.py",  # COLUMNS, TERM and NO_COLOR are the terminal's
    "manager/state/embedded/",  # the programs of PostgreSQL inherit it
)
ENVIRONMENT_READS = {"environ", "environb", "getenv", "getenvb"}
MONEY_HOMES = ("manager/desk/", "traders/book.py", "exchanges/paper/", "exchanges/precision.py")
VALUE_FILES = ("manager/desk/plan/values",)
VALUE_FLAGS = {"frozen", "slots", "kw_only"}


def _aliases(tree: ast.Module) -> dict[str, str]:
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
    return names


def injected_clock(source: Source) -> list[str]:
    """Refuse reads of the wall or monotonic clock outside `exchanges/clock.py`, as a call or as a reference."""
    if source.package not in PACKAGES or source.path == CLOCK_HOME:
        return []
    aliases = _aliases(source.tree)
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            reads = CLOCK_READS["time"].intersection(alias.name for alias in node.names)
            found += [source.at(node, f"time.{name} is read here; take a Clock") for name in sorted(reads)]
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            owner = aliases.get(owner, owner)
            if node.attr in CLOCK_READS.get(owner, set()):
                found.append(source.at(node, f"{owner}.{node.attr} is read here; take a Clock"))
    return found


def environment_in_settings(source: Source) -> list[str]:
    """Refuse reads of the environment beside `manager/settings.py`, as a call, an import or an option's `envvar`."""
    if source.package not in PACKAGES or source.path.startswith(ENVIRONMENT_HOMES):
        return []
    found = []
    for node in ast.walk(source.tree):
        named = {node.attr} if isinstance(node, ast.Attribute) else set()
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            named = {alias.name for alias in node.names}
        if isinstance(node, ast.Attribute | ast.ImportFrom) and named & ENVIRONMENT_READS:
            found.append(source.at(node, "the environment is read here; take a value of manager/settings.py"))
        elif isinstance(node, ast.keyword) and node.arg == "envvar":
            found.append(source.at(node.value, "envvar reads the environment; take a value of manager/settings.py"))
    return found


def decimal_money(source: Source) -> list[str]:
    """Refuse `float(...)` where money is computed, and `Decimal` of a float literal in every package."""
    found = []
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "float" and source.path.startswith(MONEY_HOMES):
            found.append(source.at(node, "float() in a money module; keep Decimal"))
        literal = node.args[0] if node.args and isinstance(node.args[0], ast.Constant) else None
        if node.func.id == "Decimal" and literal and isinstance(literal.value, float) and source.package in PACKAGES:
            found.append(source.at(node, f"Decimal({literal.value}) is inexact; quote the number"))
    return found


def frozen_stage_values(source: Source) -> list[str]:
    """Refuse a dataclass among the stage values that is not frozen, slotted and keyword-only."""
    if not source.path.startswith(VALUE_FILES):
        return []
    found = []
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(called, ast.Name) and called.id == "dataclass":
                missing = VALUE_FLAGS - _true_flags(decorator)
                found += [source.at(node, f"{node.name} lacks {flag}=True") for flag in sorted(missing)]
    return found


def _true_flags(decorator: ast.expr) -> set[str]:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return {k.arg for k in keywords if k.arg and isinstance(k.value, ast.Constant) and k.value.value is True}
