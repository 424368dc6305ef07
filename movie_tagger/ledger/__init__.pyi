from . import events as events
from . import exchange as exchange
from . import files as files
from . import ledger as ledger
from . import precedence as precedence
from . import review as review
from . import steps as steps
from .ledger import Ledger as Ledger
