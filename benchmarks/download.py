"""Addresses to files: fastai's download_images, img2dataset, a bare aiohttp loop and ours, in one run.

    MOVIE_TAGGER_DATA=... python benchmarks/download.py [--pictures 2000] [--rounds 3] [--img2dataset VENV/bin/python]

A server in a process of its own answers each request after 20 ms; its time is not counted. Each contestant runs in a
fresh process, imports first, and then counts the processor time of itself and its children. Ours unpacks every
picture, hashes it, and writes its row; so does the bare loop unpack; fastai only saves what comes. img2dataset (it
needs pandas < 3, so a virtual environment of its own) decodes, too, and keeps the bytes as they are. Files go to
memory where the system has /dev/shm, lest the disk be measured. Rounds alternate between the contestants; the median
counts.
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
from pathlib import Path

CONNECTIONS = 64


def serve(folder, count, latency=0.02):
    "Serves pictures from memory; every 20th request fails in a way that may go better the next time, where the path begins with /failing."
    files, n = (
        {f"/{p.name}".encode(): p.read_bytes() for p in sorted(Path(folder).glob("*.jpg"))[:count]},
        0,
    )
    ok = {
        name: b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(b)
        + b
        for name, b in files.items()
    }

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.buffer = transport, b""

        def data_received(self, data):
            nonlocal n
            self.buffer += data
            while b"\r\n\r\n" in self.buffer:
                head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
                path, n = head.split(b" ", 2)[1], n + 1
                failing = path.startswith(b"/failing")
                answer = ok.get(
                    path.removeprefix(b"/failing"),
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                )
                if failing and n % 20 == 0:
                    answer = (
                        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
                        if n % 40
                        else answer[: len(answer) // 2]
                    )
                asyncio.get_running_loop().call_later(
                    latency, self.reply, answer, failing and n % 40 == 0
                )

        def reply(self, answer, hang_up):
            self.transport.write(answer)
            if hang_up:
                self.transport.close()

    async def run():
        server = await asyncio.get_running_loop().create_server(
            Connection, "127.0.0.1", 0, backlog=1000
        )
        print(
            json.dumps([server.sockets[0].getsockname()[1], [name.decode() for name in files]]),
            flush=True,
        )
        await server.serve_forever()

    asyncio.run(run())


def ours():
    from movie_tagger.download.pictures import download_images

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

    from PIL import Image

    folder = Path(os.environ["MOVIE_TAGGER_DATA"], "posters", "images")

    def run(urls, dest):
        for url in urls:
            Image.open(io.BytesIO(Path(folder, url.rpartition("/")[2]).read_bytes())).load()

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
    urls, dest, work = *json.load(sys.stdin), CONTESTANTS[name]()
    cpu, clock = used(), time.perf_counter()
    work(urls, dest)
    print(
        "\nRESULT",
        json.dumps(
            [
                used() - cpu,
                time.perf_counter() - clock,
                sum(p.suffix in (".jpg", ".jpeg") for p in Path(dest).rglob("*")),
            ]
        ),
    )


def measure(name, python, urls):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as dest:
        done = subprocess.run(
            [python, "-W", "ignore", __file__, "--one", name],
            input=json.dumps([urls, dest]),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.rpartition("RESULT")[2])


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--pictures", type=int, default=2000)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--img2dataset", help="the Python of a virtual environment that has it")
    parse.add_argument("--one", help=argparse.SUPPRESS)
    parse.add_argument("--serve", help=argparse.SUPPRESS)
    args = parse.parse_args()
    if args.serve:
        return serve(args.serve, args.pictures)
    if args.one:
        return one(args.one)
    import numpy as np
    from common import real_data, report

    pythons = {
        name: sys.executable if name != "img2dataset" else args.img2dataset for name in CONTESTANTS
    }
    measured = {name: [] for name, python in pythons.items() if python}
    command = [
        sys.executable,
        __file__,
        "--serve",
        str(real_data() / "posters" / "images"),
        "--pictures",
        str(args.pictures),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port, names = json.loads(server.stdout.readline())
            for _ in range(args.rounds):
                for name in measured:
                    urls = [
                        f"http://127.0.0.1:{port}{'/failing' if 'failing' in name else ''}{path}"
                        for path in names
                    ]
                    measured[name].append(measure(name, pythons[name], urls))
        finally:
            server.kill()
    m = {name: np.median(runs, axis=0) for name, runs in measured.items()}
    best = m["ours"]
    rows = [
        f"| {name} | {len(names) / cpu:.0f} | {len(names) / clock:.0f} | {files:.0f} | {cpu / best[0]:.2f} | "
        f"{clock / best[1]:.2f} |"
        for name, (cpu, clock, files) in m.items()
    ]
    report(
        "Download: addresses to files",
        [
            f"{len(names)} posters over a local server, 20 ms latency, {args.rounds} rounds, "
            f"load {os.getloadavg()[0]:.1f} at the end.",
            "",
            "| what | images per CPU second | images per second | files | CPU time against ours | clock time "
            "against ours |",
            "|---|---|---|---|---|---|",
            *rows,
        ],
    )


if __name__ == "__main__":
    main()
