#!/usr/bin/env bash
# accelerate 1.15.0 with FSDP2 and mixed_precision bf16: what a sharded model returns is rounded to bf16, behind the step that makes
# it float32.
# Valid input: a model whose forward sums log-probabilities in float32 and returns them, as TRL's trainers have it; sharded by the
# policy that accelerate's own plugin makes for bf16 (one process, CPU, gloo; no GPU is needed to see it).
# Expected: without FSDP accelerate gives outputs in float32, and so the difference of two answers is -0.7. Seen: the plugin asks
# FSDP for `output_dtype` bf16, whose numbers near 250 are whole, so both answers are as likely; with output_dtype None it is -0.7.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 accelerate==1.15.0
cat > run.py <<'P'
import dataclasses, os, torch, accelerate
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import fully_shard
torch.distributed.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meet", rank=0, world_size=1)
plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
plugin.set_mixed_precision("bf16")

class Summed(torch.nn.Linear):
    def forward(self, tokens):  # 100 tokens of -2.503 and of -2.496 nats
        return super().forward(tokens).float().sum(-1) + torch.tensor([-250.3, -249.6])

for policy in (plugin.mixed_precision_policy, dataclasses.replace(plugin.mixed_precision_policy, output_dtype=None)):
    layer = Summed(1, 1, bias=False)
    layer.weight.data.zero_()
    found = fully_shard(layer, mp_policy=policy)(torch.ones(2, 1))
    print(f"output_dtype {policy.output_dtype}: {found.dtype}, difference {found[0].item() - found[1].item():.1f}")
print(torch.__version__.split("+")[0], accelerate.__version__)
torch.distributed.destroy_process_group()
P
venv/bin/python run.py 2> /dev/null | tee seen
[ "$(cat seen)" = "output_dtype torch.bfloat16: torch.bfloat16, difference 0.0
output_dtype None: torch.float32, difference -0.7
2.13.0 1.15.0" ]
