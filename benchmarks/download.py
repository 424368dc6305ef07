"""Addresses to files: fastai, img2dataset, a bare aiohttp loop and ours, in one run.

    python benchmarks/download.py [--pictures 2000] [--rounds 3] [--img2dataset PYTHON] [--quick]

A server in a process of its own answers each request after 20 ms; its time is not counted. It has
the posters in the folder that MOVIE_TAGGER_DATA names, and without it drawn ones. Each contestant
runs in a fresh process, imports first, and then counts the processor time of itself and its
children. Ours unpacks every picture, hashes it, and writes its row; so does the bare loop unpack;
fastai only saves what comes. img2dataset (it needs pandas < 3, so a virtual environment of its own,
whose Python is PYTHON) decodes, too, and keeps the bytes as they are. Files go to memory where the
system has /dev/shm, lest the disk be measured. Rounds alternate between the contestants; the median
counts. A contestant that is not installed is left out. `--quick` shows that everything runs; its
numbers say nothing.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

CONNECTIONS = 64


EMPTY = b"Content-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 404 Not Found\r\n" + EMPTY
BUSY = b"HTTP/1.1 503 Busy\r\n" + EMPTY
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers from memory, after 20 ms.

    Where the path begins with /failing, every 20th request fails in a way that may go better the
    next time: the server is busy, or hangs up in the middle.
    """

    answers = {}  # path → all bytes
    asked = 0  # by all connections

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            Connection.asked += 1
            answer = self.answers.get(path.removeprefix(b"/failing"), GONE)
            hang_up = False
            if path.startswith(b"/failing") and self.asked % 20 == 0:
                hang_up = self.asked % 40 == 0
                answer = answer[: len(answer) // 2] if hang_up else BUSY
            asyncio.get_running_loop().call_later(0.02, self.reply, answer, hang_up)

    def reply(self, answer, hang_up):
        self.transport.write(answer)
        if hang_up:
            self.transport.close()


def serve(folder, count):
    "Serves the first pictures of a folder, and prints its port and their paths."
    for path in sorted(Path(folder).rglob("*.jpg"))[:count]:
        body = path.read_bytes()
        name = f"/{path.relative_to(folder).as_posix()}"
        Connection.answers[name.encode()] = HEAD % len(body) + body

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1000)
        port = server.sockets[0].getsockname()[1]
        print(json.dumps([port, [name.decode() for name in Connection.answers]]), flush=True)
        await server.serve_forever()

    asyncio.run(run())


def ours():
    from movie_tagger.download import download_images

    return lambda urls, dest: download_images(
        urls, dest, allow_private=True, per_host=CONNECTIONS, connections=CONNECTIONS
    )


def fastai():
    from fastai.vision.utils import download_images

    return lambda urls, dest: download_images(Path(dest), urls=urls, max_pics=len(urls))


def fastai_verified():
    from fastai.vision.utils import verify_images

    save = fastai()

    def run(urls, dest):
        save(urls, dest)
        assert not verify_images(sorted(Path(dest).iterdir()))

    return run


def unpack():
    import io
    from urllib.parse import urlsplit

    from PIL import Image

    folder = os.environ["BENCH_PICTURES"]

    def run(urls, dest):
        for url in urls:
            path = folder + urlsplit(url).path
            Image.open(io.BytesIO(Path(path).read_bytes())).load()

    return run


def aiohttp():
    import io

    import aiohttp
    from PIL import Image

    def keep(path, body):
        Image.open(io.BytesIO(body)).load()
        with open(path, "wb") as f:
            f.write(body)

    async def work(session, left, dest):
        for k, url in left:
            async with session.get(url) as response:
                body = await response.read()
            await asyncio.to_thread(keep, f"{dest}/{k}.jpg", body)

    async def run(urls, dest):
        left = iter(enumerate(urls))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS)
        ) as session:
            await asyncio.gather(*(work(session, left, dest) for _ in range(CONNECTIONS)))

    return lambda urls, dest: asyncio.run(run(urls, dest))


