"""One page for the person who must say yes or no, and the record of what that person said."""

from prodkit.review.approval import Decision, decide, require_approval
from prodkit.review.facts import Facts, gather
from prodkit.review.page import publish, to_html, to_markdown

__all__ = ["Decision", "Facts", "decide", "gather", "publish", "require_approval", "to_html", "to_markdown"]
