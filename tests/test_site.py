"The servers that lessons and tests start: they answer, and they leave nothing behind."

import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import need_database

from movie_tagger.core import MovieTaggerError
from movie_tagger.sample import site


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_folder_over_http(tmp_path):
    (tmp_path / "a b.txt").write_text("Ilsa")
    with site.web(tmp_path) as address, site.web(tmp_path) as another:
        assert address != another
        assert urllib.request.urlopen(f"{address}/a%20b.txt").read() == b"Ilsa"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/../secret.txt")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def test_a_database_leaves_nothing_behind():
    need_database()
    import sqlalchemy

    with pytest.raises(ZeroDivisionError):
        with site.database() as url:
            with sqlalchemy.create_engine(
                url, poolclass=sqlalchemy.NullPool
            ).connect() as connection:
                file = Path(connection.exec_driver_sql("SELECT @@pid_file").scalar())
                bound = connection.exec_driver_sql("SELECT @@bind_address").scalar()
            pid = int(file.read_text())
            assert (
                alive(pid)
                and bound == "127.0.0.1"
                and re.fullmatch(r"mysql\+pymysql://site:[\w-]{12,}@127.0.0.1:\d+/site", url)
            )
            raise ZeroDivisionError
    assert not alive(pid) and not file.parent.exists()


def test_a_dump_that_the_server_refuses(tmp_path):
    need_database()
    (tmp_path / "dump.sql").write_text("CREATE TABLE films (id int, title);")
    with pytest.raises(MovieTaggerError, match="MariaDB refuses: 1064"):
        with site.database(tmp_path / "dump.sql"):
            pass


def test_without_mariadb(monkeypatch):
    monkeypatch.setattr(site, "_find", lambda program: None)
    assert not site.has_database()
    with pytest.raises(MovieTaggerError, match="not installed: run apt install mariadb-server"):
        with site.database():
            pass


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_a_database_of_somebody_who_is_not_root(tmp_path):
    "The server's commands as they are, run by another user."
    need_database()
    import pwd

    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.gettempdir(), f"nobody-{os.getpid()}")
    home.mkdir()
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        program = (
            "import os, sys, tempfile; from movie_tagger.sample import site; "
            "tempfile.tempdir = sys.argv[1]; "
            "os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))\n"
            "with site.database() as url: print(url, os.getuid())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(home), str(nobody.pw_uid), str(nobody.pw_gid)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[1] == str(nobody.pw_uid)
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
