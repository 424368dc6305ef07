"""Minutes of a server's life behind its proxy: honest uploads, others beside them that mean harm.

    python benchmarks/storm.py [--minutes 10] [--bundle BUNDLE] [--beside COMMAND ...]

The proxy is nginx (Debian package `nginx`) with the repository's own settings. Honest visitors send
stills now and then, each from an address of its own; a still counts as answered with status 200
alone. Beside them others send damaged pictures and forms, and what is hardly HTTP, through the
proxy and past it; they hold lines open, and flood them. Each COMMAND is run in turn, over and over,
with {port}, {proxy}, {pid}, {models} and {picture} filled in: the server's own port, its proxy's,
its process, the folder of models that it serves, and a JPEG. The memory of the server is looked at
every five seconds.
"""

import argparse
import contextlib
import itertools
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from common import report
from serve import HERE, make_bundle, pictures

sys.path.insert(0, str(HERE.parent / "tests"))
import httpx  # noqa: E402
from serving import lines, process  # noqa: E402
from test_proxy import MISUSES, misuse, proxied  # noqa: E402
from test_serve_hostile import FORMS, REFUSED, REQUESTS, TAKEN  # noqa: E402
from test_serve_line import FLOODS  # noqa: E402

from movie_tagger.models import shelf  # noqa: E402

HONEST = 4  # visitors
EVERY = 5.0  # seconds between looks at the memory


@dataclass
class Site:
    "A server behind its proxy, and what came of all that was sent."

    port: int
    proxy: int
    pid: int
    models: Path
    stop: threading.Event = field(default_factory=threading.Event)
    honest: Counter = field(default_factory=Counter)  # by status, or by error
    others: Counter = field(default_factory=Counter)
    beside: dict = field(default_factory=dict)  # command → [times, its last line]

    def client(self, address, port):
        transport = httpx.HTTPTransport(local_address=address)
        url = f"http://127.0.0.1:{port}"
        return httpx.Client(base_url=url, transport=transport, timeout=60)


def be_honest(site, k):
    rng = random.Random(k)
    stills = [path.read_bytes() for path in pictures()[:200]]
    jpeg = {"content-type": "image/jpeg"}
    with site.client(f"127.0.1.{k + 1}", site.proxy) as client:
        while not site.stop.wait(rng.uniform(0.05, 0.3)):
            still = rng.choice(stills)
            try:
                if rng.random() < 0.5:
                    answer = client.post("/v1/tags", content=still, headers=jpeg)
                else:
                    answer = client.post("/v1/tags", files={"still": ("a.jpg", still)})
                site.honest[answer.status_code] += 1
            except httpx.HTTPError as e:
                site.honest[type(e).__name__] += 1


def send_rubbish(site, k):
    "Damaged pictures, damaged forms and lines that are hardly HTTP."
    rng = random.Random(k)
    odd = [data for data, _, _ in REFUSED.values()] + list(TAKEN.values())
    forms = [body for body, _ in FORMS.values()]
    hardly = [line for line, _ in REQUESTS.values()]
    kind = {"content-type": "multipart/form-data; boundary=X"}
    ports = (site.proxy, site.port)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client(f"127.0.2.{k + 1}", port)) for port in ports]
        while not site.stop.wait(0.05):
            what = rng.random()
            try:
                if what < 0.6:
                    some = [
                        ("still", ("a.jpg", rng.choice(odd))) for _ in range(rng.randrange(1, 4))
                    ]
                    answer = rng.choice(clients).post("/v1/tags", files=some)
                elif what < 0.8:
                    form = rng.choice(forms)
                    answer = rng.choice(clients).post("/v1/tags", content=form, headers=kind)
                else:
                    with socket.create_connection(("127.0.0.1", rng.choice(ports))) as line:
                        line.sendall(rng.choice(hardly))
                    continue
                site.others[answer.status_code] += 1
            except (httpx.HTTPError, OSError) as e:
                site.others[type(e).__name__] += 1


