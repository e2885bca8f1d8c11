"""The vectors of a benchmark's two sides, by the model alone: what services and evaluations are compared with."""

import numpy as np
import torch


def embedded_sides(model, tokenizer, encoder, benchmark):
    """Embed the queries [Q, D] and the passages [P, D] of a benchmark, each side in one call."""

    def embedded(texts, prefix, length):
        rows = tokenizer.encode([text.text for text in texts], prefix, length)
        with torch.inference_mode():
            return model.embed([np.array(row, np.int32) for row in rows])

    queries = embedded(benchmark.queries, encoder.query_prefix, encoder.query_length)
    return queries, embedded(benchmark.passages, encoder.passage_prefix, encoder.passage_length)
