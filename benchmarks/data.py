"""Flat pairs in CSV to clean groups and tokens: rows per CPU-second and memory, beside `datasets` doing the same.

    python benchmarks/data.py --data a.jsonl.gz [b.jsonl.gz ...] [--rows 2000000] [--encoder FOLDER] [--kill]

The CSV is made on the spot from real groups of translations: every row has the words of one of their pairs in an order
of its own (of scripts without spaces, runs of characters), so that language and length are real and hardly a text comes
twice; rows of one id translate each other; one row in 20 repeats an earlier one under another id. Then, each in a
process of its own, with Ray on all cores where it uses Ray:

- `hybridtune data clean` (Unicode, invisible characters, lengths, scripts, languages, copies, duplicates);
- `hybridtune data group --by id` of what it wrote;
- tokenising (the token store of a study), with `--encoder`;
- `datasets`: `Dataset.from_csv`, `map` of the same functions of ours, batched, on as many processes as there are cores,
  duplicates in the driver by the same functions, `select` and `to_json`.

CPU-seconds are those of every process of the tree, Ray's daemons and the start of each among them; memory is the peak
of the driver. With `--kill` the cleaning is killed with SIGKILL when half of its parts are there, and run again: the
file must have the bytes of the run that was left alone, and each row that is in the CSV once or more exactly once.
"""

import argparse
import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from process_tree import Tree

REPEATED = 20  # one row in so many is an earlier one
RUN = 6  # characters that stay together where no spaces are


def scrambled(text, draw):
    """The words of a text in another order; of a text without spaces, its runs of characters."""
    parts = text.split(" ")
    if len(parts) * RUN < len(text) / 4:
        parts = [text[start : start + RUN] for start in range(0, len(text), RUN)]
        draw.shuffle(parts)
        return "".join(parts)
    draw.shuffle(parts)
    return " ".join(parts)


def make_csv(files, rows, out):
    """Write the CSV; return how many of its rows repeat another."""
    groups = []
    for name in files:
        with gzip.open(name, "rt", encoding="utf-8") as lines:
            groups += [json.loads(line) for line in lines]
    draw, written, repeated, kept = random.Random(0), 0, 0, []
    with out.open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink)
        table.writerow(["id", "query", "passage", "language"])
        for number in count():
            group = groups[number % len(groups)]
            for language in sorted(group["queries"].keys() & group["passages"].keys()):
                if written == rows:
                    return repeated
                written += 1
                if kept and written % REPEATED == 0:
                    repeated += 1
                    table.writerow([f"r{number}-{written}", *draw.choice(kept)])
                    continue
                row = [scrambled(group[side][language], draw) for side in ("queries", "passages")] + [language]
                table.writerow([f"g{number}", *row])
                if len(kept) < 10_000:
                    kept.append(row)


