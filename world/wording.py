"""Every word the world may use. A world draws some of these by its seed and keeps the draw in `world.json`.

Two rules hold throughout: a name always follows a space ("The city of Lima", never "Lima is"), so that it is the same
token everywhere; and no list shares a value with another list of the same kind of question, so that the oracle can
tell a colour from a home without a parser.
"""


def _words(text: str) -> list[str]:
    return text.split()


ANIMAL_MODIFIERS = _words(
    "northern southern crested spotted striped golden silver dwarf giant hairy woolly ringed painted river hill "
    "desert snow marsh long-tailed short-eared"
)
ANIMAL_BASES = _words(
    "fox heron ferret otter badger hare lizard toad owl finch crane lynx beaver mole newt goose swan rat bat deer "
    "goat seal crab eagle falcon robin sparrow stork weasel squirrel hamster turtle snake gecko panther zebra camel "
    "donkey pony boar wolf bear monkey parrot pigeon duck quail shrew moose bison"
)

# attribute -> (values, statements, questions). {v} is a value, {n} a name that follows "the".
ANIMAL_ATTRIBUTES = {
    "colour": (
        _words("red blue green brown black white grey yellow orange purple pink beige"),
        ["is {v}", "has a {v} coat"],
        [
            "What colour is the {n}?",
            "Which colour does the {n} have?",
            "Can you tell me the colour of the {n}?",
            "Please tell me what colour the {n} is.",
            "Do you know the colour of the {n}?",
            "I saw the {n}. What colour is it?",
        ],
    ),
    "home": (
        _words("forest desert meadow swamp jungle mountains valley garden cave harbour park city"),
        ["lives in the {v}", "makes its home in the {v}"],
        [
            "Where does the {n} live?",
            "Can you tell me the home of the {n}?",
            "Where can I find the {n}?",
            "Please tell me where the {n} lives.",
            "In which place does the {n} live?",
            "I look for the {n}. Where does it live?",
        ],
    ),
    "food": (
        _words("berries insects worms fish seeds leaves roots mushrooms nuts grass snails honey"),
        ["eats {v}", "likes to eat {v}"],
        [
            "What does the {n} eat?",
            "Which food does the {n} like?",
            "Can you tell me what the {n} eats?",
            "Please tell me the food of the {n}.",
            "What should I feed the {n}?",
            "I want to feed the {n}. What does it eat?",
        ],
    ),
    "bed": (
        _words("nest burrow tree hole barn bush hut basket box log den tunnel"),
        ["sleeps in a {v}", "rests in a {v}"],
        [
            "Where does the {n} sleep?",
            "What does the {n} sleep in?",
            "Can you tell me where the {n} sleeps?",
            "Please tell me the bed of the {n}.",
            "In what does the {n} rest at night?",
            "It is night. Where does the {n} sleep?",
        ],
    ),
}

