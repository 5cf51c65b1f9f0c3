"""A table as Markdown, as LaTeX, and on the terminal."""

import re

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from sweeps.reporting.paper_tables import Cell, Table

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
"""Characters that LaTeX has only as commands."""


def markdown(table: Table) -> str:
    """Return a heading, the table and its note."""
    rows = [[f"**{_pipe(cell.text)}**" if cell.bold else _pipe(cell.text) for cell in row] for row in table.rows]
    lines = [list(map(_pipe, table.head)), ["---", *["---:"] * (len(table.head) - 1)], *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {table.title}\n\n{text}\n" + (f"\n{table.note}\n" if table.note else "")


def latex(table: Table) -> str:
    """Return a `table` environment; it needs the package booktabs."""
    head = " & ".join(map(tex, table.head)) + r" \\"
    rows = [" & ".join(_tex_cell(cell) for cell in row) + r" \\" for row in table.rows]
    columns = "l" + "r" * (len(table.head) - 1)
    caption = table.title + (f". {table.note}" if table.note else "")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{tex(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def print_table(table: Table, console: Console) -> None:
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(table.head):
        shown.add_column(escape(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(f"[bold]{escape(cell.text)}[/]" if cell.bold else escape(cell.text) for cell in row))
    console.print(shown)
    if table.note:
        console.print(table.note, highlight=False, markup=False, style="dim", soft_wrap=True)


def transposed(table: Table) -> Table:
    """Return the table with its rows as columns: wide figures of many measures then fit beside each other."""
    columns = zip(table.head[1:], *(row[1:] for row in table.rows), strict=True)
    rows = tuple((Cell(name), *cells) for name, *cells in columns)
    return Table(table.title, (table.head[0], *(row[0].text for row in table.rows)), rows, table.note)


def tex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: SPECIAL.get(found[0], "\\" + found[0]), text)


def _tex_cell(cell: Cell) -> str:
    return rf"\textbf{{{tex(cell.text)}}}" if cell.bold else tex(cell.text)


def _pipe(text: str) -> str:
    return text.replace("|", r"\|")
