"""Writes `docs/query-pack.md`, the page of the shipped questions: `make fix` runs it.

Its example results come from generated sample data, so that a test can compare the page with what the questions answer.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, Shape, generate
from event_pipeline.reporting.results import write_markdown
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query_pack import COSTS, load_questions
from event_pipeline.settings import load_settings
from event_pipeline_tests.pipeline import build

PAGE = Path(__file__).parents[1] / "docs" / "query-pack.md"
HOURS = [Hour.parse(text) for text in ("2025-11-30T20", "2025-12-01T02", "2025-12-07T21", "2025-12-08T02")]
OPTIONS = GeneratorOptions(
    events_per_file=120,
    files_per_hour=4,
    seed=5,
    shape=Shape.REALISTIC,
    bad_share=0.05,
    duplicate_share=0.02,
    late_share=0.1,
)
"""Hours of two weeks and two months, with refused, repeated and late records."""
ROWS_SHOWN = 3

_COSTS = "\n".join(f"- *{name}* reads {reads}" for name, reads in COSTS.items())
_HEAD = f"""# The query pack

Questions that people ask of the data, ready to run on one machine and on AWS. `event-pipeline queries` lists them, and

```bash
event-pipeline query --name weekly_active_users
```

answers one. The names of the five Gold tables work the same way, also [for a range of
days](queries.md#one-answer-for-a-range-of-days). The SQL is in `event_pipeline/queries/queries.sql`.

The cost of a question depends on what it reads:

{_COSTS}

Examples are the first {ROWS_SHOWN} rows of an answer on a little sample data. This page is written by `make
fix`; a test compares it.
"""


def main() -> None:
    """Write the page, and name it if it has changed."""
    with tempfile.TemporaryDirectory() as folder:
        text = page(sample_lake(Path(folder)))
    if PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        print(f"{PAGE.name} follows the questions again")


def sample_lake(root: Path, hours: Sequence[Hour] = HOURS) -> LocalEngine:
    """Build the sample hours in a data folder."""
    generate(root / "raw", hours, OPTIONS)
    engine = LocalEngine(load_settings(root=root, workers=1))
    build(engine, hours)
    return engine


def page(engine: Engine) -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_sections(engine)])


def _sections(engine: Engine) -> Iterator[str]:
    for question in load_questions():
        yield f"## {question.name}\n"
        yield f"{question.title}. One row per `{question.grain}`; cost: {question.cost}.\n"
        answer = io.StringIO()
        write_markdown(engine.query(question.sql).slice(0, ROWS_SHOWN), answer)
        yield answer.getvalue()


if __name__ == "__main__":
    main()
