"""From numbers and labels to a model: a head in seconds, or the whole network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