def flood(site):
    "One flood after the other, each over a few connections to the server itself."
    for begin, more, _ in itertools.cycle(FLOODS.values()):
        block = more * ((200 << 10) // len(more))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                with contextlib.suppress(OSError):
                    line = socket.create_connection(("127.0.0.1", site.port), timeout=0.5)
                    stack.enter_context(line)
                    line.sendall(begin)
                    line.sendall(block)
        if site.stop.wait(1):
            return


def run_beside(site, commands):
    values = dict(port=site.port, proxy=site.proxy, pid=site.pid, models=site.models)
    values["picture"] = pictures()[0]
    for command in itertools.cycle(commands):
        # a session of its own, so that what it started ends with it
        running = subprocess.Popen(
            shlex.split(command.format(**values)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while running.poll() is None and not site.stop.wait(0.1):
            pass
        if running.poll() is None:
            running.terminate()
        said = running.communicate()[0].strip().splitlines() or [""]
        times, _ = site.beside.get(command, (0, ""))
        site.beside[command] = (times + 1, said[-1])
        print(f"{command}: {said[-1]}", file=sys.stderr, flush=True)
        if site.stop.is_set():
            return


def watch(site, minutes):
    "Megabytes of the server, every few seconds, and its open files at the end."
    server = psutil.Process(site.pid)
    memory = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        memory.append(server.memory_info().rss / 2**20)
        if len(memory) % 12 == 1:
            honest = f"honest {dict(site.honest)}"
            print(f"{memory[-1]:.0f} MB, {honest}", file=sys.stderr, flush=True)
        time.sleep(EVERY)
    return memory, server.num_fds()


def storm(site, minutes, commands):
    work = [(be_honest, site, k) for k in range(HONEST)]
    work += [(send_rubbish, site, k) for k in range(2)]
    work += [(misuse, site, name, site.stop) for name in MISUSES for _ in range(3)]
    work += [(flood, site)]
    work += [(run_beside, site, commands)] if commands else []
    threads = [threading.Thread(target=do, args=given) for do, *given in work]
    for thread in threads:
        thread.start()
    try:
        return watch(site, minutes)
    finally:
        site.stop.set()
        for thread in threads:
            thread.join()


def tell(site, minutes, memory, files, log, code):
    sent, answered = site.honest.total(), site.honest[200]
    first_minute = memory[min(round(60 / EVERY), len(memory) - 1)]
    errors = [line for line in lines(log) if line["level"] == "error"]
    failed = sum(line.get("status") == 500 for line in lines(log))
    report(
        f"Serving: {minutes:g} minutes behind nginx, with others beside who mean harm",
        [
            f"Honest uploads answered: {answered:,} of {sent:,} ({answered / sent:.2%}); "
            f"the rest: { {k: v for k, v in site.honest.items() if k != 200} }. "
            f"Answers to the others, by status: {dict(site.others.most_common())}. "
            f"Status 500: {failed}; lines of the log that are errors: {len(errors)}. "
            f"Told to stop, the server ended with {code}.",
            "",
            f"Memory of the server: {memory[0]:.0f} MB at the start, {first_minute:.0f} MB after a "
            f"minute, {memory[-1]:.0f} MB at the end, {max(memory):.0f} MB at most; "
            f"{files} open files at the end.",
            "",
            *(["| beside | times | what it said last |", "|---|---|---|"] if site.beside else []),
            *(f"| {what} | {times} | {said} |" for what, (times, said) in site.beside.items()),
        ],
    )


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--minutes", type=float, default=10)
    parse.add_argument("--bundle", type=Path)
    parse.add_argument("--beside", action="append", default=[], metavar="COMMAND")
    args = parse.parse_args()
    folder = Path(tempfile.mkdtemp())
    bundle = args.bundle or make_bundle(folder)
    shutil.copytree(bundle, folder / "models" / "first")
    shelf.appoint(folder / "models", "first")
    with process(folder, bundle=folder / "models", ledger=folder / "ledger.db") as server:
        port = int(server.url.rpartition(":")[2])
        with proxied(folder, port) as proxy:
            site = Site(port, proxy, server.pid, folder / "models")
            memory, files = storm(site, args.minutes, args.beside)
        server.send_signal(signal.SIGTERM)
        code = server.wait(40)
    tell(site, args.minutes, memory, files, folder / "server.log", code)


if __name__ == "__main__":
    main()