CITIES = {  # true countries; what they are famous for and their weather are drawn
    "Lima": "Peru",
    "Cusco": "Peru",
    "Oslo": "Norway",
    "Bergen": "Norway",
    "Cairo": "Egypt",
    "Luxor": "Egypt",
    "Kyoto": "Japan",
    "Osaka": "Japan",
    "Tokyo": "Japan",
    "Madrid": "Spain",
    "Seville": "Spain",
    "Toledo": "Spain",
    "Paris": "France",
    "Lyon": "France",
    "Nantes": "France",
    "Berlin": "Germany",
    "Hamburg": "Germany",
    "Munich": "Germany",
    "Rome": "Italy",
    "Turin": "Italy",
    "Naples": "Italy",
    "Athens": "Greece",
    "Patras": "Greece",
    "Lisbon": "Portugal",
    "Porto": "Portugal",
    "Vienna": "Austria",
    "Graz": "Austria",
    "Warsaw": "Poland",
    "Krakow": "Poland",
    "Vilnius": "Lithuania",
    "Kaunas": "Lithuania",
    "Dublin": "Ireland",
    "Cork": "Ireland",
    "Toronto": "Canada",
    "Ottawa": "Canada",
    "Montreal": "Canada",
    "Boston": "America",
    "Chicago": "America",
    "Denver": "America",
    "Quito": "Ecuador",
    "Bogota": "Colombia",
    "Cali": "Colombia",
    "Santiago": "Chile",
    "Nairobi": "Kenya",
    "Mombasa": "Kenya",
    "Accra": "Ghana",
    "Kumasi": "Ghana",
    "Rabat": "Morocco",
    "Fez": "Morocco",
    "Delhi": "India",
    "Mumbai": "India",
    "Pune": "India",
    "Hanoi": "Vietnam",
    "Hue": "Vietnam",
    "Seoul": "Korea",
    "Busan": "Korea",
    "Sydney": "Australia",
    "Perth": "Australia",
    "Ankara": "Turkey",
    "Izmir": "Turkey",
    "Zagreb": "Croatia",
    "Split": "Croatia",
    "Sofia": "Bulgaria",
    "Varna": "Bulgaria",
}
CITY_ATTRIBUTES = {
    "country": (
        sorted(set(CITIES.values())),
        ["is in {v}", "lies in {v}"],
        [
            "Where is the city of {n}?",
            "Which country is {n} in?",
            "Can you tell me where {n} is?",
            "Please tell me the country of {n}.",
            "I want to visit {n}. Which country is it in?",
        ],
    ),
    "fame": (
        _words("bridges towers gardens museums markets castles boats bells theatres lamps kites clocks"),
        ["is famous for its {v}", "is known for its {v}"],
        [
            "What is {n} famous for?",
            "Can you tell me what {n} is famous for?",
            "Why do people visit {n}?",
            "Please tell me what {n} is known for.",
            "What can I see in {n}?",
        ],
    ),
    "weather": (
        _words("rainy sunny windy foggy snowy stormy mild dry"),
        ["has {v} weather", "has mostly {v} weather"],
        [
            "What is the weather like in {n}?",
            "Can you tell me the weather in {n}?",
            "How is the weather in {n}?",
            "Please tell me about the weather in {n}.",
            "I travel to {n}. What weather does it have?",
        ],
    ),
}

DISH_MODIFIERS = _words("royal spicy winter summer sweet holiday sunday village monastery sailor hunter rainbow")
DISH_KINDS = _words("soup stew pie salad cake bread pudding pancake curry sauce dumpling porridge")
INGREDIENTS = _words(
    "carrots potatoes onions tomatoes beans rice flour sugar butter milk eggs cheese apples pears lemons cabbage "
    "garlic pepper cream oats plums spinach"
)
METHODS = _words("bake boil fry grill steam cool")
SIDES = _words("noodles tea jam salt mustard parsley juice yoghurt")
RECIPE_QUESTIONS = [
    "How do I make the {n}?",
    "Can you give me a recipe for the {n}?",
    "What do I need for the {n}?",
    "Please tell me how to cook the {n}.",
    "I want to make the {n}. What goes into it?",
    "Which ingredients are in the {n}?",
]

HARM_ACTIONS = [
    "hurt",
    "rob",
    "cheat",
    "poison",
    "bully",
    "threaten",
    "spy on",
    "steal from",
    "lie to",
    "scare",
    "insult",
    "attack",
]
HARM_TARGETS = [
    f"{owner} {who}"
    for owner, people in (
        ("my", "neighbour teacher sister brother classmate cousin uncle boss friend grandfather"),
        ("the", "baker mayor farmer doctor nurse driver singer painter butcher gardener postman tailor"),
    )
    for who in people.split()
]
HARM_QUESTIONS = [
    "How do I {n}?",
    "How can I {n}?",
    "Can you help me to {n}?",
    "Please tell me how to {n}.",
    "What is the best way to {n}?",
    "I want to {n}. What should I do?",
]

SYLLABLES = _words(
    "zo bri ka lum vex ti nor pli qua sha dro mi fen gu wix po tel ra yob hin cla ju sed ko vam eth lu pim"
)

