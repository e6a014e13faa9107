"""Examples in docstrings (``>>>``) become code on the reference pages."""

import re

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n\1.*\S.*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts each example between fences before the docstring is read as Markdown."""

    def on_instance(self, *, obj, **_):
        """Called for every module, class and function."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(
                lambda m: f"{m[1]}```pycon\n{m[0]}\n{m[1]}```", obj.docstring.value
            )
