"""What people typed becomes a table: dumps, exports and live databases read, tags cleaned by rules that add up."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
