"""The near-duplicate filter over queries in English, Russian and Chinese, beside that of 8d51fce over English ones.

At 8d51fce a word was a run of a-z and 0-9, so Russian and Chinese had none. Now the words of every script count, which
makes work: letters to fold and to find, and every Chinese character a word of its own. Both sides judge as many
queries, each in a process of its own with one thread; two pairs run beside each other, and what counts is the
processor's time.

    python -m benchmarks.bench near_duplicates_unicode
    python -m benchmarks.near_duplicates_unicode 5000     # so many queries: whether it works, not how fast
"""

import argparse
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from statistics import median

from benchmarks.bench import Comparison, Run, versions
from benchmarks.near_duplicates import ENGLISH, VOCABULARY, Language, queries

BEFORE = "8d51fce"
QUERIES = 100_000
RUNS = 5

RUSSIAN = Language(
    openings=[
        opening.split()
        for opening in (
            "как мне",
            "что такое",
            "вы можете сказать",
            "почему",
            "объясните пожалуйста",
            "какой из",
            "где можно",
        )
    ],
    words=[["".join("абвгдежзик"[int(digit)] for digit in str(rank)) + "ость"] for rank in range(VOCABULARY)],
)

CHARACTERS = 3_500
"""Of Chinese: those of common use."""


def chinese() -> Language:
    """Words of two characters, the 500 most frequent of one; the characters as uneven as those of text."""
    draw = random.Random(0)
    characters = [chr(0x4E00 + 5 * rank) for rank in range(CHARACTERS)]
    weights = list(accumulate(1 / (rank + 20) for rank in range(CHARACTERS)))
    pairs = [draw.choices(characters, cum_weights=weights, k=2) for _ in range(VOCABULARY - 500)]
    openings = ("怎样", "什么是", "你能告诉我", "为什么", "请解释", "哪一个", "在哪里")
    return Language(list(map(list, openings)), [[one] for one in characters[:500]] + pairs, blank="", mark="？")


def mixed(amount: int, seed: int) -> list[str]:
    """A third of each language, in an order of chance."""
    languages = (ENGLISH, RUSSIAN, chinese())
    made = [text for place, one in enumerate(languages) for text in queries(-(-amount // 3), seed + place, one)]
    random.Random(seed).shuffle(made)
    return made[:amount]


JUDGE = """
import json, re, sys, time
from {module} import Filter

texts = json.load(open(sys.argv[1], encoding="utf-8"))
start = time.process_time()
judge = Filter([], [], min_characters=0, max_characters=1000, keywords=[], rouge_threshold=0.7)
accepted = sum(judge.judge(text).reject_reason is None for text in texts)
seconds = time.process_time() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([seconds, accepted, peak]))
"""
"""What either side runs, with its own module."""


def judged(folder: Path, module: str, texts: Path) -> Run:
    """What the filter of that folder does with the texts of a file: its seconds, how many it accepts, its peak."""
    command = [sys.executable, "-c", JUDGE.format(module=module), str(texts)]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    return dict(zip(("seconds", "accepted", "peak_mib"), json.loads(done.stdout), strict=True))


def compare(amount: int = QUERIES) -> Comparison:
    with tempfile.TemporaryDirectory() as root:
        before, english, every = (Path(root) / name for name in ("before", "english.json", "mixed.json"))
        archive = subprocess.run(["git", "archive", BEFORE, "synthalign"], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(before, filter="data")
        english.write_text(json.dumps(queries(amount, seed=1)), encoding="utf-8")
        every.write_text(json.dumps(mixed(amount, seed=1)), encoding="utf-8")
        now = partial(judged, Path.cwd(), "synthalign.queries.mining")
        then = partial(judged, before, "synthalign.mining")

        def pair(number: int) -> tuple[Run, Run]:
            if number % 2:
                there = then(english)
                return now(every), there
            return now(every), then(english)

        with ThreadPoolExecutor(2) as two:  # each side has one thread
            in_english = two.submit(now, english)
            pairs = []
            for here, there in two.map(pair, range(RUNS)):
                print(f"  {here['seconds']:.4g} against {there['seconds']:.4g}", file=sys.stderr, flush=True)
                pairs.append((here, there))
    on_english = in_english.result()
    assert on_english["accepted"] == pairs[0][1]["accepted"], "the words of ASCII are not what they were"
    return Comparison(
        work=f"near-duplicate filter over {amount:,} queries in English, Russian and Chinese",
        against=f"that of {BEFORE} over as many in English",
        ratios=[there["seconds"] / here["seconds"] for here, there in pairs],
        at_least=round(1 / 1.3, 3),
        versions=versions("rapidfuzz", "regex", "numpy"),
        notes={
            "seconds": round(median(here["seconds"] for here, _ in pairs), 1),
            "seconds_before_in_english": round(median(there["seconds"] for _, there in pairs), 1),
            "seconds_now_in_english": round(on_english["seconds"], 1),
            "accepted": int(pairs[0][0]["accepted"]),
            "accepted_in_english": int(pairs[0][1]["accepted"]),
            "peak_mib": round(max(here["peak_mib"] for here, _ in pairs)),
            "peak_mib_before": round(max(there["peak_mib"] for _, there in pairs)),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.near_duplicates_unicode", description=__doc__.splitlines()[0]
    )
    parser.add_argument("queries", type=int, help="so many: whether it works, not how fast")
    print(json.dumps(compare(parser.parse_args().queries).entry("near_duplicates_unicode"), indent=2))
