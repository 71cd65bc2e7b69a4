"""The tokenizer of the embedded LLM."""


def test_popular_titles_are_one_token_and_all_text_survives(llm, toy):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    text = f'The user watched "{llm[1][0]}", "{llm[1][1]}". Answer:'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert [tokenizer.decode(i) for i in ids if '"' in tokenizer.decode(i)] == [
        f' "{t}"' for t in llm[1][:2]
    ]
    odd = 'Ça va?\n"Unseen – title" 3.8 ☂'
    assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]) == odd
