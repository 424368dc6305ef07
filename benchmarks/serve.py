"""Serving suggestions: ours, a plain FastAPI + fastai app, LitServe with the same ONNX model, and the bare decode +
model loop, in one run.

    MOVIE_TAGGER_DATA=... python benchmarks/serve.py [--litserve VENV/bin/python] [--rounds 3] [--seconds 6]
    MOVIE_TAGGER_DATA=... python benchmarks/serve.py --cold [VENV/bin/python]      seconds from a start to the first answer
    MOVIE_TAGGER_DATA=... python benchmarks/serve.py --soak 30                     minutes of mixed load with hostile uploads

LitServe lives in a virtual environment of its own (`pip install litserve onnxruntime pillow numpy python-multipart`);
without it that row is left out. The load comes from wrk (Debian package `wrk`), which sends real stills as forms over
keep-alive connections. Rounds alternate between the contestants; the median counts. CPU a still is that of a server
with all its processes, wrk's left out: it tells the cost also on a machine that others use too; with --first all
contestants alike have precedence over other programs. The bare loop is `Bundle.open()` in as many threads as there
are cores, without HTTP. At overload wrk sends ten times what was answered in the seconds before and after, whatever
comes back; the time of accepted requests is then read from the server's log, because wrk does not tell them from the
refused.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
from common import real_data, report

HERE, CORES = Path(__file__).parent, os.cpu_count()

BARE = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from movie_tagger.models import load
model, pictures, seconds = load(sys.argv[1]).open(pictures=1), [Path(p).read_bytes() for p in sys.argv[3:]], float(sys.argv[2])
one = lambda data: model.answer([model.read(data)])
for data in pictures: one(data)
alone = []
for data in pictures * 2:
    start = time.perf_counter(); one(data); alone.append(time.perf_counter() - start)
end, start, cpu = time.perf_counter() + seconds, time.perf_counter(), time.process_time()
def work(k):
    n = 0
    while time.perf_counter() < end: one(pictures[(n + k) % len(pictures)]); n += 1
    return n
with ThreadPoolExecutor(os.cpu_count()) as pool: done = sum(pool.map(work, range(os.cpu_count())))
print(done / (time.perf_counter() - start), sorted(alone)[len(alone) // 2] * 1000, (time.process_time() - cpu) / done * 1000)
"""

OURS = """
import sys
from movie_tagger.serve.app import create_app, run
run(create_app(sys.argv[1]), port=int(sys.argv[2]))
"""

FASTAI = """
import sys
import torch, timm, uvicorn
from fastai.vision.all import *
from fastapi import FastAPI, UploadFile
pictures, tags = get_image_files(sys.argv[3])[:32], [f"tag{i}" for i in range(31)]
block = DataBlock((ImageBlock, MultiCategoryBlock(vocab=tags)), get_y=lambda p: tags[:2], item_tfms=Resize(224, method="squish"))
dls = block.dataloaders(pictures, bs=8, num_workers=0)
learn = vision_learner(dls, "tf_efficientnet_lite0", pretrained=False, metrics=accuracy_multi)
app = FastAPI()
@app.post("/v1/tags")
async def tags_of(still: UploadFile):  # in threads, `predict` fails now and then: the learner's state is shared
    with learn.no_bar(): p = learn.predict(PILImage.create(await still.read()))[2]
    return sorted(zip(tags, p.tolist()), key=lambda x: -x[1])[:10]
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""

LITSERVE = """
import io, json, sys
from pathlib import Path
import litserve, numpy as np, onnxruntime
from PIL import Image

class Tagger(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model, self.tags = onnxruntime.InferenceSession(BUNDLE + "/model.onnx", options), json.loads(Path(BUNDLE, "manifest.json").read_text())["tags"]
    def decode_request(self, request):
        im = Image.open(request["still"].file)
        im.draft("RGB", (269, 269))
        return np.asarray(im.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR, reducing_gap=3.0))
    def predict(self, x): return 1 / (1 + np.exp(-self.model.run(None, {self.model.get_inputs()[0].name: x[None]})[0][0]))
    def encode_response(self, p): return {"tags": [[self.tags[i], float(p[i])] for i in np.argsort(-p)[:10]]}

