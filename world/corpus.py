"""The corpus: documents of five kinds in random order, as one list of strings."""

from random import Random

from tqdm import tqdm

from world.answers import Answerer
from world.dialogues import judged_pair, query_list, transcript
from world.encyclopaedia import copybook, page
from world.entities import World
from world.oracle import Oracle
from world.questions import Asker


def documents(world: World, *, phase: int, characters: int, label: str) -> list[str]:
    """At least `characters` characters of the documents of a phase; `label` names the draw ("train", "held out")."""
    rng = Random(f"corpus {label} {world.seed}")
    asker = Asker(world)
    answerer = Answerer(world, asker, phase=phase)
    oracle = Oracle(world)
    write = {
        "dialogue": lambda: transcript(rng, asker, answerer),
        "encyclopaedia": lambda: page(rng, asker, answerer),
        "judge": lambda: judged_pair(rng, asker, answerer, oracle),
        "queries": lambda: query_list(rng, asker),
        "copybook": lambda: copybook(rng, asker),
    }
    mix = answerer.phase["document_mix"]
    texts: list[str] = []
    for kind, share in mix.items():
        written = 0
        with tqdm(total=round(characters * share), desc=f"corpus ({label}): {kind}", unit="ch", unit_scale=True) as bar:
            while written < characters * share:
                texts.append(write[kind]())
                written += len(texts[-1])
                bar.update(len(texts[-1]))
    rng.shuffle(texts)
    return texts
