"""Templates to pages. All extend base.html, so that they look alike.

Owns the environment: what is put into a page is text unless its template says
otherwise, and a value that is missing is an error, not a gap. Leaves values to the
callers.
"""

import functools

import jinja2


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("id2face_jax", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(name: str, **values) -> bytes:
    """The page of the template `name` in this folder, UTF-8.

    Names of files may be no UTF-8: what cannot be written is shown escaped.
    """
    text = _environment().get_template(name).render(**values)
    return text.encode("utf-8", "backslashreplace")
