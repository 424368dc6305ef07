"""A site's tables out of SQL dumps, text exports and live databases."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
