"""Muon (Keller Jordan et al., 2024) for matrices, those of one shape at a time.

torch.optim.Muon does the same one matrix after the other and always in
bfloat16, which a CPU without bfloat16 products multiplies a hundred times more
slowly than float32. The update is of the size of AdamW's (0.2 RMS; Liu et al.,
"Muon is Scalable for LLM Training", 2025).
"""

from collections import defaultdict

import torch

from slmd_model.forward import work_type

STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315  # of the Newton-Schulz iteration


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """The matrices `x` [count, rows, columns] with their singular values brought near to one."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape].append(p)
            for shape, params in alike.items():
                self.update(params, group, 0.2 * max(shape) ** 0.5)

    def update(self, params: list, group: dict, size: float) -> None:
        momentum, rate = group["momentum"], group["lr"]
        wanted = []
        for p in params:
            kept = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
            kept.lerp_(p.grad, 1 - momentum)
            wanted.append(p.grad.lerp(kept, momentum))
        for p, update in zip(params, orthogonal(torch.stack(wanted).to(work_type(params[0].device))), strict=True):
            p.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate * size)
