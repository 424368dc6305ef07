"Dumps at random: what is read of them is what a server holds, or one sentence says why not."

import random

import pytest
from sqlfuzz import Fuzz
from test_dump import need_database

from movie_tagger.sample import site

FIXED, FRESH = range(200), 100


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    need_database()
    with site.database() as url:
        yield Fuzz(url, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("seeds", ["fixed", "fresh"])
def test_no_row_is_lost_or_changed_in_silence(fuzz, seeds):
    first = random.SystemRandom().randrange(1 << 40)
    print(f"python tests/sqlfuzz.py {FRESH} --seed {first} --keep FOLDER")
    done = fuzz.run(FIXED if seeds == "fixed" else range(first, first + FRESH))
    assert not done.bad, f"python tests/sqlfuzz.py 1 --show --seed {[*done.bad][0]}"
    share = {how: n / done.ends.total() for how, n in done.ends.items()}
    assert share["equal"] > 0.5 and share["refused"] + share.get("told", 0) < 0.4, done.ends
    assert share.get("rejected", 0) < 0.15, done.ends
