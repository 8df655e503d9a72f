"""evaluation.md: the verdict, the methods, the sections."""

from id2face_jax.evaluation.report.sections import sections
from id2face_jax.evaluation.report.tables import grid


def to_markdown(result: dict) -> str:
    """The whole of evaluation.md."""
    data = result["data"]
    verdict = "passed" if result["passed"] else "FAILED"
    parts = [
        "# Evaluation",
        f"**{verdict}.** {data['num_photos']} photos of {data['num_people']} people "
        f"({data['split']}); {data['num_queries']} queries of "
        f"{data['num_people_with_pairs']} people with several photos. Seed "
        f"{result['seed']}. In brackets: 95 % intervals over people.",
        *(f"- FAILED: {failure}" for failure in result["failures"]),
        "## Methods",
        "\n".join(f"- **{row['method']}**: {row['meaning']}" for row in result["rows"]),
    ]
    for section in sections(result):
        parts += [f"{'###' if section.is_part else '##'} {section.title}", section.text]
        if section.table is not None:
            parts.append(grid(*section.table))
    return "\n\n".join(parts) + "\n"
