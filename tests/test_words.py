"Words: towers of open_clip, random ones, served, fetched, exported, and held against open_clip."

import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from movie_tagger import features
from movie_tagger.cli import door  # noqa: F401, its commands
from movie_tagger.cli.shared import run
from movie_tagger.core import MovieTaggerError
from movie_tagger.features import catalogue, encoders, engine, open_clip, text_tower

package = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")
pytest_plugins = ["hub", "towers"]

NAME = "open_clip:tiny-words/here"
TEXTS = ["snow", "a gun pointed at the camera", "Snow", "caf\u00e9 at night, 1940's"]


@pytest.fixture(autouse=True)
def published(net, monkeypatch):
    "open_clip knows where the weights are to be had."
    where = {"hf_hub": "film/towers/", "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    gated = where | {"hf_hub": "gated/towers/"}
    quick = where | {"quick_gelu": True}
    known = {"here": where, "gated": gated, "quick": quick}
    monkeypatch.setitem(package.pretrained._PRETRAINED, "tiny-words", known)


@pytest.fixture
def hub(empty_hub, weights, empty_cache):
    empty_hub.files["open_clip_model.safetensors"] = weights.read_bytes()
    return empty_hub


def cosines(ours, theirs):
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(1) / lengths


def test_what_is_fetched_says_what_open_clip_says(hub, net):
    said = run(f"encoders get {NAME}")
    assert "32 x 32 pixels, and knows words; licence: see the page of film/towers" in said
    asked = len(hub.asked)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    ours = engine.ready(encoders.export(NAME), "onnxruntime")(pictures)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    scaled = (torch.tensor(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
    tokens = package.get_tokenizer("tiny-words")(TEXTS)
    with torch.inference_mode():
        pixels, texts = net.encode_image(scaled).numpy(), net.encode_text(tokens).numpy()
    assert ours.shape == (5, 24) and cosines(ours, pixels).min() > 0.9999
    rows = features.words(TEXTS, encoder=NAME)
    assert rows.dtype == np.float32 and cosines(rows, texts).min() > 0.9999
    assert cosines(rows[:1], rows[1:2]).max() < 0.99, "all texts would say the same"
    assert np.array_equal(text_tower.tower(NAME).tokens(TEXTS), tokens.numpy())
    assert len(hub.asked) == asked, "the network was asked although all is here"

    program = (
        "import sys; from movie_tagger.features import text_tower; "
        f"tower = text_tower.TextTower(open({str(text_tower.export_tower(NAME))!r}, 'rb').read()); "
        f"print(tower(['snow'])[0].tolist(), sorted({{'torch', 'open_clip'}} & {{*sys.modules}}))"
    )
    alone = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    numbers, _, heavy = alone.stdout.rpartition(" [")
    assert heavy.strip() == "]", alone.stderr
    assert np.allclose(json.loads(numbers), rows[0], atol=1e-5)


def test_pieces_are_those_of_open_clip_whatever_is_typed():
    own = package.get_tokenizer("tiny-words")
    tokenizer, clean = open_clip._written_down(own, NAME)
    assert clean == "lower"
    signs = [
        "abcdefghijklmnopqrstuvwxyz      '",
        "AB\u00c9\u00c8\u00fc\u00df\u015f\u0130\u0131\u0152 ' 's'T'Re",
        "0123456789\u0663\u00bd\u2167\u00b2, .!?",
        "\u65e5\u672c\u8a9e \ud55c\uad6d \u0440\u0443\u0441 \u0627\u0644 \u05e2 \u0939\u093f",
        "\U0001f600\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea \t\n\u3000\u00ad",
    ]
    rng = random.Random(0)
    texts = ["", "  ", "&amp;lt;b&gt; \u00c3\u00a9", "<start_of_text>snow<end_of_text> x", "x" * 99]
    texts += ["".join(rng.choices(rng.choice(signs), k=rng.randint(1, 30))) for _ in range(600)]
    for text in texts:
        ids = [own.sot_token_id, *own.encode(text), own.eot_token_id]
        ids += [0] * (own.context_length - len(ids))
        assert tokenizer.encode(text_tower.CLEAN[clean](text)).ids == ids, repr(text)


def test_a_tokeniser_of_transformers_comes_along(tmp_path, empty_cache):
    "As SigLIP has: pieces of a language model, without punctuation, no beginning, one end."
    lib, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    made = lib.Tokenizer(lib.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = lib.pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = lib.trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    made.train_from_iterator(["a gun pointed at the camera", "snow at night", *TEXTS], trainer)
    made.post_processor = lib.processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    how = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    quick = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **how)
    quick.save_pretrained(tmp_path / "pieces")
    given = package.get_model_config("tiny-words")
    of_text = given["text_cfg"] | {
        "vocab_size": made.get_vocab_size(),
        "hf_tokenizer_name": str(tmp_path / "pieces"),
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
    }
    config = given | {"text_cfg": of_text | {"context_length": 64}, "custom_text": True}
    (tmp_path / "tiny-pieces.json").write_text(json.dumps(config))
    package.add_model_config(tmp_path / "tiny-pieces.json")
    name = "open_clip:tiny-pieces"
    tower = text_tower.tower(name, "random")
    texts = [*TEXTS, "A_gun, pointed!", "\u65e5\u672c"]
    own = package.get_tokenizer("tiny-pieces")(texts)
    assert np.array_equal(tower.tokens(texts), own.numpy())
    with torch.inference_mode():
        theirs = open_clip.network(name, "random").encode_text(own).numpy()
    assert cosines(tower(texts), theirs).min() > 0.9999
    with pytest.raises(MovieTaggerError, match="'!!' says nothing"):
        tower(["!!"])
    (tmp_path / "pieces" / "tokenizer.json").unlink()
    text_tower.export_tower(name, "random")  # is kept
    config["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    (tmp_path / "tiny-lost.json").write_text(json.dumps(config))
    package.add_model_config(tmp_path / "tiny-lost.json")
    with pytest.raises(
        MovieTaggerError, match="tokeniser of open_clip:tiny-lost cannot be fetched"
    ):
        text_tower.export_tower("open_clip:tiny-lost", "random")


@pytest.mark.parametrize(
    "name, said",
    [
        ("open_clip:tiny-word/here", "no model 'tiny-word'; nearest are tiny-words"),
        ("open_clip:tiny-words/her", "no weights 'her' for tiny-words; nearest are here"),
        ("open_clip:tiny-words", "does not say which weights: add /PRETRAINED, one of here"),
        ("open_clip:tiny-words/gated", "of gated/towers cannot be fetched: its owner lets only"),
        ("open_clip:tiny-words/quick", "use open_clip:tiny-words-quickgelu/quick"),
        ("open_clip:", "no model ''"),
        ("open_clip:hf-hub:film/towers", "no model 'hf-hub:film'"),
        ("open_clip:tiny-words/here@7", "must be a number of pixels"),
    ],
)
def test_a_name_that_cannot_be_had_is_one_sentence(hub, name, said):
    with pytest.raises(MovieTaggerError, match=re.escape(said)):
        catalogue.get(name)


def test_a_fetch_that_fails_and_one_that_lies(hub, weights, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(MovieTaggerError, match="was not fetched before"):
        catalogue.get(NAME, offline=True)
    with monkeypatch.context() as silent:
        silent.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(MovieTaggerError, match="the network or the hub does not answer"):
            catalogue.get(NAME)
    with pytest.raises(MovieTaggerError, match="has the SHA-256 .*it is not used"):
        catalogue.get(NAME, sha256="0" * 64)
    assert encoders.find(NAME).size == (32, 32) and not encoders.place("encoders", NAME).exists()
    kept = open_clip.weights_file(NAME).resolve()
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(MovieTaggerError, match="is not what the hub has .*fetch it again"):
        catalogue.get(NAME)
    kept.unlink()
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cuts = [2500]
    assert open_clip.weights_file(NAME).read_bytes() == weights.read_bytes()
    hub.files.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another"))
    with pytest.raises(MovieTaggerError, match="has no file open_clip_pytorch_model.bin"):
        catalogue.get(NAME)


def test_weights_of_another_network_do_not_fit(tmp_path):
    torch.save({"visual.conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(MovieTaggerError, match="do not fit tiny-words"):
        encoders.export("open_clip:tiny-words", tmp_path / "other.pt")
    (tmp_path / "page.pt").write_text("<html>")
    with pytest.raises(MovieTaggerError, match="do not fit tiny-words"):
        encoders.export("open_clip:tiny-words", tmp_path / "page.pt")


@pytest.fixture(scope="module")
def tower(weights, cache):
    return text_tower.tower("open_clip:tiny-words", weights)


@pytest.mark.parametrize(
    "text, said",
    [
        ("a very long question " * 9, "has 38 pieces and the text tower of open_clip:tiny-words"),
        ("x" * 20_000, "has 20,000 characters"),
        ("", "'' says nothing"),
        (" \u200b\n", "says nothing"),
        ("\ud800", "no sign of any script"),
        (7, "7 is no text"),
        (None, "None is no text"),
    ],
)
def test_a_text_that_cannot_be_asked_is_one_sentence(tower, text, said):
    with pytest.raises(MovieTaggerError, match=re.escape(said)):
        tower([text])


@pytest.mark.parametrize("encoder", ["lite0", "lite0+lite1", "resnet18"])
def test_an_encoder_without_words_says_which_have(tower, encoder):
    with pytest.raises(MovieTaggerError, match="knows no words.*here are open_clip:tiny-words"):
        features.words(["snow"], encoder)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04"])
def test_what_is_no_text_tower(content):
    with pytest.raises(MovieTaggerError, match="cannot be used"):
        text_tower.TextTower(content)


def test_no_text_at_all_is_no_row(tower):
    assert tower([]).shape == (0, 24)
    assert np.array_equal(tower(["snow"] * 65)[64], tower(["snow"])[0])
