"""One session per model: who owns it, what is asked of it, when it may be answered."""

from nnwidget.session.session import Session

__all__ = ["Session"]
