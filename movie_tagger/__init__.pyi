from . import bulk as bulk
from . import cli as cli
from . import core as core
from . import curate as curate
from . import data as data
from . import download as download
from . import duplicates as duplicates
from . import features as features
from . import images as images
from . import judge as judge
from . import learn as learn
from . import ledger as ledger
from . import models as models
from . import retrain as retrain
from . import sample as sample
from . import serve as serve
from . import suspects as suspects
from . import tags as tags
from .learn.recipes import train as train
from .models.answers import load as load

__version__: str
