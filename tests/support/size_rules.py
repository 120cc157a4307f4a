"""Limits on the size of files and functions."""

from source_files import Source

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6


def file_length(source: Source) -> list[str]:
    """Refuse a file of more than 500 lines."""
    lines = len(source.text.splitlines())
    return [f"{source.path}: {lines} lines; split it by stage, the limit is {MAX_FILE_LINES}"] * (
        lines > MAX_FILE_LINES
    )


def function_length(source: Source) -> list[str]:
    """Refuse a function of more than 60 lines."""
    found = []
    for node in source.functions():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            found.append(source.at(node, f"{node.name} has {lines} lines; the limit is {MAX_FUNCTION_LINES}"))
    return found


def parameter_count(source: Source) -> list[str]:
    """Refuse a function of more than six parameters, `self` and `cls` not counted."""
    found = []
    for node in source.functions():
        positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        if positional[:1] in (["self"], ["cls"]):
            positional = positional[1:]
        count = len(positional) + len(node.args.kwonlyargs)
        if count > MAX_PARAMETERS:
            found.append(source.at(node, f"{node.name} has {count} parameters; pass a frozen dataclass"))
    return found
