from . import opinions as opinions
from . import ranking as ranking
from .ranking import doubt as doubt
from .ranking import look as look
from .ranking import odd as odd
from .ranking import suspects as suspects
from .ranking import visible as visible