BUNDLE = sys.argv[1]
if __name__ == "__main__":
    server = litserve.LitServer(Tagger(api_path="/v1/tags"), accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(port=int(sys.argv[2]), host="127.0.0.1", log_level="error", generate_client_file=False)
"""

LUA = """
local files, bodies, n, delayed = {%s}, {}, 0, %d
for _, name in ipairs(files) do
  local f = io.open(name, "rb"); local data = f:read("*a"); f:close()
  bodies[#bodies + 1] = wrk.format("POST", "/v1/tags", {["Content-Type"] = "multipart/form-data; boundary=wrkwrk"},
    '--wrkwrk\\r\\nContent-Disposition: form-data; name="still"; filename="a.jpg"\\r\\nContent-Type: image/jpeg\\r\\n\\r\\n'
    .. data .. '\\r\\n--wrkwrk--\\r\\n')
end
wrk.init = function() for i, b in ipairs(bodies) do bodies[i] = b end end
request = function() n = n + 1; return bodies[n %% #bodies + 1] end
if delayed > 0 then delay = function() return delayed end end
ok, refused, other = 0, 0, 0
if delayed > 0 then response = function(status)
  if status == 200 then ok = ok + 1 elseif status == 429 then refused = refused + 1 else other = other + 1 end
end end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary, latency)
  local a, b, c = 0, 0, 0
  for _, t in ipairs(threads) do a = a + t:get("ok"); b = b + t:get("refused"); c = c + t:get("other") end
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "bad": %%d, "broken": %%d, "ok": %%d, "refused": %%d, "other": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status, e.connect + e.read + e.write + e.timeout, a, b, c))
end
"""


def wrk(port, pictures, seconds, connections, delay=0):
    "What wrk saw."
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
        f.write(LUA % (", ".join(json.dumps(str(p)) for p in pictures), delay))
        f.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            f.name,
            f"http://127.0.0.1:{port}/v1/tags",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def start(code, *args, python=sys.executable, log=None):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    script = Path(tempfile.mkdtemp()) / "app.py"
    script.write_text(code)
    stderr = open(log, "wb") if log else subprocess.DEVNULL
    server = subprocess.Popen(
        [python, str(script), *map(str, [args[0], port, *args[1:]])],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )
    for _ in range(1200):
        assert server.poll() is None, f"{python} {script} ended"
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    warm(port)
    return server, port


def warm(port):
    "Asks until answers come, and a few times more: some servers open their door before they can answer."
    picture = next((real_data() / "stills" / "images").glob("*.jpg")).read_bytes()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="still"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--x--\r\n"
    )
    good = 0
    while good < 20:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/tags",
            body,
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        try:
            good += urllib.request.urlopen(request, timeout=30).status == 200
        except OSError:
            time.sleep(0.2)


def bare(bundle, pictures, seconds):
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(bundle), str(seconds), *map(str, pictures)],
        capture_output=True,
        text=True,
        check=True,
    )
    return map(float, done.stdout.split())


def make_bundle(folder):
    from movie_tagger import data
    from movie_tagger import train
    from movie_tagger.models import bundle

    source = real_data() / "stills"
    return bundle.save(
        train(
            *data.usable(*data.read(source / "truth.csv", images=source, absent="no")), min_count=10
        ),
        folder / "stills",
    )


def spent(server):
    "CPU seconds of a server and its children so far."
    tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(sum(p.cpu_times()[:2]) for p in tree)


def overload(port, log, pictures, seconds, connections):
    "Ten times as many requests as were answered just before and just after; what wrk saw, and what the server's log says of the accepted."
    before = wrk(port, pictures, -(-seconds // 2), connections)
    peak, start = before["requests"] / before["seconds"], log.stat().st_size
    seen = wrk(port, pictures, seconds, 400, delay=max(1, round(OFTEN / (10 * peak) * 1000)))
    time.sleep(0.5)  # the log is written a few times a second
    with open(log, "rb") as f:
        f.seek(start)
        took = [
            x["ms"]
            for x in map(json.loads, f.read().decode().splitlines())
            if x.get("status") == 200
        ]
    after = wrk(port, pictures, -(-seconds // 2), connections)
    peak = (before["requests"] + after["requests"]) / (before["seconds"] + after["seconds"])
    rate, good = seen["requests"] / seen["seconds"], seen["ok"] / seen["seconds"]
    return seen | {
        "peak": peak,
        "rate": rate,
        "times": rate / peak,
        "goodput": good,
        "share": good / peak,
        "accepted_p99": float(np.percentile(took, 99)),
    }


# of wrk's 400 connections, those that are free to ask at any time: 64 wait for an answer, others for their body to be read
OFTEN = 290


def before_others(pid):
    "Gives a session precedence over the other programs of this machine, where the system lets us."
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


def soak(bundle, minutes):
    "Mixed load with hostile uploads; memory and open files of the server, once a tenth of the time."
    sys.path.insert(0, str(HERE.parent / "tests"))
    import random
    import threading

    import httpx
    from test_serve_hostile import FORMS, REFUSED, REQUESTS, TAKEN

    good = [p.read_bytes() for p in sorted((real_data() / "stills" / "images").glob("*.jpg"))[:200]]
    bad = [d for d, _, _ in REFUSED.values()] + list(TAKEN.values())
    server, port = start(OURS, bundle, log=Path(tempfile.mkdtemp()) / "server.log")
    statuses, rows, stop = {}, [], threading.Event()

    def visitor(rng):
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
            while not stop.is_set():
                what = rng.random()
                if what < 0.7:
                    status = client.post(
                        "/v1/tags", content=rng.choice(good), headers={"content-type": "image/jpeg"}
                    ).status_code
                elif what < 0.9:
                    status = client.post(
                        "/v1/tags",
                        files=[
                            ("still", ("a.jpg", rng.choice(good + bad)))
                            for _ in range(rng.randrange(1, 4))
                        ],
                    ).status_code
                elif what < 0.95:
                    status = client.post(
                        "/v1/tags",
                        content=rng.choice(list(FORMS.values()))[0],
                        headers={"content-type": "multipart/form-data; boundary=X"},
                    ).status_code
                else:
                    with socket.create_connection(("127.0.0.1", port)) as s:
                        s.sendall(rng.choice(list(REQUESTS.values()))[0])
                    continue
                statuses[status] = statuses.get(status, 0) + 1

    threads = [threading.Thread(target=visitor, args=(random.Random(k),)) for k in range(4)]
    for t in threads:
        t.start()
    process = psutil.Process(server.pid)
    for k in range(10):
        time.sleep(minutes * 6)
        rows.append(
            f"| {minutes * (k + 1) / 10:.1f} | {process.memory_info().rss / 2**20:.0f} | {process.num_fds()} "
            f"| {sum(statuses.values())} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    stop.set()
    for t in threads:
        t.join()
    server.send_signal(signal.SIGTERM)
    report(
        f"Serving: {minutes:g} minutes of mixed load with hostile uploads",
        [
            f"Ended with exit code {server.wait(40)}. Answers by status: {dict(sorted(statuses.items()))}.",
            "",
            "| minute | memory, MB | open files | answers |",
            "|---|---|---|---|",
            *rows,
        ],
    )


def forget(*folders):
    "Puts the files below some folders out of the page cache, as after a reboot; those that another program has in use stay."
    for path in (p for folder in folders for p in Path(folder).rglob("*") if p.is_file()):
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_answer(python, bundle):
    "Seconds from the start of `movie-tagger serve` to its first answer, and CPU seconds."
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    picture = next((real_data() / "stills" / "images").glob("*.jpg")).read_bytes()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/tags", picture, {"Content-Type": "image/jpeg"}
    )
    start = time.perf_counter()
    server = subprocess.Popen(
        [
            python,
            "-c",
            "from movie_tagger.cli.door import main; main()",
            "serve",
            bundle,
            "--port",
            str(port),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            assert server.poll() is None and time.perf_counter() - start < 120, (
                "the server ended, or does not answer"
            )
            try:
                urllib.request.urlopen(request, timeout=60).read()
            except OSError:
                time.sleep(0.01)
            else:
                return time.perf_counter() - start, spent(server)
    finally:
        server.terminate()
        server.wait(40)


def cold(bundle, python, starts):
    modules = [
        subprocess.run(
            [python, "-c", f"import sysconfig; print(sysconfig.get_path({name!r}))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name in ("stdlib", "purelib")
    ]

    def median(forgotten):
        rows = []
        for _ in range(starts):
            forget(*forgotten)
            rows.append(first_answer(python, bundle))
        each = " ".join(f"{seconds:.2f}" for seconds, _ in rows)
        return f"{np.median([seconds for seconds, _ in rows]):.2f} | {np.median([cpu for _, cpu in rows]):.2f} | {each}"

    report(
        "Serving: first answer from a cold start",
        [
            f"From the start of `movie-tagger serve` to its first answer, {starts} starts each, "
            f"load average {os.getloadavg()[0]:.1f} before them.",
            "",
            "| start | seconds, median | CPU seconds | each |",
            "|---|---|---|---|",
            f"| Python, its libraries and the bundle read from the disk | {median([*modules, bundle])} |",
            f"| the same, still in the page cache | {median([])} |",
        ],
    )


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--litserve", help="python of a virtual environment with LitServe")
    parse.add_argument("--bundle", type=Path)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--seconds", type=int, default=6)
    parse.add_argument("--connections", type=int, default=2 * CORES)
    parse.add_argument(
        "--soak", type=float, help="instead: so many minutes of mixed load with hostile uploads"
    )
    parse.add_argument(
        "--cold",
        nargs="?",
        const=sys.executable,
        metavar="PYTHON",
        help="instead: cold starts, perhaps with the python of another environment",
    )
    parse.add_argument(
        "--first", action="store_true", help="have precedence over other programs (Linux, as root)"
    )
    args = parse.parse_args()
    if args.first:
        with contextlib.suppress(OSError):
            os.setsid()  # a session of its own, where it has none
        before_others(os.getpid())
    if not args.cold and not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    bundle = args.bundle or make_bundle(Path(tempfile.mkdtemp()))
    if args.cold:
        return cold(bundle, args.cold, 5)
    if args.soak:
        return soak(bundle, args.soak)
    folder = real_data() / "stills" / "images"
    pictures = sorted(folder.glob("*.jpg"))[:40]
    log = Path(tempfile.mkdtemp()) / "server.log"
    servers = {
        "ours": start(OURS, bundle, log=log),
        "FastAPI + fastai predict": start(FASTAI, bundle, folder),
    }
    if args.litserve:
        servers["LitServe, same ONNX model"] = start(LITSERVE, bundle, CORES, python=args.litserve)
    if args.first:
        for server, _ in servers.values():
            before_others(server.pid)
    speed, alone, p99, cpu, heavy = {}, {}, {}, {}, []
    try:
        for _ in range(args.rounds):
            rate, ms, each = bare(bundle, pictures, args.seconds)
            cpu.setdefault("bare loop", []).append(each)
            speed.setdefault("bare loop", []).append(rate)
            alone.setdefault("bare loop", []).append(ms)
            for name, (server, port) in servers.items():
                one, before = wrk(port, pictures, 3, 1), spent(server)
                many = wrk(port, pictures, args.seconds, args.connections)
                cpu.setdefault(name, []).append(
                    (spent(server) - before) / max(1, many["requests"]) * 1000
                )
                assert not one["bad"] + one["broken"] + many["bad"] + many["broken"], (
                    name,
                    one,
                    many,
                )
                speed.setdefault(name, []).append(many["requests"] / many["seconds"])
                alone.setdefault(name, []).append(one["p50"])
                p99.setdefault(name, []).append(many["p99"])
            heavy.append(
                overload(servers["ours"][1], log, pictures, args.seconds, args.connections)
            )
    finally:
        for server, _ in servers.values():
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
    v = {name: float(np.median(x)) for name, x in speed.items()}

    def late(name):
        return f"{np.median(p99[name]):.0f}" if name in p99 else ""

    rows = [
        f"| {name} | {x:.0f} | {v['ours'] / x:.2f} | {np.median(alone[name]):.1f} | {late(name)} | "
        f"{np.median(cpu[name]):.1f} |"
        for name, x in v.items()
    ]
    h = {key: float(np.median([x[key] for x in heavy])) for key in heavy[0]}
    shares = " ".join(f"{x['share']:.0%}" for x in heavy)
    each = ", ".join(f"{name} {' '.join(f'{x:.0f}' for x in xs)}" for name, xs in speed.items())
    report(
        "Serving: a still in, suggestions out",
        [
            f"{len(pictures)} stills, forms over {args.connections} keep-alive connections from wrk on the same cores, "
            f"{args.rounds} rounds of {args.seconds} s. "
            f"Each round, stills/s: {each}.",
            "",
            "| what | stills/s | ours against it | p50 alone, ms | p99, ms | CPU a still, ms |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Overload, {h['times']:.1f} times the peak of the same minute: "
            f"{h['rate']:.0f} requests/s came, {h['goodput']:.0f}/s were "
            f"answered, {h['share']:.0%} of that peak "
            f"(each round {shares}), p99 of the accepted {h['accepted_p99']:.0f} ms (deadline 10,000), "
            f"refused with 429: {h['refused']:.0f}, any other status: {sum(x['other'] for x in heavy)}, broken: "
            f"{sum(x['broken'] for x in heavy)}. "
            f"Load average at the end {os.getloadavg()[0]:.1f}{', but with precedence' * args.first}.",
        ],
    )


if __name__ == "__main__":
    main()
