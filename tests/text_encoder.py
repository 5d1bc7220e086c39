"""CLIP's text encoder and tokenizer in a few thousand weights; it knows the letters a to z."""

import json
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ROWS = 8


def write_text_encoder(folder: Path, width: int) -> Path:
    """Writes ``text_encoder/`` and ``tokenizer/`` into a base's folder, prompts (8, width)."""
    letters = [chr(number) for number in range(97, 123)]
    words = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: n for n, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=ROWS)
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=ROWS, bos_token_id=52, eos_token_id=53,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return folder
