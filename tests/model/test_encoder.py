import json
import socket

import numpy as np
import pytest
import torch

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.model import encoder as encoder_module
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.folder import build_tiny, check_fit, save_folder, training_pairs_of, with_folder_settings
from hybridtune.model.packing import TokenRows
from hybridtune.model.tokenizer import pretrained_tokenizer

TEXTS = ["the minister opened the bridge", "sw", "a new hospital in the capital, said the mayor on monday", "der hafen"]


def loaded(tiny, **changes):
    folder, encoder, tokenizer = tiny
    return load_encoder(str(folder), encoder.model_copy(update=changes), tokenizer.pad_id).eval()


def token_rows(tiny, texts=TEXTS, prefix="passage: ", length=24):
    return [np.array(ids, np.int32) for ids in tiny[2].encode(texts, prefix, length)]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError(f"the network was used: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_are_unit_vectors_that_padding_does_not_change(tiny, pooling):
    model, rows = loaded(tiny, pooling=pooling), token_rows(tiny)
    assert len({len(row) for row in rows}) > 1
    with torch.no_grad():
        together = model.embed(rows)
        alone = torch.cat([model.embed([row]) for row in rows])
    assert together.shape == (4, 16)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert torch.pdist(together).min() > 1e-4  # texts are far more apart than the tolerance of the line above


def test_pooling_is_what_its_name_says(tiny):
    (row,) = token_rows(tiny, TEXTS[:1])
    mean, cls = loaded(tiny), loaded(tiny, pooling="cls")
    with torch.no_grad():
        hidden = mean.backbone(torch.tensor(row[None].astype(np.int64))).last_hidden_state[0]
        for model, expected in ((mean, hidden.mean(0)), (cls, hidden[0])):
            torch.testing.assert_close(model.embed([row])[0], expected / expected.norm(), rtol=0, atol=1e-6)


def test_forward_takes_token_rows_from_any_part_of_a_batch(tiny):
    model, rows = loaded(tiny), token_rows(tiny)
    with torch.no_grad():
        together = model(TokenRows.of(rows))
        assert together.dtype == torch.float32
        assert torch.equal(together, model.embed(rows))
        chunks = torch.cat([model(chunk) for chunk in TokenRows.of(rows).split(3)])
    torch.testing.assert_close(chunks, together, rtol=0, atol=1e-6)


def test_every_parameter_gets_a_gradient(tiny):
    model = loaded(tiny).train()
    model.embed(token_rows(tiny))[:, 0].sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_dropout_is_the_models_own_or_the_one_given(tiny):
    folder, encoder, tokenizer = tiny
    rates = []
    for rate in (None, 0.25):
        modules = load_encoder(str(folder), encoder, tokenizer.pad_id, rate).modules()
        rates.append({module.p for module in modules if isinstance(module, torch.nn.Dropout)})
    assert rates == [{0.0}, {0.25}]


def test_tiny_is_a_function_of_its_seed_and_leaves_the_random_state_alone(tiny, tmp_path):
    _, encoder, tokenizer = tiny
    before = torch.get_rng_state()
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build_tiny(tokenizer.definition, encoder, seed, tmp_path / name)
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == same
    assert first != other


def test_tiny_takes_the_longest_text_of_its_settings(tiny):
    row = np.resize(token_rows(tiny)[0], 24)
    assert loaded(tiny).embed([row]).shape == (1, 16)


SETTINGS = {
    "pooling": "cls",
    "query_prefix": "ask: ",
    "passage_prefix": "read: ",
    "query_length": 12,
    "passage_length": 20,
}


@pytest.fixture
def saved(tiny, tmp_path):
    """A model folder as a study exports it."""
    folder, encoder, _ = tiny
    encoder = encoder.model_copy(update=SETTINGS)
    save_folder(loaded(tiny), str(folder), encoder, tmp_path / "best", "# card", {"en-de": 7})
    return tmp_path / "best"


def test_a_saved_folder_gives_its_settings_tokens_and_embeddings_back(tiny, saved):
    found = with_folder_settings(Encoder(name=str(saved)))
    assert found.model_dump(include=set(SETTINGS)) == SETTINGS
    assert (saved / "README.md").read_text() == "# card"
    tokenizer = pretrained_tokenizer(str(saved))
    assert tokenizer.encode(TEXTS, "ask: ", 12) == tiny[2].encode(TEXTS, "ask: ", 12)
    model = load_encoder(str(saved), found, tokenizer.pad_id).eval()
    rows = token_rows(tiny)
    with torch.no_grad():
        assert torch.equal(model.embed(rows), loaded(tiny, pooling="cls").embed(rows))


def test_texts_are_encoded_as_the_folder_says_and_saved_again(saved, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = DualEncoder.load(str(saved))
    queries, passages = encoder.encode_queries(TEXTS), encoder.encode_passages(TEXTS)
    assert (queries.shape, queries.dtype) == ((4, 16), np.float32)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    assert encoder.encode_queries([]).shape == (0, 16)
    encoder.save(tmp_path / "again")
    again = DualEncoder.load(str(tmp_path / "again"))
    assert np.array_equal(again.encode_queries(TEXTS), queries)
    assert np.array_equal(again.encode_passages(TEXTS), passages)
    assert training_pairs_of(str(tmp_path / "again")) == {"en-de": 7}
    peer = SentenceTransformer(str(tmp_path / "again"), device="cpu")
    np.testing.assert_allclose(peer.encode(TEXTS[1:2], prompt_name="document"), passages[1:2], atol=1e-5)
    other = DualEncoder.load(str(saved), query_prefix="read: ", query_length=20)
    np.testing.assert_allclose(other.encode_queries(TEXTS), passages, atol=1e-6)


def test_an_encoder_of_token_ids_takes_no_texts(tiny, saved):
    with pytest.raises(ValueError, match=r"DualEncoder\.load gives one that takes texts"):
        loaded(tiny).encode_queries(TEXTS)
    with pytest.raises(InputError, match="encoder: length: "):
        DualEncoder.load(str(saved), length=3)


def test_what_the_study_says_wins_over_the_folder(saved):
    found = with_folder_settings(Encoder(name=str(saved), pooling="mean", query_length=8))
    kept = {key: SETTINGS[key] for key in ("query_prefix", "passage_prefix", "passage_length")}
    assert found.model_dump(include=set(SETTINGS)) == {**kept, "pooling": "mean", "query_length": 8}


def test_a_name_or_plain_folder_keeps_the_settings(tiny):
    for name in ("tiny", str(tiny[0])):
        assert with_folder_settings(Encoder(name=name)) == Encoder(name=name)


def test_a_missing_folder_is_one_clear_line_without_the_network(tiny, tmp_path, no_network):
    missing = str(tmp_path / "none")
    (tmp_path / "hollow").mkdir()
    loads = (pretrained_tokenizer, lambda name: load_encoder(name, tiny[1], 0))
    for kind, load in zip(("tokenizer", "encoder"), loads, strict=True):
        for what, name in (("model", missing), (kind, str(tmp_path / "hollow"))):
            with pytest.raises(InputError) as caught:
                load(name)
            assert str(caught.value).startswith(f"encoder {name}: no {what} there: it is neither a model folder nor ")
            assert "\n" not in str(caught.value)


def test_lengths_over_the_encoders_positions_are_refused(tiny, tmp_path):
    folder, encoder, _ = tiny  # 24 positions
    check_fit(encoder, 0)
    with pytest.raises(InputError, match=r"encoder\.passage_length 25 is over the 24 tokens"):
        check_fit(encoder.model_copy(update={"passage_length": 25}), 0)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    roberta = config | {"model_type": "xlm-roberta", "pad_token_id": 1, "max_position_embeddings": 26}
    (tmp_path / "config.json").write_text(json.dumps(roberta), encoding="utf-8")
    other = encoder.model_copy(update={"name": str(tmp_path)})
    check_fit(other, 0)
    with pytest.raises(InputError, match=r"over the 24 tokens"):
        check_fit(other.model_copy(update={"query_length": 25}), 0)


@pytest.mark.parametrize(("ahead", "asked_by_then"), [(0, [1, 2, 3, 4]), (2, [3, 4, 4, 4])])
def test_blocks_of_texts_are_encoded_as_each_would_be_alone(tiny, monkeypatch, ahead, asked_by_then):
    """Two batches ahead as on a GPU, or none; the first block has three batches, the last eight."""
    model, draw, asked = loaded(tiny), np.random.default_rng(0), []
    lengths = ([5, 9, 2, 7], [3], [], [4] * 30)
    blocks = [[draw.integers(5, 60, length).astype(np.int32) for length in block] for block in lengths]
    monkeypatch.setattr(encoder_module, "BATCH_TOKENS", 16)
    alone = [model.embed_by_length(block) for block in blocks]
    monkeypatch.setitem(encoder_module._BATCHES_AHEAD, "cpu", ahead)
    found = [(vectors, len(asked)) for vectors in model.embed_blocks(asked.append(block) or block for block in blocks)]
    for (vectors, _), expected in zip(found, alone, strict=True):
        np.testing.assert_array_equal(vectors, expected)
    assert [count for _, count in found] == asked_by_then
