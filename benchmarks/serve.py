"""Serving suggestions: ours, FastAPI + fastai, LitServe on the same ONNX model, and the bare loop.

    python benchmarks/serve.py [--quick] [--litserve VENV/bin/python] [--rounds 3] [--seconds 6]
    python benchmarks/serve.py --cold [VENV/bin/python]    seconds from a start to the first answer

The stills are those of MOVIE_TAGGER_DATA; where it is not set, drawn ones. `--quick` is one round
of two seconds, without fastai.

LitServe lives in a virtual environment of its own
(`pip install litserve onnxruntime pillow numpy python-multipart`); without it that row is left out.
The load comes from wrk (Debian package `wrk`), which sends stills as forms over keep-alive
connections. Rounds alternate between the contestants; the median counts. CPU a still is that of a
server with all its processes, wrk's left out: it tells the cost also on a machine that others use
too; with --first all contestants alike have precedence over other programs. The bare loop is
`Bundle.open()` in as many threads as there are cores, without HTTP. At overload wrk sends ten times
what was answered in the seconds before and after, whatever comes back; the time of accepted
requests is then read from the server's log, because wrk does not tell them from the refused.
"""

import argparse
import contextlib
import importlib.util
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
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from common import real_data, report

HERE = Path(__file__).parent
CORES = os.cpu_count()

BARE = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from movie_tagger.models import load

folder, seconds, *paths = sys.argv[1:]
model = load(folder).open(pictures=1)
pictures = [Path(path).read_bytes() for path in paths]

def ask(data):
    start = time.perf_counter()
    model.answer([model.read(data)])
    return time.perf_counter() - start

def work(k):
    n = 0
    while time.perf_counter() < end:
        ask(pictures[(n + k) % len(pictures)])
        n += 1
    return n

for data in pictures:
    ask(data)
alone = sorted(ask(data) for data in pictures * 2)[len(pictures)]
start, cpu = time.perf_counter(), time.process_time()
end = start + float(seconds)
with ThreadPoolExecutor(os.cpu_count()) as pool:
    done = sum(pool.map(work, range(os.cpu_count())))
print(done / (time.perf_counter() - start), alone * 1000, (time.process_time() - cpu) / done * 1000)
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
block = DataBlock(
    (ImageBlock, MultiCategoryBlock(vocab=tags)),
    get_y=lambda p: tags[:2],
    item_tfms=Resize(224, method="squish"),
)
dls = block.dataloaders(pictures, bs=8, num_workers=0)
model = dict(arch="tf_efficientnet_lite0", pretrained=False, metrics=accuracy_multi)
learn = vision_learner(dls, **model)
app = FastAPI()
@app.post("/v1/tags")
async def tags_of(still: UploadFile):
    # in threads, `predict` fails now and then: the learner's state is shared
    with learn.no_bar():
        p = learn.predict(PILImage.create(await still.read()))[2]
    return sorted(zip(tags, p.tolist()), key=lambda x: -x[1])[:10]
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""

LITSERVE = """
import json, sys
from pathlib import Path
import litserve, numpy as np, onnxruntime
from PIL import Image

BUNDLE, PORT, WORKERS = sys.argv[1:]

class Tagger(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(BUNDLE + "/model.onnx", options)
        self.input = self.model.get_inputs()[0].name
        self.tags = json.loads(Path(BUNDLE, "manifest.json").read_text())["tags"]
    def decode_request(self, request):
        im = Image.open(request["still"].file)
        im.draft("RGB", (269, 269))
        how = dict(resample=Image.Resampling.BILINEAR, reducing_gap=3.0)
        return np.asarray(im.convert("RGB").resize((224, 224), **how))
    def predict(self, x):
        return 1 / (1 + np.exp(-self.model.run(None, {self.input: x[None]})[0][0]))
    def encode_response(self, p):
        return {"tags": [[self.tags[i], float(p[i])] for i in np.argsort(-p)[:10]]}

if __name__ == "__main__":
    tagger = Tagger(api_path="/v1/tags")
    server = litserve.LitServer(tagger, accelerator="cpu", workers_per_device=int(WORKERS))
    how = dict(host="127.0.0.1", log_level="error", generate_client_file=False)
    server.run(port=int(PORT), **how)
"""

LUA = """
local files, bodies, n, delayed = {%s}, {}, 0, %d
local form = {["Content-Type"] = "multipart/form-data; boundary=wrkwrk"}
for _, name in ipairs(files) do
  local f = io.open(name, "rb"); local data = f:read("*a"); f:close()
  bodies[#bodies + 1] = wrk.format("POST", "/v1/tags", form,
    '--wrkwrk\\r\\nContent-Disposition: form-data; name="still"; filename="a.jpg"\\r\\n'
    .. 'Content-Type: image/jpeg\\r\\n\\r\\n' .. data .. '\\r\\n--wrkwrk--\\r\\n')
end
wrk.init = function() for i, b in ipairs(bodies) do bodies[i] = b end end
request = function() n = n + 1; return bodies[n %% #bodies + 1] end
if delayed > 0 then delay = function() return delayed end end
ok, refused, other = 0, 0, 0
if delayed > 0 then response = function(status)
  if status == 200 then ok = ok + 1
  elseif status == 429 then refused = refused + 1
  else other = other + 1 end
end end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary, latency)
  local a, b, c = 0, 0, 0
  for _, t in ipairs(threads) do
    a = a + t:get("ok"); b = b + t:get("refused"); c = c + t:get("other")
  end
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "bad": %%d, '
    .. '"broken": %%d, "ok": %%d, "refused": %%d, "other": %%d}\\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status, e.connect + e.read + e.write + e.timeout, a, b, c))
end
"""


