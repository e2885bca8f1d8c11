"""What each language adds to the vectors of a trial's model, without evaluators: by its study's scores, or fitted here.

A study has fitted it for its contestants; for another trial, or another checkpoint, the same training texts are encoded
on this machine.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.study import load_stored_study
from hybridtune.data.corpus import Corpus, CorpusBuilder, read_texts
from hybridtune.data.store import StoreRecipe, existing_store, store_root
from hybridtune.metrics.arrays import Float32, Int32, Int64
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.language_vectors import LanguageVectors
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.study.contestants import draw_sample, kept_language_vectors
from hybridtune.study.trial_model import TrialModel


def trial_language_vectors(
    target: Path, found: TrialModel, made_of: StoreRecipe, corpus: Corpus, model: DualEncoder, callback: StudyCallback
) -> LanguageVectors:
    """Return what each language adds to the vectors of a trial's model.

    Args:
        target: the study folder.
        found: the trial.
        made_of: what the token store of its texts is made of, and ``corpus`` the numbers of these.
        model: of the trial.
        callback: receives the progress of encoding.
    """
    state = {name: value.numpy() for name, value in model.plain_state().items()}
    kept = kept_language_vectors(target, state, found.study.encoder.pooling)
    if kept is not None:
        return kept
    sample = draw_sample(corpus, load_stored_study(target).seed)  # a trial may have a seed of its own
    blocks = _token_ids(found, made_of, sample.blocks())
    model.eval()
    vectors, total = list[Float32](), sum(map(len, blocks))
    with phase(callback, "encoding texts of each language", "texts") as progress:
        progress(0, total)
        for block in blocks:
            vectors.append(model.embed_by_length(block))
            progress(sum(map(len, vectors)), total)
    return sample.fit(vectors)


def _token_ids(found: TrialModel, made_of: StoreRecipe, blocks: Sequence[Int64]) -> list[list[Int32]]:
    """Return the token ids of blocks of texts, by their numbers: from the token store, or the files where it is not."""
    store = existing_store(store_root(found.study.data), made_of)
    if store is not None:
        taken = [store.take(numbers) for numbers in blocks]
        return [np.split(ids, np.cumsum(lengths)[:-1]) for ids, lengths in taken]
    wanted = set(np.concatenate(blocks).tolist())
    with tempfile.TemporaryDirectory(prefix="hybridtune-texts-") as folder:
        builder = CorpusBuilder(made_of.limits, Path(folder))
        made_of.fill(builder)
        texts = {number: text for number, text in enumerate(read_texts(builder.parts)) if number in wanted}
    encoder = found.study.encoder
    tokenizer = pretrained_tokenizer(found.source, encoder.trust_remote_code)
    sides = {
        True: (encoder.query_prefix, encoder.query_length),
        False: (encoder.passage_prefix, encoder.passage_length),
    }
    tokens = {
        number: np.array(tokenizer.encode([text], *sides[is_query])[0], np.int32)
        for number, (is_query, text) in texts.items()
    }
    return [[tokens[number] for number in block.tolist()] for block in blocks]
