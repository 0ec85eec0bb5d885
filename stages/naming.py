"""What a row of a table is called, in one way everywhere."""

from __future__ import annotations


def row_label(method: str, variant: str, access: str, names: bool) -> str:
    """A method, and whatever is not the default about it: its variant, what it may see, that it reads class names."""
    marks = [variant] * (variant != "default") + [access] * (access != "inductive") + ["names"] * names
    return f"{method} ({', '.join(marks)})" if marks else method
