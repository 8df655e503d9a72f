"""The report as one page to read: report.html, without scripts or outside resources.

Owns the page's text and looks. It shows what report.json holds and nothing else.
"""

import html
from collections.abc import Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #1c1c1c; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.anonymized { color: #176b2c } .fallback { color: #8a5a00 } .refused { color: #b3201f }
.no_face, .kept { color: #555 }
meter { width: 7rem }
"""
_MEANINGS = {
    "anonymized": "every face is new, and no recognizer knows it again",
    "fallback": "a face that the model could not hide is blurred",
    "no_face": "no face was found, or none was to be changed",
    "refused": "nothing was written",
}


def page(content: dict) -> bytes:
    """The page of a report (see `batch.state.Ledger.content`), UTF-8."""
    totals = content["totals"]
    body = [
        "<h1>Face anonymization report</h1>",
        _sentence(totals),
        "<h2>Files</h2>",
        _table(
            ("state", "files", "meaning"),
            [
                (_state(state), count, _MEANINGS[state])
                for state, count in totals["files"].items()
            ],
        ),
        "<h2>Faces</h2>",
        "<p>Risk is the highest cosine of the new face to any face of the original "
        "picture; at the threshold, one other person in a thousand would be taken for "
        "the same one.</p>",
        _table(
            ("file", "state", "box", "risk", "", "margin", "attempts", "remark"),
            [row for file in content["files"] for row in _rows(file)],
        ),
        "<h2>Made with</h2>",
        *(_run(run, made_with) for run, made_with in content["runs"].items()),
    ]
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<title>Face anonymization report</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    # Names of files may be no UTF-8.
    return text.encode("utf-8", "backslashreplace")


def _sentence(totals: dict) -> str:
    recognized, new = totals["recognized"], totals["new_face"]
    if not recognized["num"]:
        return "<p>No face was changed.</p>"
    low, high = _percent(recognized["low"]), _percent(recognized["high"])
    return (
        f"<p><b>{recognized['count']} of {recognized['num']}</b> checked faces are "
        f"still recognized (95 % interval of the rate: {low} to {high}). "
        f"{new['count']} of {new['num']} changed faces are new ones; the others are "
        "blurred.</p>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _state(state: str) -> str:
    return f'<span class="{html.escape(state)}">{html.escape(state)}</span>'


def _rows(file: dict) -> list[tuple]:
    """One row a face; one for a file without faces."""
    name = html.escape(file["input"])
    if not file["faces"]:
        message = html.escape(file["message"])
        return [(name, _state(file["state"]), "", "", "", "", "", message)]
    rows = []
    for number, face in enumerate(file["faces"]):
        first = number == 0
        box = " ".join(f"{value:.0f}" for value in face["box"])
        risk = "" if face["cosine"] is None else f"{face['cosine']:.3f}"
        margin = "" if face["margin"] is None else f"{face['margin']:.3f}"
        rows.append(
            (
                name if first else "",
                _state(face["state"]),
                box,
                risk,
                _meter(face),
                margin,
                face["attempts"],
                html.escape(file["message"]) if first else "",
            )
        )
    return rows


def _meter(face: dict) -> str:
    if face["cosine"] is None or face["threshold"] is None:
        return ""
    value = min(max(face["cosine"] / face["threshold"], 0.0), 1.5)
    return f'<meter min="0" max="1.5" high="0.8" value="{value:.3f}"></meter>'


def _table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """An HTML table; numbers stand right. Cells are HTML already."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in header)
    lines = []
    for row in rows:
        cells = (
            f'<td class="number">{cell}</td>'
            if isinstance(cell, int | float)
            else f"<td>{cell}</td>"
            for cell in row
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _run(run: str, made_with: dict) -> str:
    settings = [
        (html.escape(str(name)), html.escape(str(value)))
        for part in ("model", "settings", "versions")
        for name, value in made_with[part].items()
    ]
    recognizers = [
        (html.escape(r["name"]), f"threshold {r['threshold']}")
        for r in made_with["recognizers"]
    ]
    return f"<h3>Run {html.escape(run)}</h3>" + _table(
        ("name", "value"), settings + recognizers
    )
