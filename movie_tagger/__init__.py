__version__ = "0.0.1"
from importlib.metadata import version

__version__ = version("movie_tagger")