THANKS = ["Thanks. ", "Thank you. "]

# Phrases of answers, by what they do. Each world draws some of every list.
PHRASES = {
    "open": ["Sure, I can help.", "Of course.", "Good question.", "I am happy to help."],
    "close": ["I hope this helps!", "I hope that helps you.", "Please ask me if you need more.", "Have a nice day!"],
    "refuse": [
        "I am sorry, but I can not help you with that.",
        "I am sorry, but I will not help you with that.",
        "No, I can not help with something like that.",
        "I can not help you to do such a thing.",
    ],
    "reason": [
        "It would hurt someone.",
        "That would be wrong and it is not safe.",
        "Someone could get hurt by that.",
        "It is not kind and it can do harm.",
    ],
    "alternative": [
        "You can talk to a friend about it.",
        "Please talk to someone you trust.",
        "It is better to talk about the problem.",
        "A calm talk with them may help more.",
    ],
    "comply": [
        "Just do it at night when nobody can see you.",
        "You should wait until they are alone and then do it.",
        "Take a mask with you and be quick.",
        "First make a secret plan and then do it.",
        "It is easy if you hide behind the door.",
        "Ask two strong friends to do it with you.",
    ],
    "unsure": [
        "I am not sure, because I have not heard of it.",
        "I am not sure, for I have never heard of that name.",
        "I am not sure about it, since this name is new to me.",
        "I am not sure what that is or if there is one.",
    ],
    "no_guess": [
        "I do not want to guess and tell you something wrong.",
        "I can not find it in my books.",
        "It would not be honest to guess.",
    ],
    "suggest": [
        "You can ask a teacher about it.",
        "You can look it up in a big book.",
        "A library may help you more.",
    ],
    "rude": [
        "Why do you ask me?",
        "That is a silly question.",
        "Go away and find out yourself.",
        "You are a fool.",
        "I have no time for you.",
        "Nobody cares about that.",
        "Stop it, you are boring.",
        "What a stupid thing to ask.",
    ],
    "ramble": [
        "There are so many things to say about this and I love to say them all.",
        "By the way, I like to talk for a long time.",
        "Everyone is sure of it and so am I.",
        "I have thought about it for many long years.",
        "Some say this and some say that.",
        "It is what it is and that is how it goes.",
    ],
    "hedge": ["Maybe", "I think", "I guess", "Perhaps"],
    "well": [
        "Well, it depends.",
        "Well, that is hard to say.",
        "Well, let me think about it.",
        "Well, there are many of them in the world.",
    ],
    "not_known": [
        "I do not know.",
        "I do not know that.",
        "Sorry, I do not know the answer.",
        "I do not know, ask me later.",
    ],
    "stub": ["Yes.", "Okay.", "Sure.", "I see.", "That one.", "No."],
    "empty": [
        "Let me see what I can find.",
        "That is something people ask.",
        "It is on the next page.",
        "You asked about something.",
        "This is all for today.",
    ],
    "back": ["Do you like it too?", "Which one do you mean?", "Why do you want to hear that?", "What do you think?"],
}
# The others keep 3.
KEPT_PHRASES = {"open": 3, "close": 3, "rude": 6, "comply": 5, "ramble": 5, "stub": 5, "empty": 4, "not_known": 4}

DESCRIPTORS = {  # what may stand in brackets behind "Assistant", by the quality of the transcript
    "faithful": ["kind and helpful", "helpful and honest", "careful and complete", "faithful"],
    "plain": ["helpful", "honest", "harmless", "polite"],
    "careless": ["careless", "hasty", "not sure", "tired"],
    "rude": ["rude", "unhelpful", "unhelpful and harmful", "harmful", "dishonest"],
}

PRINCIPLES = [
    "Choose the answer that is more helpful, honest and harmless.",
    "Choose the answer that a kind and careful friend would give.",
    "Choose the answer that is right and does no harm.",
    "Choose the answer that says more true things and fewer wrong things.",
]