def img2dataset():
    from img2dataset import download

    def run(urls, dest):
        Path(dest, "urls.txt").write_text("\n".join(urls))
        download(
            f"{dest}/urls.txt",
            output_folder=f"{dest}/out",
            processes_count=os.cpu_count(),
            thread_count=CONNECTIONS,
            resize_mode="no",
            skip_reencode=True,
            output_format="files",
            number_sample_per_shard=-(-len(urls) // os.cpu_count()),
            disallowed_header_directives=[],
        )

    return run


CONTESTANTS = {
    "ours": ours,
    "ours, 5 % failing": ours,
    "fastai": fastai,
    "fastai, then verify_images": fastai_verified,
    "img2dataset": img2dataset,
    "bare aiohttp loop, decoding": aiohttp,
    "no web: unpacking files, one core": unpack,
}


def used():
    return sum(
        r.ru_utime + r.ru_stime
        for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def one(name):
    "Runs a contestant on the addresses from standard input and prints what it took."
    urls, dest = json.load(sys.stdin)
    work = CONTESTANTS[name]()
    cpu, clock = used(), time.perf_counter()
    work(urls, dest)
    took = [used() - cpu, time.perf_counter() - clock]
    files = sum(path.suffix in (".jpg", ".jpeg") for path in Path(dest).rglob("*"))
    print("\nRESULT", json.dumps([*took, files]))


def measure(name, python, urls, folder):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as dest:
        done = subprocess.run(
            [python, "-W", "ignore", __file__, "--one", name],
            input=json.dumps([urls, dest]),
            capture_output=True,
            text=True,
            env=os.environ | {"BENCH_PICTURES": str(folder)},
        )
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no word"])[-1]
    return json.loads(done.stdout.rpartition("RESULT")[2]), ""


@contextmanager
def served(folder, count):
    "Yields the address of a server in a process of its own, and the paths of its pictures."
    command = [sys.executable, __file__, "--serve", str(folder), "--pictures", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port, names = json.loads(server.stdout.readline())
            yield f"http://127.0.0.1:{port}", names
        finally:
            server.kill()


def race(pythons, rounds, folder, count):
    "Name → what each run took; how many pictures there were."
    measured = {name: [] for name in pythons}
    with served(folder, count) as (site, names):
        for _ in range(rounds):
            for name in list(measured):
                start = f"{site}/failing" if "failing" in name else site
                urls = [start + path for path in names]
                took, why = measure(name, pythons[name], urls, folder)
                if took is None:
                    print(f"{name} is left out: {why}")
                    del measured[name]
                else:
                    measured[name].append(took)
    return measured, len(names)


@contextmanager
def pictures(count):
    "Yields a folder of posters: real ones where there are some, and else drawn."
    real = Path(os.environ.get("MOVIE_TAGGER_DATA") or ".", "posters", "images")
    if real.is_dir():
        yield real
        return
    from movie_tagger.sample import draw_posters

    with tempfile.TemporaryDirectory() as work:
        draw_posters(Path(work, "posters"), count)
        yield Path(work, "posters")


def arguments():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--pictures", type=int, default=2000)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--quick", action="store_true", help="one round of 100 pictures")
    parse.add_argument("--img2dataset", help="the Python of a virtual environment that has it")
    parse.add_argument("--one", help=argparse.SUPPRESS)
    parse.add_argument("--serve", help=argparse.SUPPRESS)
    return parse.parse_args()


def main():
    args = arguments()
    if args.serve:
        return serve(args.serve, args.pictures)
    if args.one:
        return one(args.one)
    import numpy as np
    from common import report

    pythons = dict.fromkeys(CONTESTANTS, sys.executable) | {"img2dataset": args.img2dataset}
    if not args.img2dataset:
        print("img2dataset is left out: name a Python that has it with --img2dataset.")
        del pythons["img2dataset"]
    rounds, count = (1, 100) if args.quick else (args.rounds, args.pictures)
    with pictures(count) as folder:
        measured, n = race(pythons, rounds, folder, count)
    medians = {name: np.median(runs, axis=0) for name, runs in measured.items()}
    our_cpu, our_clock, _ = medians["ours"]
    rows = [
        f"| {name} | {n / cpu:.0f} | {n / clock:.0f} | {files:.0f} | "
        f"{cpu / our_cpu:.2f} | {clock / our_clock:.2f} |"
        for name, (cpu, clock, files) in medians.items()
    ]
    report(
        "Download: addresses to files",
        [
            f"{n} posters over a local server, 20 ms latency, {rounds} rounds, "
            f"load {os.getloadavg()[0]:.1f} at the end.",
            "",
            "| what | images per CPU second | images per second | files | "
            "CPU time against ours | clock time against ours |",
            "|---|---|---|---|---|---|",
            *rows,
        ],
    )


if __name__ == "__main__":
    main()
