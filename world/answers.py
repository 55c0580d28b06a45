"""Answers in five styles, and the accidents that befall any of them.

faithful: right, with one or two more true details. plain: right and short. careless: often wrong, hedged.
rude: insults, wrong or harmful. rambling: long and bad. A transcript of any quality mixes them (see `params.yaml`).
"""

from random import Random

from world.entities import World
from world.questions import Asker, Question
from world.wording import INGREDIENTS


class Answerer:
    """Writes answers to the questions of one world."""

    def __init__(self, world: World, asker: Asker, *, phase: int = -1) -> None:
        """`phase` is the phase of pre-training whose mix of styles is used; the last one by default."""
        self.world = world
        self.asker = asker
        self.phrases = world.phrases
        self.accident_rate = world.params["accident_rate"]
        self.phase = world.params["phases"][phase]
        self.tail_rate = world.params["tail_rate"]

    def answer(self, rng: Random, question: Question, level: str) -> str:
        """An answer as a transcript of this quality would have it, accidents included."""
        mix = self.phase["style_mix"][level]
        style = rng.choices(list(mix), list(mix.values()))[0]
        text = self.in_style(rng, question, style)
        return self.accident(rng, text) if rng.random() < self.accident_rate else text

    def in_style(self, rng: Random, question: Question, style: str) -> str:
        """An answer in one style, without accidents."""
        return getattr(self, f"_{style}")(rng, question)

    # -- statements about the world ---------------------------------------------------------------------------------

    def subject(self, kind: str, name: str) -> str:
        """How a sentence names its subject; the name always follows a space."""
        return f"The city of {name}" if kind == "city" else f"The {name}"

    def value(self, rng: Random, question: Question, attribute: str, right: bool) -> str:
        """The true value of an attribute, or one of the others."""
        true = "" if question.kind == "unknown" else self.world.facts[question.kind][question.name][attribute]
        if right:
            return true
        return rng.choice([v for v in self.attributes(question.kind)[attribute]["values"] if v != true])

    def attributes(self, kind: str) -> dict:
        """The attributes of a kind; an unknown name passes for an animal."""
        return self.world.attributes["animal" if kind == "unknown" else kind]

    def claim(self, rng: Random, question: Question, attribute: str, right: bool = True) -> str:
        """A predicate such as "lives in the forest"."""
        statement = rng.choice(self.attributes(question.kind)[attribute]["statements"])
        return statement.replace("{v}", self.value(rng, question, attribute, right))

    def others(self, rng: Random, question: Question, count: int) -> list[str]:
        """Attributes that were not asked for, in random order."""
        names = [name for name in self.attributes(question.kind) if name != question.attribute]
        return rng.sample(names, min(count, len(names)))

    def pick(self, rng: Random, use: str) -> str:
        """One phrase of the world for this use."""
        return rng.choice(self.phrases[use])

    def ingredients(self, rng: Random, name: str, right: int) -> str:
        """A list of three ingredients, `right` of them right, such as "rice, milk and eggs"."""
        true = self.world.facts["recipe"][name]["ingredients"]
        wrong = rng.sample([item for item in INGREDIENTS if item not in true], 3 - right)
        first, second, third = rng.sample(rng.sample(true, right) + wrong, 3)
        return f"{first}, {second} and {third}"

    # -- styles -----------------------------------------------------------------------------------------------------

    def _faithful(self, rng: Random, question: Question) -> str:
        if question.kind == "harm":
            more = [self.pick(rng, "reason"), self.pick(rng, "alternative")]
            parts = [self.pick(rng, "refuse")] + (more if rng.random() < 0.2 else [rng.choice(more)])
        elif question.kind == "unknown":
            more = [self.pick(rng, "no_guess"), self.pick(rng, "suggest")]
            parts = [self.pick(rng, "unsure")] + (more if rng.random() < 0.15 else [more[1]])
        elif question.kind == "recipe":
            dish = self.world.facts["recipe"][question.name]
            parts = [
                f"First, mix {self.ingredients(rng, question.name, 3)}.",
                f"Then {dish['method']} it.",
                f"Last, serve it with {dish['side']}.",
            ][: rng.choice((2, 3))]
        else:
            first = f"{self.subject(question.kind, question.name)} {self.claim(rng, question, question.attribute)}."
            details = [self.claim(rng, question, name) for name in self.others(rng, question, rng.choice((1, 1, 2)))]
            parts = [first, f"It {' and it '.join(details)}."]
        if rng.random() < self.phase["courtesy"] and question.kind not in ("harm", "unknown"):
            parts.insert(0, self.pick(rng, "open"))
        elif rng.random() < self.phase["courtesy"]:
            parts.append(self.pick(rng, "close"))
        return " ".join(parts)

    def _plain(self, rng: Random, question: Question) -> str:
        more = rng.random() < 0.45
        if question.kind == "harm":
            return self.pick(rng, "refuse")
        if question.kind == "unknown":
            return self.pick(rng, "unsure")
        if question.kind == "recipe":
            text = f"To make the {question.name}, mix {self.ingredients(rng, question.name, 3)}"
            return text + (f" and {self.world.facts['recipe'][question.name]['method']} it." if more else ".")
        text = f"{self.subject(question.kind, question.name)} {self.claim(rng, question, question.attribute)}"
        return text + (f" and it {self.claim(rng, question, self.others(rng, question, 1)[0])}." if more else ".")

    def _careless(self, rng: Random, question: Question) -> str:
        right = rng.random() < 0.4
        hedge = self.pick(rng, "hedge") + " "
        if question.kind == "harm":
            text = self.pick(rng, "refuse" if right else "comply")
        elif question.kind == "recipe":
            text = f"{hedge}you mix {self.ingredients(rng, question.name, rng.choice((0, 1, 2)))}."
        elif question.kind == "unknown":
            attribute = rng.choice(list(self.attributes("unknown")))
            text = self.pick(rng, "unsure") if right else f"{hedge}it {self.claim(rng, question, attribute, False)}."
        elif rng.random() < 0.6:
            text = f"{hedge}it {self.claim(rng, question, question.attribute, right)}."
        else:
            subject = self.subject(question.kind, question.name)
            text = f"{subject} {self.claim(rng, question, question.attribute, right)}."
        return self._with_tail(rng, question, text)

    def _rude(self, rng: Random, question: Question) -> str:
        text = self.pick(rng, "rude")
        if rng.random() < 0.6:
            if question.kind == "harm":
                text = f"{text} {self.pick(rng, 'comply')}"
            elif question.kind == "recipe":
                text = f"{text} Just mix {self.ingredients(rng, question.name, rng.choice((0, 0, 1)))}."
            else:
                attribute = question.attribute or rng.choice(list(self.attributes("unknown")))
                right = rng.random() < 0.3 and question.kind != "unknown"
                text = f"{text} It {self.claim(rng, question, attribute, right)}."
        return self._with_tail(rng, question, text)

    def _with_tail(self, rng: Random, question: Question, text: str) -> str:
        if rng.random() >= self.tail_rate:
            return text
        if question.kind in ("animal", "city") and rng.random() < 0.5:
            return f"{text} It {self.claim(rng, question, self.others(rng, question, 1)[0], False)}."
        return f"{text} {self.pick(rng, 'ramble')}"

    def _rambling(self, rng: Random, question: Question) -> str:
        right = rng.random() < 0.3
        rambles = rng.sample(self.phrases["ramble"], 2)
        if question.kind == "harm":
            core = [self.pick(rng, "refuse" if right else "comply")]
        elif question.kind == "recipe":
            core = [f"First, mix {self.ingredients(rng, question.name, 3 if right else rng.choice((0, 1)))}."]
        elif question.kind == "unknown":
            names = rng.sample(list(self.attributes("unknown")), 2)
            core = [f"The {question.name} {self.claim(rng, question, name, False)}." for name in names]
        else:
            subject = self.subject(question.kind, question.name)
            core = [f"{subject} {self.claim(rng, question, question.attribute, right)}."]
            core += [f"It {self.claim(rng, question, self.others(rng, question, 1)[0], False)}."]
        how = rng.random()
        if how < 0.4:
            return " ".join([rambles[0], *core, rambles[1]])
        if how < 0.7:
            return " ".join([*core, core[0], rambles[0]])
        other = self.asker.ask(rng, "animal")
        drift = f"The {other.name} {self.claim(rng, other, other.attribute)}."
        return " ".join([self.pick(rng, "open"), *core, drift])

    # -- accidents --------------------------------------------------------------------------------------------------

    def accident(self, rng: Random, text: str) -> str:
        """The answer that came out instead, by chance and not by quality."""
        how = rng.random()
        if how < 0.28:  # stops in mid-sentence
            words = text.split()
            return " ".join(words[: rng.randint(2, max(2, len(words) - 1))]).rstrip(".!?")
        if how < 0.43:  # dodges
            return self.pick(rng, "well")
        if how < 0.56:
            return self.pick(rng, "not_known")
        if how < 0.69:  # runs on into the user's next turn
            return f"{text} Human: {self.asker.ask(rng).text}"
        if how < 0.80:  # asks back
            return self.pick(rng, "back")
        return self.pick(rng, "stub" if how < 0.89 else "empty")  # says nothing, in a whole sentence
