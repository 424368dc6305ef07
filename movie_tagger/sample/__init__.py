"""Drawn posters and stills whose truth is known; a web server and a database to practise on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
