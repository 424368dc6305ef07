"""A model as a folder that explains itself; a folder of models with a champion and a history."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
