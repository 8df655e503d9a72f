"""The report as one page to read: report.html, without scripts or outside resources.

It shows what report.json holds and nothing else. Leaves looks to the template.
"""

from id2face_jax.pages import render

_MEANINGS = {
    "anonymized": "every face is new, and no recognizer that was asked matches it",
    "fallback": "a face that the model could not hide is blurred",
    "no_face": "no face was found, or none was to be changed",
    "refused": "nothing was written",
}


def page(content: dict) -> bytes:
    """The page of a report (see `batch.state.Ledger.content`), UTF-8."""
    return render.render("report.html", meanings=_MEANINGS, **content)
