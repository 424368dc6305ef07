"A network of open_clip's with both towers, the smallest there can be, and models made with it."

import json
import logging

import pytest
from conftest import movie_tagger

package = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    "A network of open_clip's with random weights, whose texts differ."
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "tiny-words.json").write_text(json.dumps(CONFIG))
    package.add_model_config(folder / "tiny-words.json")
    logging.disable(logging.WARNING)
    torch.manual_seed(1)
    made = package.create_model("tiny-words").eval()
    logging.disable(logging.NOTSET)
    torch.nn.init.normal_(made.token_embedding.weight)
    torch.nn.init.normal_(made.positional_embedding)
    return made


@pytest.fixture(scope="session")
def weights(net, tmp_path_factory):
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "open_clip_model.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def words_bundle(posters, weights, tmp_path_factory):
    "A bundle whose encoder has words; only to be read."
    out = tmp_path_factory.mktemp("words") / "with-words"
    encoder = ("--encoder", "open_clip:tiny-words", "--weights", weights)
    done = movie_tagger("train", posters, *encoder, "--out", out)
    assert done.code == 0, done.err
    return out
