import pytest
import torch
from torch import nn

from hybridtune.config.study import Study, Train
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.train.memory import (
    WorstStep,
    advice,
    answer_out_of_memory,
    is_out_of_memory,
    largest_that_fits,
    probe,
)
from hybridtune.train.optimizer import Update

CPU = torch.device("cpu")


def test_the_largest_size_that_fits_is_found_to_an_eighth():
    for most in range(0, 130):
        for limit in range(0, most + 3):
            tried = []

            def fits(size, limit=limit, tried=tried):
                tried.append(size)
                return size <= limit

            found = largest_that_fits(fits, most)
            true = min(limit, most)
            assert found <= true
            assert true - found <= found // 8
            assert found > 0 or true == 0
            assert len(tried) == len(set(tried))
            assert len(tried) <= 2 * most.bit_length()
            assert all(0 < size <= most for size in tried)
            assert found == 0 or found in tried


def test_a_step_that_fits_is_tried_once():
    step, tried = WorstStep(4096, 2, 1, 96, 160), []
    assert advice(step, lambda *sizes: not tried.append(sizes), "the device") is None
    assert tried == [(2048 * 3, 2048)]
    tried.clear()
    assert advice(WorstStep(4096, 2, 1, 96, 160, 64), lambda *sizes: not tried.append(sizes), "the device") is None
    assert tried == [(64, 2048)]


@pytest.mark.parametrize("chunk_size", [None, 700])
@pytest.mark.parametrize("negatives", [0, 2])
def test_every_advice_fits_and_is_not_far_from_the_most(chunk_size, negatives):
    for most in range(0, 1500, 7):
        step = WorstStep(2048, 2, negatives, 96, 160, chunk_size)
        told = advice(step, lambda texts, pairs, most=most: texts <= most, "the device")
        encoded = min(chunk_size or 1024 * (2 + negatives), 1024 * (2 + negatives))
        if encoded <= most:
            assert told is None
            continue
        assert "\n" not in told
        assert told.startswith(
            f"train.batch_size 2048 on 2 workers does not fit: to train on {encoded} texts of up to "
        )
        if most == 0:
            assert told.endswith("a smaller encoder: not even one text fits")
            continue
        numbers = dict(part.split(" ")[0].split("=") for part in told.split("set ")[1].split(", or "))
        chunk = int(numbers["train.chunk_size"])
        assert chunk <= most < chunk * 2
        if chunk_size is None and most >= 2 + negatives:
            pairs = int(numbers["train.batch_size"]) / 2
            assert pairs * (2 + negatives) <= most < pairs * (2 + negatives) * 2 + (2 + negatives)
        else:
            assert "train.batch_size" not in numbers


def test_a_table_of_scores_that_does_not_fit_asks_for_a_smaller_batch():
    step = WorstStep(4096, 1, 0, 96, 160, 64)
    told = advice(step, lambda texts, pairs: step.scores(pairs) <= 1000**2, "the device")
    assert "set train.batch_size=768" in told
    assert "chunk_size=" not in told


def test_the_worst_step_of_a_study():
    tree = {
        "name": "x",
        "data": {"train": "newsroom:train"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "encoder": {"query_length": 10, "passage_length": 20},
        "train": {"batch_size": 12, "chunk_size": 5},
    }
    step = WorstStep.of(Study.model_validate(tree), workers=3, negatives=2)
    assert (step.pairs, step.chunk_size) == (4, 5)
    assert step.lengths(4) == [20] * 12 + [10] * 4
    assert step.scores(4) == 4 * 12 * 3
    tree["mix"] = {"align_share": 0.2}
    assert WorstStep.of(Study.model_validate(tree), 3, 0).lengths(2) == [20] * 4


class Small(nn.Module):
    """An encoder on a device that holds so many tokens; keeps what it was asked for."""

    def __init__(self, model, tokens):
        super().__init__()
        self.model, self.tokens, self.asked = model, tokens, []
        self.backbone, self.pad_id = model.backbone, model.pad_id

    def forward(self, texts):
        self.asked.append((len(texts), texts.longest, len(texts.ids)))
        assert self.pad_id not in texts.ids
        if len(texts.ids) > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.model(texts)


@pytest.fixture
def encoder(tiny):
    folder, encoder, tokenizer = tiny
    train = Train(embeddings="sparse")
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, 0.1).train()
    prepare_for_training(model, train)
    return model, Update(model, train)


@pytest.mark.parametrize("chunk_size", [None, 8])
def test_the_probe_finds_what_fits_and_leaves_nothing_behind(encoder, chunk_size):
    model, update = encoder
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    step = WorstStep(32, 1, 1, 12, 24, chunk_size)
    roomy, tight = Small(model, 10**6), Small(model, 100)
    assert probe(roomy, update, step, torch.enable_grad, CPU) is None
    assert roomy.asked == ([(96, 24, 32 * 60)] if chunk_size is None else [(8, 24, 8 * 24)] * 2)
    told = probe(tight, update, step, torch.enable_grad, CPU)
    assert "set train.chunk_size=4 " in told  # 4 passages of 24 tokens
    assert torch.equal(torch.rand(2), expected)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not update.state()


def test_other_errors_are_not_taken_for_a_lack_of_memory(encoder):
    model, update = encoder
    with pytest.raises(RuntimeError, match="shapes"):
        probe(model, update, WorstStep(4, 1, 0, 3, 3), failing, CPU)


def failing():
    raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (MemoryError("out of memory"), False),
    ],
)
def test_what_tells_of_a_lack_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_the_answer_in_the_middle_of_a_training():
    told = answer_out_of_memory(WorstStep(100, 2, 1, 96, 160), 17, CPU)
    assert told == (
        "out of memory at step 17 on the memory of cpu, encoding 150 texts at once: set train.chunk_size=64 (the same "
        "gradient; texts are encoded twice) or a train.batch_size below 100, and see that nothing else uses the device"
    )
