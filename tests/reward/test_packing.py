from synthalign.reward import packing
from tests import tiny


def test_answers_to_a_prompt_are_packed_eight_to_a_row():
    keys = [((7, 8), (place,)) for place in range(10)] + [((9,), (1, 2)), ((9,), (1, 2))]

    batches = packing.pack(keys, batch_size=16, answers=8)

    assert batches == [[((9,), ((1, 2),))], [((7, 8), ((8,), (9,))), ((7, 8), tuple((place,) for place in range(8)))]]


def test_rows_without_padding_are_of_one_length():
    keys = [((7,), (1,)), ((7, 8), (1,)), ((9,), (2,))]

    batches = packing.pack(keys, batch_size=16, answers=1, padded=False)

    assert batches == [[((7,), ((1,),)), ((9,), ((2,),))], [((7, 8), ((1,),))]]


def test_what_is_cut_off_is_the_prompt_behind_its_opening():
    assert packing.cut([0, 1, 2, 3], [4, 5], 4, keep=1) == ((0, 3), (4, 5))


def test_each_answer_of_a_row_stands_right_behind_its_prompt():
    part, positions, spans = packing.layout([((7, 8), ((1,), (2, 3)))], width=6)

    assert part.tolist() == [[0, 0, 1, 2, 2, -1]]
    assert positions.tolist() == [[0, 1, 2, 2, 3, 0]]
    assert spans == [[slice(2, 3), slice(3, 5)]]


def test_a_text_that_is_asked_for_twice_is_read_once_and_found_by_itself():
    keys = [((7, 8), (1, 2)), ((9,), (3,)), ((7, 8), (4,)), ((9,), (3,))]
    seen = []

    def read(rows):
        seen.extend((prompt, answer) for prompt, answers in rows for answer in answers)
        return [sum(prompt) + sum(answer) for prompt, answers in rows for answer in answers]

    found = packing.by_key(tiny.reward(), keys, read, batch_size=1)

    assert found == {((7, 8), (1, 2)): 18, ((9,), (3,)): 12, ((7, 8), (4,)): 19}
    assert sorted(seen) == sorted(found)


def test_a_text_behind_the_bound_where_positions_turn_otherwise_stands_beside_none_of_another_length():
    model = tiny.reward()
    model.config.rope_parameters = {"rope_type": "dynamic", "original_max_position_embeddings": 4, "factor": 4.0}
    short, long = [((7,), (1,)), ((7,), (2,))], ((7,), (1, 2, 3, 4))
    seen = []

    def read(rows):
        seen.append({len(prompt) + sum(map(len, answers)) for prompt, answers in rows})
        return [0 for _, answers in rows for _ in answers]

    packing.by_key(model, short, read, batch_size=8)
    assert seen == [{3}], "both answers in one row"
    seen.clear()
    packing.by_key(model, [*short, long], read, batch_size=8)
    assert seen == [{2}, {5}]


def test_no_text_at_all_is_read_by_nobody():
    assert packing.by_key(tiny.reward(), [], lambda rows: [], batch_size=8) == {}
