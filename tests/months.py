"What the tests of a month share: a drawn site, a plan, and what stands in the ledger."

from movie_tagger.ledger.ledger import Ledger
from movie_tagger.retrain.plan import read_plan
from movie_tagger.sample.make import draw_stills, sql_dump

PLAN = """
ledger = "ledger.db"
models = "models"
[source]
{source}
[pictures]
folder = "pictures"
{more}
"""
LIVE = 'database_env = "SITE_DATABASE"'


def draw_site(folder, stills, films, **how):
    "Stills of so many films in a folder, and the site's dump and exported tables beside them."
    draw_stills(folder, stills, films, **how)
    sql_dump(folder)
    return folder


def plan_at(path, source, more=""):
    "The plan that is then in this file; `more` comes at its end."
    path.write_text(PLAN.format(source=source, more=more))
    return read_plan(path)


def state(plan):
    "The version of the plan's ledger, its labels and its items."
    with Ledger(plan.ledger) as ledger:
        ledger.verify()
        return ledger.version, ledger.labels(raw=True), ledger.items()
