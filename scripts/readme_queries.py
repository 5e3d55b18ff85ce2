"""The README's queries and their answers over the demo's catalogue.

    python -m scripts.readme_queries [--database demo/demo.db]

rewrites the answers in README.md; run it after `make demo` when a query, a view or the demo model changed.
A test asks the same queries and compares.
"""

import argparse
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from sqlalchemy import Engine

from cli.demo import ask
from cli.output import print_table
from tasks.catalog.engine import connect

README = Path(__file__).parent.parent / "README.md"
# A query, and the answer printed below it.
BLOCK = re.compile(r"```sql\n(?P<query>.*?)```\n\n```text\n(?P<answer>.*?)```", re.DOTALL)


def answer(engine: Engine, query: str) -> str:
    """The rows of a query as the command line prints them."""
    out = io.StringIO()
    with redirect_stdout(out):
        print_table(*ask(engine, query))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def main() -> None:
    """Writes every answer anew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", type=Path, default=Path("demo/demo.db"))
    engine = connect(f"sqlite:///{parser.parse_args().database}")

    def renewed(block: re.Match[str]) -> str:
        return f"```sql\n{block['query']}```\n\n```text\n{answer(engine, block['query'])}```"

    README.write_text(BLOCK.sub(renewed, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
