"""Files of the repository that pages link to, such as pictures in saved_models/, enter the site.

Pages link to them as GitHub wants it, by a path that leaves ``docs``. Here each such file is copied
to the same path inside the site, and the link loses the step by which it left ``docs``.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

_LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s#]+)")


def on_files(files, config):
    """Adds every file outside ``docs`` to which a page links."""
    root = Path(config.config_file_path).parent
    for page in list(files.documentation_pages()):
        for _, target in _LINK.findall(page.content_string):
            path = _outside(page.src_uri, target)
            if path and (root / path).is_file() and files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Links that leave ``docs`` point into the site."""

    def inside(match):
        path = _outside(page.file.src_uri, match[2])
        return match[1] + match[2].removeprefix("../") if path else match[0]

    return _LINK.sub(inside, markdown)


def _outside(page, target):
    """The path from the repository's root, or None where a link stays inside ``docs``."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("docs/", "..")) else path