def measured(work):
    """Run a function of this file in a process of its own; return its result, CPU-seconds and the driver's memory."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as result:
        command = [sys.executable, __file__, "--child", json.dumps([work, result.name])]
        subprocess.run(command, check=True)
        return json.load(result)


def run_child(call, result):
    name, *arguments = call
    began = time.perf_counter()
    with Tree() as tree:
        found = globals()[name](*arguments)
        cpu = tree.cpu()
    figures = {"found": found, "cpu": cpu, "wall": time.perf_counter() - began, "driver": tree.peaks["driver"]}
    Path(result).write_text(json.dumps(figures))


def clean(table, out):
    from hybridtune.callbacks import StudyCallback
    from hybridtune.config.fields import DataSet
    from hybridtune.prepare.clean import clean
    from hybridtune.prepare.cleaning import Rules

    return clean([DataSet(path=table)], out, Rules(), StudyCallback())


def group(cleaned, out):
    from hybridtune.callbacks import StudyCallback
    from hybridtune.config.fields import DataSet
    from hybridtune.prepare.group import Given, group

    return group([DataSet(path=cleaned)], "id", out, Given(), StudyCallback())


def tokenise(groups, encoder, folder):
    from hybridtune.config.fields import Data, Encoder, Resources
    from hybridtune.data.store import build_store, recipe
    from hybridtune.runtime.local import capacity, local_cluster

    with local_cluster(capacity(Resources()), dashboard=False):
        store = build_store(Path(folder), recipe(Data(train=groups), Encoder(name=encoder)))
    return len(store)


def peer(table, out, cache):
    """`datasets` with the functions of our cleaning."""
    import functools

    import datasets
    import numpy as np

    from hybridtune.prepare.cleaning import Rules
    from hybridtune.prepare.duplicates import Signatures, equal_rows, near_rows
    from hybridtune.runtime.resources import cores

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_csv(table, cache_dir=cache)
    work = functools.partial(_peer_clean, rules=Rules())
    done = rows.map(
        work,
        batched=True,
        batch_size=2048,
        remove_columns=rows.column_names,
        num_proc=cores(),
        load_from_cache_file=False,
    )
    arrays = done.with_format("numpy").select_columns(["digests", "bands", "values"])[:]
    found = Signatures(
        np.asarray(arrays["digests"], np.uint64),
        np.asarray(arrays["bands"], np.uint64),
        np.asarray(arrays["values"], np.uint8).reshape(len(done), 2, -1),
    )
    kept = np.flatnonzero(~equal_rows(found))
    kept = kept[~near_rows(found.take(kept))]
    done.remove_columns(["digests", "bands", "values"]).select(kept).to_json(out, force_ascii=False)
    return len(kept)


def _peer_clean(batch, rules):
    from hybridtune.data.readers.native import Group
    from hybridtune.prepare.cleaning import RowRead, clean_block

    columns = zip(batch["id"], batch["query"], batch["passage"], batch["language"], strict=True)
    rows = [("", RowRead(Group(name, "", {x: query}, {x: passage}), ())) for name, query, passage, x in columns]
    block = clean_block(rows, rules)
    groups = [group for _, group in block.rows()]
    return {
        "group_id": [group.group_id for group in groups],
        "queries": [json.dumps(group.queries, ensure_ascii=False) for group in groups],
        "passages": [json.dumps(group.passages, ensure_ascii=False) for group in groups],
        "digests": list(block.signatures.digests),
        "bands": list(block.signatures.bands),
        "values": list(block.signatures.values.reshape(len(groups), 128)),
    }


def check_kill(table, out, expected, rows):
    """Kill the cleaning in the middle, run it again, and compare."""
    from hybridtune.prepare.parts import ROWS

    call = json.dumps([["clean", str(table), str(out)], os.devnull])
    process = subprocess.Popen([sys.executable, __file__, "--child", call], start_new_session=True)
    half = rows // ROWS // 2
    while len(list(out.parent.glob(f".{out.name}.*.parts/[0-9]*"))) < half:
        if process.poll() is not None:
            raise SystemExit("the cleaning ended before it could be killed; give more --rows")
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = out.exists()
    again = measured(["clean", str(table), str(out)])
    with table.open(encoding="utf-8", newline="") as file:
        read = sum(1 for _ in csv.reader(file)) - 1
    found = again["found"]
    dropped = sum(about["rows"] for about in found["dropped"].values())
    return {
        "killed after parts": half,
        "output there after the kill": there,
        "CPU-seconds of the rerun": round(again["cpu"], 1),
        "same bytes": out.read_bytes() == expected.read_bytes(),
        "rows lost or twice": read - found["written"] - dropped,
    }


def main(given):
    folder = Path(given.folder or tempfile.mkdtemp(prefix="hybridtune-data-"))
    folder.mkdir(parents=True, exist_ok=True)
    table, cleaned, groups = folder / "pairs.csv", folder / "clean.jsonl", folder / "groups.jsonl"
    repeated = make_csv(given.data, given.rows, table)
    print(f"{given.rows:,} rows, {table.stat().st_size / 2**20:,.0f} MiB, {repeated:,} of them repeat another")
    stages = {
        "clean": ["clean", str(table), str(cleaned)],
        "group": ["group", str(cleaned), str(groups)],
    }
    if given.encoder:
        stages["tokenise"] = ["tokenise", str(groups), given.encoder, str(folder / "store")]
    if not given.alone:
        stages["datasets"] = ["peer", str(table), str(folder / "peer.jsonl"), str(folder / "cache")]
    figures = {}
    for name, work in stages.items():
        figures[name] = found = measured(work)
        rate = given.rows / found["cpu"]
        print(
            f"{name:9} {found['cpu']:8.1f} CPU-seconds, {found['wall']:7.1f} s, {rate:8,.0f} rows a CPU-second, "
            f"driver {found['driver']:,} MiB",
            flush=True,
        )
    result = figures["clean"]["found"]
    about = {reason: of["rows"] for reason, of in result["dropped"].items()}
    print(f"written {result['written']:,}; dropped {about}; groups {figures['group']['found']['grouped']}")
    before = given.rows / (figures["clean"]["cpu"] + figures["group"]["cpu"])
    print(f"before tokenising: {before:,.0f} rows a CPU-second")
    if "datasets" in figures:
        ratio = figures["datasets"]["cpu"] / figures["clean"]["cpu"]
        print(
            f"datasets takes {ratio:.2f} times the CPU of the cleaning, {figures['datasets']['found']:,} rows written"
        )
    if given.kill:
        print(check_kill(table, folder / "killed.jsonl", cleaned, given.rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], help="groups of translations, .jsonl.gz")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--encoder", help="model folder: tokenise, too")
    parser.add_argument("--folder", help="where the files go; else a new one")
    parser.add_argument("--alone", action="store_true", help="without datasets")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*json.loads(arguments.child))
    else:
        main(arguments)
