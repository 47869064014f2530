from .completion import complete_name
from .main import main
from .output import Json, is_terminal, print_json, print_lines, print_table
from .schemas import Document

__all__ = [
    "Document",
    "Json",
    "complete_name",
    "is_terminal",
    "main",
    "print_json",
    "print_lines",
    "print_table",
]
