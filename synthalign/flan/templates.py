"""The words around a question: ten instructions for each kind of answer, with reasoning, and turned round; our own.

{question} is one wording of an example's question; {answer} and {rationale} are what their names say. An instruction
for a short answer says that it is to be short, one for reasoning that it is to be shown: they can be told apart.
"""

DIRECT: dict[str, tuple[str, ...]] = {
    "word": (
        "{question} Answer with one word.",
        "{question} One word, please.",
        "Say it in one word. {question}",
        "Give me a short answer. {question}",
        "{question} Please keep it short.",
        "{question} Say one thing and no more.",
        "Here is a question. {question} What is the answer?",
        "{question} Tell me the answer and no more.",
        "Question: {question} Short answer:",
        "Just the answer, please. {question}",
    ),
    "yes_no": (
        "{question} Answer yes or no.",
        "{question} Yes or no?",
        "Say yes or no. {question}",
        "Tell me yes or no and no more. {question}",
        "{question} Please say yes or no.",
        "{question} I want to hear yes or no.",
        "Here is a question. {question} Is it yes or is it no?",
        "{question} Just say yes or say no.",
        "Question: {question} Yes or no:",
        "Is it yes or no? {question}",
    ),
    "number": (
        "{question} Answer with a number.",
        "{question} Just the number, please.",
        "Count for me. {question}",
        "Give me a number. {question}",
        "{question} Say how many and no more.",
        "{question} Tell me the number.",
        "Here is something to count. {question} How many?",
        "{question} I want to know how many.",
        "Question: {question} Number:",
        "Say one number. {question}",
    ),
    "list": (
        "{question} Answer with a list.",
        "{question} Just the list, please.",
        "Make a list. {question}",
        "Give me a list. {question}",
        "{question} Say them all and no more.",
        "{question} Tell me all of them in a list.",
        "Here is a question. {question} What is on the list?",
        "{question} I want a list.",
        "Question: {question} List:",
        "Name them all. {question}",
    ),
    "sentence": (
        "{question} Answer in one sentence.",
        "{question} Please say it in a sentence.",
        "Tell me this. {question}",
        "Give me a true answer. {question}",
        "{question} Say what is true.",
        "{question} Say it and no more.",
        "Here is a question. {question} What is the answer?",
        "{question} Tell me the answer, please.",
        "Question: {question} Answer:",
        "Just the answer, please. {question}",
    ),
    "text": (
        "{question}",
        "Question: {question}\nAnswer:",
        "Please answer this. {question}",
        "{question}\nWhat is the answer?",
        "Here is a question. {question}",
        "I want to know this: {question}",
        "{question}\nGive me the answer.",
        "Read this and answer it.\n{question}",
        "Can you help me with this? {question}",
        "{question}\nTell me the answer and no more.",
    ),
}

COT = (
    "{question} Think about it and then answer.",
    "{question} Say what you know first, then answer.",
    "Think before you answer. {question}",
    "{question} Tell me why, and then the answer.",
    "Say how you think. {question}",
    "{question} Let me hear what you think first.",
    "First say what you know about it. {question}",
    "{question} Go one by one and then answer.",
    "Question: {question} Thought, then answer:",
    "{question} How do you know? Tell me and then answer.",
)
COT_TARGET = "{rationale} So the answer is {answer}."
ANSWER_IS = "the answer is "
"""What stands before the answer in reasoning."""

INVERTED_DIRECT = (
    ("Ask me a question. The answer is {answer}.", "{question}"),
    ("What question has the answer {answer}?", "{question}"),
    ("The answer is {answer}. What was the question?", "{question}"),
)
INVERTED_COT = (
    ("{question} The answer is {answer}. Tell me why.", "{rationale}"),
    ("{rationale} What was the question, and what is the answer?", "{question} The answer is {answer}."),
    ("{rationale} So the answer is {answer}. What was the question?", "{question}"),
    ("Ask me a question and tell me why the answer is {answer}.", "{question} {rationale}"),
)
"""What is given and what is wanted, as (input, target): the question from its answer, the reasoning from both, and so
on (the permutations of Chung et al. 2022, appendix; Longpre et al. 2023)."""

EXEMPLARS = (
    ("Human: {input}\n\nAssistant: {target}", "\n\n-----\n\n"),
    ("Q: {input}\nA: {target}", "\n\n"),
    ("Question: {input}\nAnswer: {target}", "\n\n"),
    ("Read: {input}\nSay: {target}", "\n\n"),
)
"""How solved examples are shown, as (one of them, what stands between two). The first is the format of every dialogue
here, see `chat`; the evaluation shows them in it alone."""
