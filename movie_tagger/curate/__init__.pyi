from . import cards as cards
from . import cleaner as cleaner
from . import cleaning as cleaning
from . import decisions as decisions
from . import estimates as estimates
from . import panel as panel
from . import queues as queues
from .cleaner import ImageCleaner as ImageCleaner
