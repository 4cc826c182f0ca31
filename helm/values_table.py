"""Makes docs/values.md of the chart's values.yaml (the defaults) and values.schema.json (what each value is): python helm/values_table.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TARGET = HERE.parent / "docs" / "values.md"
HEAD = """# Values of the chart

Made from `helm/adsync/values.yaml` and `values.schema.json` by `make values`; changes made here are lost. A value that is not in this table is
refused, as is one of the wrong type: `helm install` says so before anything is changed.

| value | default | what it is |
| --- | --- | --- |
"""


def rows(values: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """A line for each value; a group of values gives those in it."""
    lines: list[str] = []
    for name, value in values.items():
        part = schema["properties"][name]
        where = f"{path}.{name}" if path else name
        if "properties" in part:
            lines.append(f"| **`{where}`** | | {part['description']} |")
            lines += rows(value, part, where)
        else:
            choices = f" One of {', '.join(f'`{choice}`' for choice in part['enum'])}." if "enum" in part else ""
            lines.append(f"| `{where}` | `{json.dumps(value)}` | {part['description']}{choices} |")
    return lines


def page() -> str:
    values = yaml.safe_load((HERE / "adsync" / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((HERE / "adsync" / "values.schema.json").read_text(encoding="utf-8"))
    return HEAD + "\n".join(rows(values, schema)) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
