"""The cell magic ``%%watch``: the body of a cell as a training in a thread, in the notebook's own names."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Protocol


class Begin(Protocol):
    """Starts a training: what was named on the magic's line, its options, the body, a name for it, a name to bind."""

    def __call__(
        self, given: list[Any], options: dict[str, Any], body: Callable[[], Any], name: str, bind: Callable[[Any], None]
    ) -> Any:
        """Return the handle of the run, to be shown by the cell."""


def register_magic(shell: Any, begin: Begin) -> None:
    """Give an IPython the magic; calling it again replaces it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        The notebook's IPython.
    begin : callable
        See :class:`Begin`.
    """
    from IPython.core.magic import no_var_expand
    from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

    @magic_arguments()
    @argument("target", nargs="+", help="a watch, or the model and its optimizers: names in this notebook")
    @argument("--every", type=_every, help="record exactly every k-th step")
    @argument("--budget", type=_budget, help="the fraction of step time that recording may cost, or none")
    @argument("--memory", help="the most that the history may hold, e.g. 256MB")
    @argument("--path", help="a folder that the history is written to")
    @argument("--controls", choices=("view", "pause", "full"), help="what the panel offers")
    @argument("--start-step", type=int, help="the last step of an earlier run that this one continues")
    @argument("--as", dest="bind", help="a name for the watch in this notebook")
    @no_var_expand
    def watch(line: str, cell: str) -> Any:
        """Run the cell as a watched training, in a thread, and give the prompt back.

        Its output and its errors appear here; Ctrl-C does not reach it: stop it by the panel or with ``.stop()``.
        """
        arguments = dict(vars(parse_argstring(watch, line)))
        given = [_named(shell, name) for name in arguments.pop("target")]
        bind = arguments.pop("bind")
        options = {name: _unquoted(value) for name, value in arguments.items() if value is not None}
        if options.get("budget") == "none":
            options["budget"] = None

        def bound(made: Any) -> None:
            if bind:
                shell.user_ns[bind] = made

        return begin(given, options, body(shell, cell), f"cell {shell.execution_count}", bound)

    shell.register_magic_function(watch, magic_kind="cell", magic_name="watch")


def body(shell: Any, cell: str) -> Callable[[], Any]:
    """Compile the body of a cell magic as IPython compiles cells and return what runs it.

    Names that it assigns are the notebook's. The value of a last expression is displayed, and returned.

    Raises
    ------
    SyntaxError
        The body is no Python.
    """
    # The magic's own line counts in tracebacks.
    source = "\n" + shell.transform_cell(cell)
    name = shell.compile.cache(source, shell.execution_count, raw_code="\n" + cell)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    value = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not cell.rstrip().endswith(";"):
        value = shell.compile(ast.Expression(tree.body.pop().value), name, "eval")
    code = shell.compile(tree, name, "exec")

    def run() -> Any:
        exec(code, shell.user_ns)
        if value is None:
            return None
        found = eval(value, shell.user_ns)
        if found is not None:
            from IPython.display import display

            display(found)
        return found

    return run


def _named(shell: Any, name: str) -> Any:
    from IPython.core.error import UsageError

    try:
        return eval(name, shell.user_ns)
    except Exception as error:
        raise UsageError(f"%%watch: {name!r} cannot be used here: {type(error).__name__}: {error}") from None


def _every(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _budget(text: str) -> float | str:
    return text.lower() if text.lower() == "none" else float(text)


def _unquoted(value: Any) -> Any:
    return value.strip("\"'") if isinstance(value, str) else value
