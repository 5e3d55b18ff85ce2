"""What every command prints the same way: errors, and JSON for programs."""

import json
import sys
from typing import Any, NoReturn


def fail(message: str, code: int) -> NoReturn:
    """Ends the program with one clear line on stderr."""
    print(f"fashion-clip: {message}", file=sys.stderr)
    raise SystemExit(code)


def print_json(value: Any) -> None:
    """One JSON document on stdout; times as ISO 8601."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
