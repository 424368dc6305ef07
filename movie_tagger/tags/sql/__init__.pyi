from . import database as database
from . import dump as dump
from . import exports as exports
from . import rows as rows
from . import stream as stream
from .dump import read_dump as read_dump
from .database import MANY as MANY
from .database import read_database as read_database
