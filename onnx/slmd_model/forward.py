"""The forward pass of training: LlamaForCausalLM's equations in bfloat16 or float32, spelled for a CPU.

Sentences are short, so attention is two plain products instead of the flash
kernel (whose backward pass takes half of a step there), nothing goes through
autocast's copies, and logits are computed where an answer is wanted only.
"""

import functools

import torch
import torch.nn.functional as F


@functools.cache
def work_type(device) -> torch.dtype:
    """bfloat16 on a GPU and on a CPU that multiplies it, else float32."""
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    try:
        quick = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:  # built without oneDNN
        quick = False
    return torch.bfloat16 if quick else torch.float32


def answer_logits(model, ids, wanted, dropout=None):
    """(logits, targets, mask) at the answers' positions; ids and wanted are [lines, width].

    `dropout` [lines]: share of the channels that a line does without, for all its tokens (Gal and Ghahramani, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016), anew for each branch.
    """
    config, half = model.config, work_type(ids.device)
    heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    lines, width = ids.shape
    embed = model.model.embed_tokens.weight.to(half)
    cos, sin = rotary(width, size, config.rope_parameters["rope_theta"], ids.device, half)
    causal = torch.full((width, width), -1e4, dtype=half, device=ids.device).triu(1)

    def norm(x, layer):
        return F.rms_norm(x, (x.shape[-1],), layer.weight.to(half), config.rms_norm_eps)

    def by_head(x, count):
        return x.view(lines, width, count, size).transpose(1, 2)

    def rotate(x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def dropped(x, chosen=None):
        if dropout is None:
            return x
        share = dropout.view(-1, 1, 1)
        kept = ((torch.rand(lines, 1, x.shape[-1], device=ids.device) >= share) / (1 - share)).to(half)
        return x * (kept if chosen is None else kept.expand(-1, width, -1)[chosen])

    x = dropped(F.embedding(ids, embed))
    at = wanted >= 0
    for number, layer in enumerate(model.model.layers, 1):
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        qkv = F.linear(norm(x, layer.input_layernorm), torch.cat([p.weight for p in projections]).to(half))
        q, k, v = qkv.split([heads * size, kv_heads * size, kv_heads * size], -1)
        q = rotate(by_head(q, heads)).reshape(lines, kv_heads, -1, size)  # the heads of a group share keys
        k, v = rotate(by_head(k, kv_heads)), by_head(v, kv_heads)
        scores = (q @ k.transpose(-1, -2) * size**-0.5).view(lines, heads, width, width) + causal
        mixed = scores.softmax(-1).view(lines, kv_heads, -1, width) @ v
        mixed = mixed.view(lines, heads, width, size).transpose(1, 2).reshape(lines, width, heads * size)
        chosen = None
        if number == len(model.model.layers):  # what follows is needed at the answers only
            chosen = at
            x, mixed = x[at], mixed[at]
        x = x + dropped(F.linear(mixed, attention.o_proj.weight.to(half)), chosen)
        both = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).to(half)
        gate, up = F.linear(norm(x, layer.post_attention_layernorm), both).chunk(2, -1)
        x = x + dropped(F.linear(F.silu(gate) * up, mlp.down_proj.weight.to(half)), chosen)
    rows = len(embed)
    head = F.pad(embed, (0, 0, 0, -rows % 64))  # a product of odd width takes MKL almost twice as long
    return F.linear(norm(x, model.model.norm), head)[:, :rows], wanted[at], at


def rotary(width: int, size: int, theta: float, device, dtype):
    """cos and sin [width, size / 2]."""
    inverse = theta ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(width, device=device, dtype=torch.float32), inverse)
    return angles.cos().to(dtype), angles.sin().to(dtype)
