"Dumps at random: what is read of them is what a server holds, or one sentence says why not."

import pytest
from conftest import need_database
from sqlfuzz import Fuzz

from movie_tagger.sample import site

SEEDS = range(300)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    need_database()
    with site.database() as url:
        yield Fuzz(url, tmp_path_factory.mktemp("fuzz"))


def test_no_row_is_lost_or_changed_in_silence(fuzz):
    "Others: `python tests/sqlfuzz.py 20000 --seed N --keep FOLDER`."
    done = fuzz.run(SEEDS)
    assert not done.bad, f"python tests/sqlfuzz.py 1 --show --seed {[*done.bad][0]}"
    share = {how: n / done.ends.total() for how, n in done.ends.items()}
    assert share["equal"] > 0.5 and share.get("rejected", 0) < 0.1, done.ends