@cache
def stills():
    "The table of the stills, and the folder that its pictures are in."
    if os.environ.get("MOVIE_TAGGER_DATA"):
        folder = real_data() / "stills"
        return folder / "truth.csv", folder
    from movie_tagger.sample.make import make_sample

    sample = make_sample(Path(tempfile.gettempdir()) / "movie_tagger_sample")
    return sample.stills_truth, Path(sample.stills_truth).parent


@cache
def pictures():
    return sorted(stills()[1].rglob("*.jpg"))


def wrk(port, pictures, seconds, connections, delay=0):
    "What wrk saw."
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
        f.write(LUA % (", ".join(json.dumps(str(p)) for p in pictures), delay))
        f.flush()
        load = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        command = ["wrk", *load, "-s", f.name, f"http://127.0.0.1:{port}/v1/tags"]
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
        if server.poll() is not None:
            sys.exit(f"A server did not start: {python} {script} ended with {server.returncode}.")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    warm(port)
    return server, port


def warm(port):
    "Asks until answers come, and a few times more: some servers open before they can answer."
    picture = pictures()[0].read_bytes()
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


def bare(bundle, seconds):
    "Stills a second, milliseconds of one alone, and CPU milliseconds a still."
    paths = map(str, pictures()[:40])
    command = [sys.executable, "-c", BARE, str(bundle), str(seconds), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return map(float, done.stdout.split())


def make_bundle(folder):
    from movie_tagger import data, train
    from movie_tagger.models import bundle

    table, images = stills()
    items, labels = data.usable(*data.read(table, images=images, absent="no"))
    return bundle.save(train(items, labels, min_count=10), folder / "stills")


def spent(server):
    "CPU seconds of a server and its children so far."
    tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(sum(p.cpu_times()[:2]) for p in tree)


def overload(port, log, seconds, connections):
    "Ten times as many requests as were answered just before and after: what wrk and the log saw."
    before = wrk(port, pictures()[:40], -(-seconds // 2), connections)
    peak = before["requests"] / before["seconds"]
    start = log.stat().st_size
    delay = max(1, round(OFTEN / (10 * peak) * 1000))
    seen = wrk(port, pictures()[:40], seconds, 400, delay)
    time.sleep(0.5)  # the log is written a few times a second
    with open(log, "rb") as f:
        f.seek(start)
        took = [
            x["ms"]
            for x in map(json.loads, f.read().decode().splitlines())
            if x.get("status") == 200
        ]
    after = wrk(port, pictures()[:40], -(-seconds // 2), connections)
    peak = (before["requests"] + after["requests"]) / (before["seconds"] + after["seconds"])
    rate = seen["requests"] / seen["seconds"]
    good = seen["ok"] / seen["seconds"]
    return seen | {
        "peak": peak,
        "rate": rate,
        "times": rate / peak,
        "goodput": good,
        "share": good / peak,
        "accepted_p99": float(np.percentile(took, 99)),
    }


# of wrk's 400 connections, those that are free to ask at any time: 64 wait for an answer,
# others for their body to be read
OFTEN = 290


def before_others(pid):
    "Gives a session precedence over the other programs of this machine, where the system lets us."
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


def forget(*folders):
    "Puts files below some folders out of the page cache, as after a reboot; those in use stay."
    for path in (p for folder in folders for p in Path(folder).rglob("*") if p.is_file()):
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_answer(python, bundle):
    "Seconds from the start of `movie-tagger serve` to its first answer, and CPU seconds."
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    picture = pictures()[0].read_bytes()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/tags", picture, {"Content-Type": "image/jpeg"}
    )
    start = time.perf_counter()
    command = [python, "-c", "from movie_tagger.cli.door import main; main()", "serve", bundle]
    server = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        while True:
            if server.poll() is not None or time.perf_counter() - start > 120:
                sys.exit("The server ended, or does not answer.")
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
        seconds, cpu = np.median(rows, axis=0)
        return f"{seconds:.2f} | {cpu:.2f} | {each}"

    report(
        "Serving: first answer from a cold start",
        [
            f"From the start of `movie-tagger serve` to its first answer, {starts} starts each, "
            f"load average {os.getloadavg()[0]:.1f} before them.",
            "",
            "| start | seconds, median | CPU seconds | each |",
            "|---|---|---|---|",
            "| Python, its libraries and the bundle read from the disk "
            f"| {median([*modules, bundle])} |",
            f"| the same, still in the page cache | {median([])} |",
        ],
    )


class Seen:
    "What the rounds told of one contestant."

    def __init__(self):
        self.speed = []  # stills a second
        self.alone = []  # milliseconds of one alone, the median
        self.late = []  # milliseconds, the 99th percentile
        self.cpu = []  # milliseconds a still

    def look(self, server, port, seconds, connections):
        few = pictures()[:40]
        one = wrk(port, few, min(3, seconds), 1)
        before = spent(server)
        many = wrk(port, few, seconds, connections)
        self.cpu.append((spent(server) - before) / max(1, many["requests"]) * 1000)
        if one["bad"] + one["broken"] + many["bad"] + many["broken"]:
            sys.exit(f"A server answers badly: {one}, {many}.")
        self.speed.append(many["requests"] / many["seconds"])
        self.alone.append(one["p50"])
        self.late.append(many["p99"])

    def look_bare(self, bundle, seconds):
        for told, value in zip((self.speed, self.alone, self.cpu), bare(bundle, seconds)):
            told.append(value)

    def row(self, name, ours):
        speed = np.median(self.speed)
        late = f"{np.median(self.late):.0f}" if self.late else ""
        return (
            f"| {name} | {speed:.0f} | {np.median(ours.speed) / speed:.2f} "
            f"| {np.median(self.alone):.1f} | {late} | {np.median(self.cpu):.1f} |"
        )


def compare(bundle, args):
    log = Path(tempfile.mkdtemp()) / "server.log"
    servers = {"ours": start(OURS, bundle, log=log)}
    if not args.quick and importlib.util.find_spec("fastai"):
        servers["FastAPI + fastai predict"] = start(FASTAI, bundle, stills()[1])
    if args.litserve:
        servers["LitServe, same ONNX model"] = start(LITSERVE, bundle, CORES, python=args.litserve)
    if args.first:
        for server, _ in servers.values():
            before_others(server.pid)
    seen = {name: Seen() for name in ("bare loop", *servers)}
    heavy = []
    try:
        for _ in range(args.rounds):
            seen["bare loop"].look_bare(bundle, args.seconds)
            for name, (server, port) in servers.items():
                seen[name].look(server, port, args.seconds, args.connections)
            heavy.append(overload(servers["ours"][1], log, args.seconds, args.connections))
    finally:
        for server, _ in servers.values():
            end(server)
    tell(seen, heavy, args)


def end(server):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)


def tell(seen, heavy, args):
    h = {key: float(np.median([x[key] for x in heavy])) for key in heavy[0]}
    shares = " ".join(f"{x['share']:.0%}" for x in heavy)
    each = ", ".join(
        f"{name} {' '.join(f'{x:.0f}' for x in one.speed)}" for name, one in seen.items()
    )
    precedence = ", but with precedence" if args.first else ""
    report(
        "Serving: a still in, suggestions out",
        [
            f"{len(pictures()[:40])} stills, forms over {args.connections} keep-alive connections "
            f"from wrk on the same cores, {args.rounds} rounds of {args.seconds} s. "
            f"Each round, stills/s: {each}.",
            "",
            "| what | stills/s | ours against it | p50 alone, ms | p99, ms | CPU a still, ms |",
            "|---|---|---|---|---|---|",
            *(one.row(name, seen["ours"]) for name, one in seen.items()),
            "",
            f"Overload, {h['times']:.1f} times the peak of the same minute: {h['rate']:.0f} "
            f"requests/s came, {h['goodput']:.0f}/s were answered, {h['share']:.0%} of that peak "
            f"(each round {shares}), p99 of the accepted {h['accepted_p99']:.0f} ms "
            f"(deadline 10,000), refused with 429: {h['refused']:.0f}, "
            f"any other status: {sum(x['other'] for x in heavy)}, "
            f"broken: {sum(x['broken'] for x in heavy)}. "
            f"Load average at the end {os.getloadavg()[0]:.1f}{precedence}.",
        ],
    )


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parse.add_argument
    add("--quick", action="store_true", help="one round of two seconds, without fastai")
    add("--litserve", help="python of a virtual environment with LitServe")
    add("--bundle", type=Path)
    add("--rounds", type=int, default=3)
    add("--seconds", type=int, default=6)
    add("--connections", type=int, default=2 * CORES)
    add(
        "--cold",
        nargs="?",
        const=sys.executable,
        metavar="PYTHON",
        help="instead: cold starts, perhaps with the python of another environment",
    )
    add("--first", action="store_true", help="have precedence over other programs (Linux, as root)")
    args = parse.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 2
    if args.first:
        with contextlib.suppress(OSError):
            os.setsid()  # a session of its own, where it has none
        before_others(os.getpid())
    if not (args.cold or shutil.which("wrk")):
        sys.exit("wrk is missing: apt-get install wrk")
    bundle = args.bundle or make_bundle(Path(tempfile.mkdtemp()))
    if args.cold:
        cold(bundle, args.cold, 1 if args.quick else 5)
    else:
        compare(bundle, args)


if __name__ == "__main__":
    main()
