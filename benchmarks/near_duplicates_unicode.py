"""The near-duplicate filter over queries in English, Russian and Chinese, beside that of 8d51fce over English ones.

At 8d51fce a word was a run of a-z and 0-9, so Russian and Chinese had none. Now the words of every script count, which
makes work: letters to fold and to find, and every Chinese character a word of its own. Both sides judge as many
queries, each in a process of its own; what is timed is the processor, as the filter has one thread.

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
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from statistics import median

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.near_duplicates import ENGLISH, VOCABULARY, Language, queries

BEFORE = "8d51fce"
QUERIES = 100_000

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


def judged(folder: Path, module: str, texts: Path) -> tuple[float, int, float]:
    """Seconds of the filter of that folder over the texts of a file, how many it accepts, and its peak in MiB."""
    command = [sys.executable, "-c", JUDGE.format(module=module), str(texts)]
    seconds, accepted, peak = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
    return seconds, accepted, peak


def compare(amount: int = QUERIES) -> Comparison:
    with tempfile.TemporaryDirectory() as root:
        before = Path(root) / "before"
        archive = subprocess.run(["git", "archive", BEFORE, "synthalign"], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(before, filter="data")
        english, every = Path(root) / "english.json", Path(root) / "mixed.json"
        english.write_text(json.dumps(queries(amount, seed=1)), encoding="utf-8")
        every.write_text(json.dumps(mixed(amount, seed=1)), encoding="utf-8")
        ours, theirs = [], []

        def now() -> float:
            ours.append(judged(Path.cwd(), "synthalign.queries.mining", every))
            return ours[-1][0]

        def then() -> float:
            theirs.append(judged(before, "synthalign.mining", english))
            return theirs[-1][0]

        pairs = take_turns(now, then)
        on_english = judged(Path.cwd(), "synthalign.queries.mining", english)
    assert on_english[1] == theirs[0][1], "the words of ASCII are not what they were"
    return Comparison(
        work=f"near-duplicate filter over {amount:,} queries in English, Russian and Chinese",
        against=f"that of {BEFORE} over as many in English",
        ratios=[there / here for here, there in pairs],
        at_least=round(1 / 1.3, 3),
        versions=versions("rapidfuzz", "regex", "numpy"),
        notes={
            "seconds": round(median(here for here, _ in pairs), 1),
            "seconds_before_in_english": round(median(there for _, there in pairs), 1),
            "seconds_now_in_english": round(on_english[0], 1),
            "accepted": ours[0][1],
            "accepted_in_english": theirs[0][1],
            "peak_mib": round(max(peak for _, _, peak in ours)),
            "peak_mib_before": round(max(peak for _, _, peak in theirs)),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.near_duplicates_unicode", description=__doc__.splitlines()[0]
    )
    parser.add_argument("queries", type=int, help="so many: whether it works, not how fast")
    print(json.dumps(compare(parser.parse_args().queries).entry("near_duplicates_unicode"), indent=2))
