"""Tables that show their cells whole: on a terminal folded, elsewhere in lines as long as they must be."""

from rich.console import Console
from rich.table import Table

LONGEST_LINE = 1_000


def show_table(table: Table) -> None:
    """On stdout."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=LONGEST_LINE)
    for column in table.columns:
        column.overflow = "fold"
    out.print(table)
