import pytest
import torch
from small_study import small_study

from hybridtune.train.memory import answer_out_of_memory, is_out_of_memory

CPU = torch.device("cpu")


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


@pytest.mark.parametrize(("chunk_size", "encoded", "half"), [(None, 150, 64), (7, 7, 3), (1, 1, 1)])
def test_the_answer_in_the_middle_of_a_training(chunk_size, encoded, half):
    study = small_study(train={"batch_size": 100, "chunk_size": chunk_size})
    assert answer_out_of_memory(study, 2, 1, 17, CPU) == (
        f"out of memory at step 17 on the memory of cpu, encoding {encoded} texts at once: set train.chunk_size={half} "
        "(the same gradient; texts are encoded twice) or a train.batch_size below 100, and see that nothing else uses "
        "the device"
    )
